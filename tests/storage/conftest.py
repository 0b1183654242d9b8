"""A store in a temporary directory, and content that can be checked at any offset."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import count
from pathlib import Path

import pytest

from fastcache._core.fences import Fences
from fastcache.clock import ManualClock
from fastcache.model import Generation, HeadRecord, Interval, ObjectId, OriginId
from fastcache.storage.entry import Entry
from fastcache.storage.metrics import StoreCounter
from fastcache.storage.store import Store, StoreSettings

ORIGIN = OriginId("http", "origin.example", 9000)
MIB = 1 << 20


def oid(key: str | bytes) -> ObjectId:
    return ObjectId(ORIGIN, b"bucket", key.encode() if isinstance(key, str) else key)


@lru_cache(64)
def pattern(key: str, size: int, generation: int = 0) -> bytes:
    """The bytes of an object: a function of key, generation and offset."""
    seed = f"{key}/{generation}/".encode()
    unit = b"".join(seed + n.to_bytes(4, "big") for n in range(size // (len(seed) + 4) + 1))
    return unit[:size]


def record(key: str, size: int, generation: int = 0, **more: str) -> HeadRecord:
    headers = [(b"ETag", b'"%s-%d"' % (key.encode(), generation)), (b"Content-Type", b"binary/octet-stream")]
    headers += [(name.encode(), value.encode()) for name, value in more.items()]
    return HeadRecord(Generation(headers[0][1], size), tuple(headers), stored_at=1_800_000_000.0 + generation)


class CountingMetrics:
    def __init__(self) -> None:
        self.counts: Counter[StoreCounter] = Counter()

    def count(self, counter: StoreCounter, amount: int = 1) -> None:
        self.counts[counter] += amount


def disk_use(directory: Path) -> int:
    """What a store has to have counted: files and object directories in blocks of 4 KiB."""
    total = 0
    for path in [*(directory / "objects").rglob("*"), *(directory / "fills").iterdir()]:
        try:
            status = path.lstat()
        except FileNotFoundError:
            continue  # evicted while we look
        if stat.S_ISDIR(status.st_mode):
            total += 4096 if len(path.name) == 64 else 0
        elif stat.S_ISREG(status.st_mode):
            total += -(-status.st_size // 4096) * 4096
    return total


def stored_files(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "objects").rglob("*") if path.is_file())


class Bench:
    """A store with what the tests do to it. ``reopen`` is a restart: other fences, nothing in memory."""

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.clock = ManualClock()
        self.metrics = CountingMetrics()
        self.fences = Fences()
        self.sent = count(1)
        self.store: Store

    async def start(self) -> Store:
        self.store = await Store.open(self.settings, self.fences, self.clock, self.metrics)
        return self.store

    async def reopen(self) -> Store:
        await self.store.close()
        self.fences = Fences()
        return await self.start()

    async def scanned(self) -> None:
        await eventually(lambda: self.store.stats().scanned)

    async def settled(self) -> None:
        """Until everything the store does in the background is done."""
        store = self.store
        async with asyncio.timeout(60):
            while True:
                evictor = store._space._evictor
                busy = {*store._disk._tasks, *store._descriptors._closing, *([evictor] if evictor else [])}
                if not any(not task.done() for task in busy):
                    return
                await asyncio.wait(busy)

    async def fill(
        self, key: str, size: int, interval: Interval | None = None, generation: int = 0, step: int = 100_000
    ) -> Entry:
        """Store an interval of an object as a transfer would: in steps, in order."""
        target = oid(key)
        head = record(key, size, generation)
        interval = interval or Interval(0, size)
        writer = self.store.begin_fill(target, head, self.fences.token(target), next(self.sent), interval)
        assert writer is not None
        data = memoryview(pattern(key, size, generation))
        try:
            for at in range(interval.start, interval.end, step):
                await writer.write(at, [data[at : min(at + step, interval.end)]])
        finally:
            await writer.finish()
        return await self.store.lookup(target)

    async def read(self, key: str, interval: Interval) -> bytes | None:
        """The stored bytes of an interval, checked the way the engine checks them; None for a miss."""
        entry = await self.store.lookup(oid(key))
        reader = await self.store.open_range(entry, interval)
        if reader is None:
            return None
        try:
            await reader.verify(interval)
            return b"".join(os.pread(piece.fd, piece.length, piece.offset_in_file) for piece in reader.pieces)
        finally:
            reader.close()


async def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - anything may be waited for
            await asyncio.sleep(0.002)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


MakeBench = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def make_bench(cache: Path) -> AsyncIterator[MakeBench]:
    made: list[Bench] = []

    async def make(**settings: object) -> Bench:
        bench = Bench(replace(StoreSettings(cache, 256 * MIB), **settings))  # type: ignore[arg-type]
        await bench.start()
        made.append(bench)
        return bench

    yield make
    for bench in made:
        await bench.store.close()


@pytest.fixture
async def bench(make_bench: MakeBench) -> Bench:
    return await make_bench()


@pytest.fixture
def no_descriptor_leaks() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
