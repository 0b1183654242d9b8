"""P-02, P-03: writers through the proxy and behind its back, readers of every shape, kills in between: what anybody was
answered is one version, and none older than what was acknowledged or seen before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from tests.faults.conftest import NONE
from tests.gateway.conftest import Key, upstream_environment, write_keys
from tests.harness.proxy import FastcacheProcess
from tests.history.checker import violations
from tests.history.driver import MIXED, SMALL, Round

from fastcache.origin.process import OriginProcess

CACHE = ("--cache-size", "32MiB")
"""Small enough that what was written is evicted at times."""
WAYS = {
    "revalidate": ("--workers", "1"),
    "none": ("--workers", "2", *NONE),
    "gateway": ("--workers", "2", "--authorization", "verify", "--upstream", "sign", "--ttl", "1h"),
}
LONG = 350_000
"""Requests of each way: more than a million in all."""


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
                self.kills += 1
                workers = self.proxy.workers()
                if len(workers) > 1 and self.kills % 2 == 0:
                    os.kill(workers[self.kills // 2 % len(workers)], signal.SIGKILL)
                    continue
                self.proxy.kill()
                # In this thread, with whose end it would be killed; nobody has anything to do meanwhile.
                self.proxy = self._start()

        async with asyncio.TaskGroup() as group:
            group.create_task(kill())
            yield
            over.set()


async def one_round(
    origin: OriginProcess, site: Site, seed: int, *, seconds: float, strict: bool, sizes: Sequence[int] = MIXED
) -> tuple[int, int]:
    """How many requests were made, and how many reads were checked."""
    origin.control.bucket("bkt")
    round_ = Round(origin, lambda: site.proxy, seed)
    async with site.killed_every(max(1.5, seconds / 4)):
        history = await round_.run(8, 3, seconds, sizes)
    found = list(violations(history.writes, history.reads, all_writes_are_seen=strict))
    assert found[:5] == []
    assert sum(write.acknowledged is not None for write in history.writes) > 20
    return history.asked, len(history.reads)


def site_of(origin: OriginProcess, start: Callable[..., FastcacheProcess], way: str, directory: Path) -> Site:
    """A proxy that is used that way. Clients of the gateway have the key that it has itself at the origin."""
    flags: tuple[str, ...] = (*WAYS[way], *CACHE)
    environment: dict[str, str] = {}
    if way == "gateway":
        own = origin.access_key, origin.secret_key
        flags += ("--keys", str(write_keys(directory / "keys.yaml", [Key(*own)])))
        environment = upstream_environment(*own)
    return Site(lambda: start(origin.endpoint, *flags, cache_directory=directory / "cache", environment=environment))


@pytest.mark.parametrize("way", WAYS)
async def test_no_answer_is_mixed_or_older_than_what_was_known(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path, way: str
) -> None:
    site = site_of(origin, start_fastcache, way, tmp_path)
    asked, reads = await one_round(origin, site, 1, seconds=4, strict=way == "revalidate")
    kept = site.proxy.metric("fastcache_uploads_kept_total", outcome="stored")
    print(f"{asked} requests, {reads} answers checked, {site.kills} kills, {kept:g} uploads kept since the last")
    assert site.kills >= 1
    assert reads > 100


@pytest.mark.slow
@pytest.mark.timeout(14_400)
@pytest.mark.parametrize("way", WAYS)
async def test_over_a_million_operations(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path, way: str
) -> None:
    """In all. Mostly of small objects, so that it ends."""
    site = site_of(origin, start_fastcache, way, tmp_path)
    asked = reads = 0
    seed = 1000
    while asked < LONG:
        sizes = MIXED if seed % 5 == 0 else SMALL
        more, checked = await one_round(origin, site, seed, seconds=60, strict=way == "revalidate", sizes=sizes)
        asked, reads, seed = asked + more, reads + checked, seed + 1
        origin.control.reset(store=True)
    print(f"{way}: {asked} requests, {reads} answers checked, {site.kills} kills")
