"""P-11: on a file system much smaller than what is read, hits go on, eviction frees, and fills resume."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness.tools import require_tool
from tests.storage.conftest import MIB, CountingMetrics, disk_use, eventually, oid, pattern, record

from fastcache._core.fences import Fences
from fastcache.clock import SystemClock
from fastcache.errors import StorageError
from fastcache.model import Interval
from fastcache.storage.metrics import StoreCounter
from fastcache.storage.store import Store, StoreSettings

DISK = 16 * MIB
SIZES = (900, 40_000, 700_000, 1_500_000, 3 * MIB)
RESUMES_WITHIN = 1.0
"""Seconds, where nothing else is done; a machine that stalls may take much longer."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    require_tool("root", "tmpfs")
    mount_point = tmp_path / "disk"
    mount_point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", mount_point], check=True)
    yield mount_point
    subprocess.run(["umount", mount_point], check=True)


class Reader:
    """Reads objects through a store: stored bytes where there are some, else they are stored."""

    def __init__(self, store: Store, fences: Fences) -> None:
        self.store = store
        self.fences = fences
        self.offered = self.refused = self.failed = self.hits = 0
        self.full_since: float | None = None
        self.longest_pause = 0.0

    async def read(self, number: int) -> None:
        key, size = f"k{number}", SIZES[number % len(SIZES)]
        if not await self.hit(key, size):
            await self.fill(key, size)

    async def hit(self, key: str, size: int) -> bool:
        entry = await self.store.lookup(oid(key))
        reader = await self.store.open_range(entry, Interval(0, size))
        if reader is None:
            return False
        await reader.verify(Interval(0, size))
        got = b"".join(os.pread(piece.fd, piece.length, piece.offset_in_file) for piece in reader.pieces)
        reader.close()
        assert got == pattern(key, size)
        self.hits += 1
        return True

    async def fill(self, key: str, size: int) -> None:
        self.offered += size
        head = record(key, size)
        writer = self.store.begin_fill(oid(key), head, self.fences.token(oid(key)), self.offered, Interval(0, size))
        if writer is None:
            self.refused += 1
            self.full_since = self.full_since or time.monotonic()
            await asyncio.sleep(0.02)  # as long as the origin takes
            return
        data = memoryview(pattern(key, size))
        try:
            for at in range(0, size, 200_000):
                await writer.write(at, [data[at : min(at + 200_000, size)]])
        except StorageError:
            self.failed += 1
            self.full_since = self.full_since or time.monotonic()
            await writer.discard()
            return
        await writer.finish()
        stored = await self.hit(key, size)
        if stored and self.full_since is not None:
            self.longest_pause = max(self.longest_pause, time.monotonic() - self.full_since)
            self.full_since = None


@pytest.mark.parametrize(
    ("capacity", "times"),
    [
        pytest.param(12 * MIB, 10, id="capacity below the disk"),
        pytest.param(64 * MIB, 2, id="capacity above the disk"),
        pytest.param(64 * MIB, 10, id="capacity above the disk, ten times", marks=pytest.mark.slow),
    ],
)
async def test_many_times_what_fits(
    small_disk: Path, capacity: int, times: int, record_property: Callable[[str, object], None]
) -> None:
    metrics, fences, dice = CountingMetrics(), Fences(), random.Random(capacity)
    cache = small_disk / "cache"
    store = await Store.open(StoreSettings(cache, capacity), fences, SystemClock(), metrics)
    reader = Reader(store, fences)
    try:
        while metrics.counts[StoreCounter.STORED_BYTES] < times * DISK:
            assert reader.offered < 1000 * DISK, "nothing is stored any more"
            await asyncio.gather(*(reader.read(int(dice.paretovariate(0.5)) % 200) for _ in range(4)))
        await store._disk.idle()
        await eventually(lambda: store._space._evictor is None or store._space._evictor.done())
        await eventually(lambda: not store._descriptors._closing)
        assert metrics.counts[StoreCounter.EVICTED_BYTES] > times * DISK // 2
        assert metrics.counts[StoreCounter.CORRUPT_FILES] == 0
        assert reader.hits > 0
        assert (metrics.counts[StoreCounter.DISK_FULL] > 0) == (capacity > DISK)
        assert reader.longest_pause < 30 * RESUMES_WITHIN
        leftovers = list((cache / "fills").iterdir())
        assert leftovers == []
        assert store.stats().used == disk_use(cache) <= min(capacity, DISK)
    finally:
        record_property("longest_pause", reader.longest_pause)
        record_property("disk_full", metrics.counts[StoreCounter.DISK_FULL])
        await store.close()
