"""How long to wait before a process that died is started again."""

from __future__ import annotations

QUICK = 1.0
"""Seconds: one that dies sooner after it was ready, or never was, did not do its work."""
_FIRST = 0.1
_LONGEST = 30.0


class BackOff:
    """Doubles from one quick death to the next. Who lived a while, or died for the first time, is replaced at once."""

    def __init__(self) -> None:
        self.quick_deaths = 0
        """In a row."""

    def after_death(self, lived: float) -> float:
        """Seconds to wait, after a life of so many."""
        if lived >= QUICK:
            self.quick_deaths = 0
            return 0.0
        self.quick_deaths += 1
        return 0.0 if self.quick_deaths == 1 else min(_FIRST * 2.0 ** (self.quick_deaths - 2), _LONGEST)
