"""A reactor whose hit branch answers from leases that a test publishes itself."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.harness.reactor import Recorder, running
from tests.hits.test_leases import publish

from fastcache._core.extents import ExtentState
from fastcache._core.fences import Fences
from fastcache._core.hit_log import HitLog
from fastcache._core.hits import Hits
from fastcache._core.leases import Leases
from fastcache.observe.access_log import AccessLog
from fastcache.observe.metrics import Metrics
from fastcache.protocol.requests import HeadLimits
from fastcache.server.hit_branch import build_hits

NAME = (b"h", b"/b/k")


class Leased:
    """``hits`` answers under ``leases`` and notes down in ``log``."""

    def __init__(self) -> None:
        metrics = Metrics()
        self.fences = Fences()
        self.leases = Leases(self.fences, 8, 1 << 20, 64)
        self.hits: Hits
        log: HitLog | None
        self.hits, log = build_hits(self.leases, metrics, AccessLog("all", "-", metrics), HeadLimits(), parser="strict")
        assert log is not None
        self.log = log
        self.recorder: Recorder
        self.address: tuple[str, int]

    def publish(self, **changed: object) -> int:
        """Lease NAME for an hour."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        terms = {"proved_at": now, "get_ttl": 3600.0, "head_ttl": 3600.0, "until": now + 3600.0} | changed
        lease = publish(self.leases, self.fences, NAME, **terms)
        assert lease
        return lease


@asynccontextmanager
async def leased() -> AsyncIterator[Leased]:
    """It is answered at ``address`` as long as the context lasts."""
    stage = Leased()
    async with running(hits=stage.hits) as (stage.recorder, stage.address):
        yield stage


def opened(path: Path, start: int, content: bytes, fd: int) -> ExtentState:
    """The extent whose bytes, from ``start`` on, are ``content``: open, checked, and just written to memory."""
    path.write_bytes(content)
    extent = ExtentState(start, start + len(content))
    extent.fd, extent.data_offset = fd, 0
    extent.mark_all_verified()
    return extent
