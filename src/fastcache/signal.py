"""Wake everyone who waits for something to move; nobody keeps a turn."""

from __future__ import annotations

import asyncio


class Signal:
    """A broadcast without memory: waiters re-check their own condition after every wake-up."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[bool]] = []

    def notify(self) -> None:
        """Wake all present waiters."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(True)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next :meth:`notify`; False when ``timeout`` seconds passed first."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiters.append(waiter)
        handle = None if timeout is None else loop.call_later(timeout, self._expire, waiter)
        try:
            return await waiter
        finally:
            if handle is not None:
                handle.cancel()
            if waiter in self._waiters:  # cancelled
                self._waiters.remove(waiter)

    def _expire(self, waiter: asyncio.Future[bool]) -> None:
        if not waiter.done():
            self._waiters.remove(waiter)
            waiter.set_result(False)
