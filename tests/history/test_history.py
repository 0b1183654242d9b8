"""P-02, P-03: writers through the proxy and behind its back, readers of every shape, kills in between: what anybody was
answered is one version, and none older than what was acknowledged or seen before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.faults.conftest import MODES
from tests.harness.proxy import FastcacheProcess
from tests.history.checker import violations
from tests.history.driver import Round

from fastcache.origin.process import OriginProcess

CACHE = ("--cache-size", "32MiB")
"""Small enough that what was written is evicted at times."""


class Site:
    """The proxy that runs now, on the cache directory that all of its lives share."""

    def __init__(self, start: Callable[[], FastcacheProcess]) -> None:
        self._start = start
        self.proxy = start()
        self.kills = 0

    @contextlib.asynccontextmanager
    async def killed_every(self, seconds: float) -> AsyncIterator[None]:
        over = asyncio.Event()

        async def kill() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), seconds)
                    return
                self.proxy.kill()
                # In this thread, with whose end it would be killed; nobody has anything to do meanwhile.
                self.proxy = self._start()
                self.kills += 1

        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            yield
            over.set()


async def one_round(origin: OriginProcess, site: Site, seed: int, *, seconds: float, strict: bool) -> tuple[int, int]:
    """How many requests were made, and how many reads were checked."""
    origin.control.bucket("bkt")
    round_ = Round(origin, lambda: site.proxy, seed)
    async with site.killed_every(max(1.5, seconds / 4)):
        history = await round_.run(8, 3, seconds)
    found = list(violations(history.writes, history.reads, all_writes_are_seen=strict))
    assert found[:5] == []
    assert sum(write.acknowledged is not None for write in history.writes) > 20
    return history.asked, len(history.reads)


def started(
    origin: OriginProcess, start: Callable[..., FastcacheProcess], mode: tuple[str, ...], cache: Path
) -> Callable[[], FastcacheProcess]:
    return lambda: start(origin.endpoint, *mode, *CACHE, cache_directory=cache)


@MODES
async def test_no_answer_is_mixed_or_older_than_what_was_known(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path, mode: tuple[str, ...]
) -> None:
    site = Site(started(origin, start_fastcache, mode, tmp_path / "cache"))
    asked, reads = await one_round(origin, site, 1, seconds=5, strict=not mode)
    kept = site.proxy.metric("fastcache_uploads_kept_total", outcome="stored")
    print(f"{asked} requests, {reads} answers checked, {site.kills} kills, {kept:g} uploads kept since the last")
    assert site.kills >= 1
    assert reads > 100


@pytest.mark.slow
@pytest.mark.timeout(14_400)
@MODES
async def test_over_a_million_operations(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path, mode: tuple[str, ...]
) -> None:
    site = Site(started(origin, start_fastcache, mode, tmp_path / "cache"))
    asked = reads = 0
    seed = 1000
    while asked < 1_000_000:
        more, checked = await one_round(origin, site, seed, seconds=30, strict=not mode)
        asked, reads, seed = asked + more, reads + checked, seed + 1
        origin.control.reset(store=True)
    print(f"{asked} requests, {reads} answers checked, {site.kills} kills")
