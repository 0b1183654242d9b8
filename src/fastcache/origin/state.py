"""Everything an origin process holds, handed to each operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fastcache.clock import Clock, SystemClock
from fastcache.origin.accounts import Accounts
from fastcache.origin.addressing import Names
from fastcache.origin.faults import Faults
from fastcache.origin.stats import Stats
from fastcache.origin.store import Store


@dataclass(slots=True)
class Settings:
    """What can be changed while the origin runs. A rate of 0 means unlimited."""

    latency: float = 0.0
    """Seconds before the head of every answer."""
    bandwidth_connection: int = 0
    """Body bytes per second of one connection."""
    bandwidth_total: int = 0
    """Body bytes per second of all connections together."""
    complete_seconds: float = 0.0
    """With AWS's quirks: how long CompleteMultipartUpload sends white space before it says how it ended."""
    clock_offset: float = 0.0
    """Seconds by which this origin's clock is ahead; for tests of clock skew."""


@dataclass(slots=True)
class OriginState:
    """The store, who may use it, and what is to go wrong."""

    accounts: Accounts
    names: Names
    quirks: bool = False
    """Answer like AWS where other servers are more lenient."""
    discard_uploads: bool = False
    """Forget the bytes of uploads and answer reads of them with pattern bytes: for benchmarks of writes."""
    region: bytes = b"us-east-1"
    clock: Clock = field(default_factory=SystemClock)
    settings: Settings = field(default_factory=Settings)
    store: Store = field(default_factory=Store)
    faults: Faults = field(default_factory=Faults)
    stats: Stats = field(default_factory=Stats)
    on_settings: Callable[[], None] = lambda: None
    """Called after ``settings`` were changed."""

    def now(self) -> float:
        """Seconds since the epoch on this origin's clock."""
        return self.clock.wall() + self.settings.clock_offset
