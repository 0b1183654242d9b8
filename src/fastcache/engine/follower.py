"""One reader's place in a fill."""

from __future__ import annotations

from fastcache.errors import UpstreamError
from fastcache.model import Interval


class FillEndedError(UpstreamError):
    """The fill stopped before the byte a follower waits for."""


class Follower:
    """``position`` is the absolute offset of the next byte it needs."""

    __slots__ = ("dropped", "end", "moved_at", "position")

    def __init__(self, interval: Interval, now: float) -> None:
        self.position = interval.start
        self.end = interval.end
        self.moved_at = now
        self.dropped = False
