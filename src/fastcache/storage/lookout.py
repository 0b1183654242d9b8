"""Waiting for what another process does without being told of it: one look after the other, for all who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastcache.signal import Signal

_EVERY = 0.001
"""Seconds between two looks, as long as few things are looked at."""
_SHARE = 20e-6
"""Seconds that the next look is put off for each thing looked at, so that looking takes a few per cent of the time."""


class Watched:
    """One thing that is looked at while somebody waits for it."""

    def __init__(self, lookout: Lookout, state: Callable[[], object]) -> None:
        self._lookout = lookout
        self._state = state
        self._last = state()
        self._signal = Signal()
        self._waiting = 0

    async def changed(self, timeout: float | None = None) -> bool:
        """Wait until its state is not what it was at the last look; False when ``timeout`` seconds passed first.

        Whoever waits looks first, and again after each wake-up: the last look may be older than theirs, which wakes
        them once for nothing, and never too late.
        """
        self._waiting += 1
        self._lookout.add(self)
        try:
            return await self._signal.wait(timeout)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._lookout.discard(self)

    def look(self) -> None:
        """Wake who waits if it has changed."""
        now = self._state()
        if now != self._last:
            self._last = now
            self._signal.notify()


class Lookout:
    """One worker's looks; loop thread only. Nothing runs while nobody waits."""

    def __init__(self) -> None:
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, state: Callable[[], object]) -> Watched:
        """Something to be looked at; ``state`` is cheap, and equal as long as nothing has changed."""
        return Watched(self, state)

    def add(self, watched: Watched) -> None:
        """From now on."""
        self._watched.add(watched)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_EVERY, self._look)

    def discard(self, watched: Watched) -> None:
        """Not any more."""
        self._watched.discard(watched)

    def _look(self) -> None:
        self._timer = None
        if not self._watched:
            return
        for watched in tuple(self._watched):
            watched.look()
        delay = max(_EVERY, _SHARE * len(self._watched))
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)
