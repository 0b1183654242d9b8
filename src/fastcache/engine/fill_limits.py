"""What bounds the fills of a worker, each alone and all together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class FillMetrics(Protocol):
    """What a fill reports."""

    def fill_started(self) -> None: ...
    def fill_finished(self, outcome: str) -> None: ...
    def fill_detached(self) -> None: ...
    def follower_joined(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FillLimits:
    """Bytes and seconds; see the theory of operation in ``engine/fill.py``."""

    lead: int
    window: int
    linger_bytes: int
    linger: float
    detach_after: float


class WindowBudget:
    """All windows' memory together. A fill's own limit shrinks when many run; it never falls below its floor."""

    FLOOR = 512 * 1024

    def __init__(self, total: int) -> None:
        self._total = total
        self.fills = 0
        self.used = 0

    def limit(self, window: int) -> int:
        """Bytes one fill may keep in memory now."""
        return max(self.FLOOR, min(window, self._total // max(1, self.fills)))
