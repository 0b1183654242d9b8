"""Injectable time, so that a test can move it and policy never reads it itself."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two kinds of time that must never be mixed."""

    def boot(self) -> float:
        """Seconds since boot, suspend included, never set back (CLOCK_BOOTTIME): ages, TTLs and deadlines."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, may jump: ``Date`` headers and log lines only."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def boot(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        return time.time()


class ManualClock:
    """A clock that moves only when told to; for tests and simulations."""

    __slots__ = ("_boot", "_wall")

    def __init__(self, boot: float = 1_000.0, wall: float = 1_800_000_000.0) -> None:
        self._boot = boot
        self._wall = wall

    def boot(self) -> float:
        return self._boot

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        self._boot += seconds
        self._wall += seconds

    def set_wall(self, wall: float) -> None:
        """Jump the wall clock alone, as NTP or an operator does."""
        self._wall = wall
