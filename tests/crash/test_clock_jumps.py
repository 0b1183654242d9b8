"""P-45: no jump of the wall clock makes anything stored fresh; ages are counted on the boot clock."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import exchange
from tests.harness.signing import signed_request
from tests.harness.tools import require_tool
from tests.storage.conftest import MIB, Bench, oid

from fastcache.model import Interval
from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess
from fastcache.policy.freshness import Authorization, Freshness, Ttls, freshness
from fastcache.storage.store import StoreSettings

DAY = 86_400.0
JUMPS = (-1.0, -DAY, DAY, -20 * 365 * DAY, 20 * 365 * DAY)
"""One second back is what makes an age on the wall clock young again; days say that it was really the clock."""
SIZE = 100_000
SHARED = Path("/dev/shm")


class FakedWallClock:
    """The wall clock of processes started with ``environment``, moved by writing a file. Other clocks stay true."""

    def __init__(self, directory: Path) -> None:
        require_tool("faketime")
        listed = subprocess.run(["faketime", "-f", "+0", "env"], capture_output=True, text=True, check=True).stdout
        library = next(line.partition("=")[2] for line in listed.splitlines() if line.startswith("LD_PRELOAD="))
        self._file = directory / "wall-clock"
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: float) -> None:
        """Set the wall clock this far from the true one."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.rename(self._file)


class Reads:
    def __init__(self, origin: OriginProcess, proxy: FastcacheProcess) -> None:
        self.origin = origin
        self.proxy = proxy

    def get(self, key: str) -> tuple[int, bytes, float | None]:
        """Status, body, and how far the ``Date`` of a hit, which is the worker's, is from our clock, in seconds."""
        request = signed_request(
            "GET", f"{self.proxy.endpoint}/bkt/{key}", self.origin.access_key, self.origin.secret_key
        )
        answer = exchange(self.proxy.endpoint, request)
        said = answer.get(b"date")
        assert said is not None
        date = parsedate_to_datetime(said.decode("ascii")).timestamp()
        return answer.status, answer.body, date - time.time() if answer.get(b"x-cache") == b"HIT" else None


def freshness_in(bench: Bench, key: str, ttl: float) -> Freshness:
    """As the engine asks for it."""
    entry = bench.store.peek(oid(key))
    assert entry is not None
    proof = entry.validation
    return freshness(
        None if proof is None else proof.at,
        fences_current=proof is not None and bench.fences.is_current(oid(key), proof.token),
        now=bench.clock.boot(),
        ttl=ttl,
        ttls=Ttls(ttl, ttl),
        mode=Authorization.NONE,
    )


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_jump_of_the_wall_clock_changes_no_age(tmp_path: Path, jump: float) -> None:
    bench = Bench(StoreSettings(tmp_path / "cache", 64 * MIB))
    await bench.start()
    try:
        await bench.fill("k", SIZE)
        bench.clock.advance(9.0)
        bench.clock.set_wall(bench.clock.wall() + jump)
        assert freshness_in(bench, "k", ttl=10.0) is Freshness.FRESH
        bench.clock.advance(2.0)
        bench.clock.set_wall(bench.clock.wall() - jump)
        assert freshness_in(bench, "k", ttl=10.0) is Freshness.EXPIRED
        bench.clock.set_wall(bench.clock.wall() + jump)
        assert freshness_in(bench, "k", ttl=10.0) is Freshness.EXPIRED
    finally:
        await bench.store.close()


@pytest.mark.parametrize("jump", JUMPS)
async def test_a_restart_with_another_wall_clock_proves_nothing(tmp_path: Path, jump: float) -> None:
    bench = Bench(StoreSettings(tmp_path / "cache", 64 * MIB))
    await bench.start()
    try:
        await bench.fill("k", SIZE)
        bench.clock.set_wall(bench.clock.wall() + jump)
        await bench.reopen()
        await bench.scanned()  # ages of files on the wall clock, from the future too, order eviction and nothing else
        entry = await bench.store.lookup(oid("k"))
        assert bench.store.missing(entry, Interval(0, SIZE)) == []
        assert freshness_in(bench, "k", ttl=1e9) is Freshness.EXPIRED
    finally:
        await bench.store.close()


@pytest.fixture
def _no_shared_memory_left() -> Iterator[None]:
    """libfaketime leaves two files per process behind."""
    before = set(SHARED.glob("*faketime_*"))
    yield
    for path in set(SHARED.glob("*faketime_*")) - before:
        path.unlink(missing_ok=True)


@pytest.mark.usefixtures("_no_shared_memory_left")
def test_a_jump_of_the_wall_clock_under_a_proxy_makes_nothing_fresh(
    tmp_path: Path, origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    clock = FakedWallClock(tmp_path)
    origin.control.bucket("bkt")
    arguments = ("--authorization", "none", "--ttl", "1s")
    proxy = start_fastcache(origin.endpoint, *arguments, environment=clock.environment)
    reads = Reads(origin, proxy)
    for number, jump in enumerate(JUMPS):
        key = f"k{number}"
        clock.jump(0)
        origin.control.synthetic("bkt", key, size=SIZE)
        assert reads.get(key)[1] == pattern(key.encode(), 1, 0, SIZE)
        origin.control.flip("bkt", key)
        time.sleep(1.1)  # the end of the ttl; the wall clock says otherwise from here on
        clock.jump(jump)
        status, body, _ = reads.get(key)
        assert (status, body) == (200, pattern(key.encode(), 2, 0, SIZE)), f"stale after a jump of {jump}"
        told: list[float] = []

        def is_hit(key: str = key, told: list[float] = told) -> bool:
            """At once, unless this machine takes a second from one read to the next."""
            status, body, ahead = reads.get(key)
            assert (status, body) == (200, pattern(key.encode(), 2, 0, SIZE))
            told.extend([] if ahead is None else [ahead])
            return bool(told)

        wait_until(is_hit, 60, "a second read within the ttl of the first")
        assert abs(told[0] - jump) < 3600, "the wall clock of the worker did not jump: nothing was tested"
