"""Capacity: never exceeded, never drifting, whatever happens to files and readers."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fastcache.errors import StorageError
from fastcache.model import Interval
from fastcache.storage import blocks, files
from fastcache.storage.entry import Extent
from fastcache.storage.eviction import ColdObjects, EvictionQueues
from fastcache.storage.known import EXTENT_BYTES, OBJECT_BYTES
from fastcache.storage.metrics import StoreCounter
from fastcache.storage.reader import RangeReader

from .conftest import MIB, Bench, MakeBench, disk_use, eventually, oid, pattern, record


async def test_the_capacity_is_never_exceeded_and_the_newest_survives(make_bench: MakeBench, cache: Path) -> None:
    bench = await make_bench(capacity=8 * MIB)
    for n in range(60):
        await bench.fill(f"k{n}", MIB // 2 + n)
        assert bench.store.stats().used <= 8 * MIB
        assert disk_use(cache) <= 8 * MIB
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache) > 5 * MIB  # eviction stops where it should
    assert await bench.read("k59", Interval(0, MIB // 2)) == pattern("k59", MIB // 2 + 59)[: MIB // 2]
    assert bench.metrics.counts[StoreCounter.EVICTED_FILES] >= 44


async def test_an_object_larger_than_the_cache_is_stored_piecewise(make_bench: MakeBench, cache: Path) -> None:
    bench = await make_bench(capacity=8 * MIB)
    entry = await bench.fill("huge", 30 * MIB)
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache) <= 8 * MIB
    held = [(extent.start, extent.end) for extent in entry.extents]
    assert held
    for start, end in held:
        assert await bench.read("huge", Interval(start, end)) == pattern("huge", 30 * MIB)[start:end]


async def test_what_is_being_read_is_not_evicted_and_writing_fails_rather_than_exceeding(
    make_bench: MakeBench, cache: Path
) -> None:
    bench = await make_bench(capacity=8 * MIB)
    readers: list[RangeReader] = []
    for n in range(8):
        end = MIB if n < 7 else 700_000
        entry = await bench.fill(f"k{n}", MIB, Interval(0, end))
        reader = await bench.store.open_range(entry, Interval(0, end))
        assert reader is not None
        readers.append(reader)
    with pytest.raises(StorageError, match="no room"):
        await bench.fill("more", 4 * MIB)
    assert bench.store.stats().used <= 8 * MIB
    for n, reader in enumerate(readers):
        await reader.verify(Interval(0, 700_000))
        (piece,) = reader.pieces
        assert os.pread(piece.fd, 1000, piece.offset_in_file) == pattern(f"k{n}", MIB)[:1000]
        reader.close()
    await bench.fill("less", MIB)
    assert await bench.read("less", Interval(0, MIB)) == pattern("less", MIB)
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache)


async def test_after_a_restart_everything_on_the_disk_is_counted_and_evictable(
    make_bench: MakeBench, cache: Path
) -> None:
    bench = await make_bench(capacity=16 * MIB)
    for n in range(30):
        await bench.fill(f"k{n}", 200_000 if n % 2 else 1_500_000, Interval(0, 200_000))
    await bench.reopen()
    await bench.scanned()
    assert bench.store.stats().used == disk_use(cache)
    assert bench.store.stats().objects_on_disk_only == 30
    for n in range(20):
        await bench.fill(f"new{n}", MIB)
        assert disk_use(cache) <= 16 * MIB
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache)


class FullDisk:
    """A file system that takes no byte while ``full``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        for module, name in ((blocks, "append_views"), (files, "write_new")):
            monkeypatch.setattr(module, name, self._refusing(getattr(module, name)))

    def _refusing(self, real: Callable[..., object]) -> Callable[..., object]:
        def refuse(*args: object) -> object:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args)

        return refuse


async def test_a_full_disk_evicts_and_takes_fills_again_as_soon_as_there_is_room(
    bench: Bench, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(8):
        await bench.fill(f"k{n}", MIB)
    disk = FullDisk(monkeypatch)
    with pytest.raises(StorageError):
        await bench.fill("more", 3 * MIB)
    await eventually(lambda: bench.metrics.counts[StoreCounter.EVICTED_FILES] > 0)
    await eventually(lambda: not bench.store._space.disk_is_full)
    disk.full = False
    await bench.fill("more", 3 * MIB)
    assert await bench.read("more", Interval(0, 3 * MIB)) == pattern("more", 3 * MIB)
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache)


async def test_a_full_disk_where_nothing_can_be_evicted_stops_fills_for_less_than_a_second(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    with pytest.raises(StorageError):
        await bench.fill("more", 3 * MIB)
    await eventually(lambda: bench.store._space._evictor is not None and bench.store._space._evictor.done())
    target = oid("refused")
    token = bench.fences.token(target)
    assert bench.store.begin_fill(target, record("refused", 10), token, 99, Interval(0, 10)) is None
    disk.full = False
    bench.clock.advance(0.9)
    await bench.fill("more", 3 * MIB)
    assert await bench.read("more", Interval(0, 3 * MIB)) == pattern("more", 3 * MIB)


FAULTS = ("pwritev", "rename", "mkdir", "unlink", "ftruncate", "open")


class RandomLife:
    """Random operations, some of them failing; afterwards the counters must equal a walk of the directory."""

    def __init__(self, bench: Bench, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench = bench
        self.dice = random.Random(seed)
        self.readers: list[tuple[RangeReader, bytes]] = []
        self.generation: dict[str, int] = {}
        self.failing: str | None = None
        for name in FAULTS:
            monkeypatch.setattr(files.os, name, self.faulty(name, getattr(os, name)))

    def faulty(self, name: str, real):  # type: ignore[no-untyped-def]
        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            if self.failing == name and self.dice.random() < 0.3:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            return real(*args, **kwargs)

        return call

    def key(self) -> tuple[str, int]:
        number = self.dice.randrange(12)
        return f"k{number}", (3000, 300_000, 1_700_000)[number % 3]

    async def step(self) -> None:
        self.failing = self.dice.choice(FAULTS) if self.dice.random() < 0.15 else None
        operation = self.dice.choice(
            [self.fill] * 5 + [self.read] * 4 + [self.drop, self.write, self.change, self.let_go]
        )
        await operation()
        self.failing = None

    async def fill(self) -> None:
        key, size = self.key()
        start = self.dice.choice([0, 0, self.dice.randrange(size)])
        interval = Interval(start, self.dice.choice([size, self.dice.randrange(start, size) + 1]))
        try:
            await self.bench.fill(key, size, interval, self.generation.get(key, 0))
        except StorageError:
            return
        except AssertionError:
            self.bench.clock.advance(2.0)

    async def read(self) -> None:
        key, size = self.key()
        generation = self.generation.get(key, 0)
        start = self.dice.randrange(size)
        interval = Interval(start, self.dice.randrange(start, size) + 1)
        entry = await self.bench.store.lookup(oid(key))
        if entry.head is None or not entry.is_generation(record(key, size, generation).generation.tag):
            return
        reader = await self.bench.store.open_range(entry, interval)
        if reader is None:
            return
        await reader.verify(interval)
        expected = pattern(key, size, generation)[interval.start : interval.end]
        self.readers.append((reader, expected))
        if len(self.readers) > 6:
            await self.let_go()

    async def let_go(self) -> None:
        if self.readers:
            reader, expected = self.readers.pop(self.dice.randrange(len(self.readers)))
            got = b"".join(os.pread(piece.fd, piece.length, piece.offset_in_file) for piece in reader.pieces)
            assert got == expected
            reader.close()

    async def drop(self) -> None:
        self.bench.store.drop(oid(self.key()[0]))

    async def write(self) -> None:
        key, _ = self.key()
        self.bench.fences.raise_object(oid(key))
        await self.bench.store.unpublish(oid(key))
        self.generation[key] = self.generation.get(key, 0) + 1

    async def change(self) -> None:
        key, size = self.key()
        head = record(key, size, self.generation.get(key, 0), x=str(self.dice.random()))
        self.bench.store.publish_head(oid(key), head, self.bench.fences.token(oid(key)), next(self.bench.sent))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "settings", [{}, {"index_memory": 3 * (OBJECT_BYTES + EXTENT_BYTES), "idle_descriptors": 2}], ids=["roomy", "tight"]
)
async def test_the_counters_equal_the_directory_after_a_random_life(
    make_bench: MakeBench, cache: Path, seed: int, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await make_bench(capacity=6 * MIB, **settings)
    life = RandomLife(bench, seed, monkeypatch)
    for turn in range(150):
        await life.step()
        if turn % 50 == 49:
            while life.readers:
                await life.let_go()
            for n in range(12):  # what an injected failure left undone is done on the next occasion
                known = bench.store._entries.get(oid(f"k{n}").digest)
                if known is not None and known.loaded:
                    await bench.store._disk.settle(known)
            await bench.settled()
            leftovers = [path for path in (cache / "fills").iterdir() if path.is_file()]
            left = sum(-(-path.stat().st_size // 4096) * 4096 for path in leftovers)
            assert bench.store.stats().used == disk_use(cache) - left
    await bench.reopen()
    await bench.scanned()
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache)


async def test_operations_of_many_at_once_keep_the_counters_true(make_bench: MakeBench, cache: Path) -> None:
    bench = await make_bench(capacity=10 * MIB, io_threads=4)
    dice = random.Random(1)

    async def client(number: int) -> None:
        for _ in range(25):
            key = f"k{dice.randrange(6)}"
            try:
                await bench.fill(key, 1_500_000, Interval(0, dice.randrange(1, 1_500_000)))
            except (StorageError, AssertionError):
                await asyncio.sleep(0.01)
            if dice.random() < 0.1:
                bench.store.drop(oid(key))
            got = await bench.read(key, Interval(0, 1000))
            assert got is None or got == pattern(key, 1_500_000)[:1000]

    await asyncio.gather(*(client(n) for n in range(8)))
    await bench.settled()
    await eventually(lambda: bench.store.stats().used == disk_use(cache))
    assert not list((cache / "fills").iterdir())


# -- the parts


def extent(start: int, end: int, digest: bytes = b"d" * 32) -> Extent:
    return Extent(digest, b"t" * 16, start, end, whole=False, size=end - start)


def test_what_is_used_again_outlives_what_is_seen_once() -> None:
    queues = EvictionQueues()
    hot = [extent(n, n + 1, b"h" * 32) for n in range(10)]
    for one in hot:
        queues.add(one)
        one.frequency = 2
    for n in range(1000):
        queues.add(extent(n, n + 1, b"c" * 32))
    gone = queues.pick(900, 5000)
    assert len(gone) == 900
    assert not set(hot) & set(gone)


def test_what_comes_back_soon_is_kept_longer() -> None:
    queues = EvictionQueues()
    first = extent(0, 1)
    queues.add(first)
    assert queues.pick(1, 10) == [first]
    again, other = extent(0, 1), extent(5, 6)
    queues.add(again)
    queues.add(other)
    assert queues.pick(1, 10) == [other]


def test_the_oldest_cold_objects_go_first() -> None:
    cold = ColdObjects()
    cold.add(b"young", 1, 60.0)
    cold.add(b"old", 2, 90 * 86_400.0)
    cold.add(b"middle", 3, 86_400.0)
    assert [digest for digest, _ in cold.oldest()] == [b"old", b"middle", b"young"]
    cold.used(b"young")
    cold.used(b"old")
    cold.used(b"unknown")
    assert [(digest, size) for digest, size in cold.oldest()] == [(b"middle", 3), (b"young", 1), (b"old", 2)]
    assert cold.take(b"old") == 2
    assert cold.take(b"old") == 0
    assert [digest for digest, _ in cold.oldest()] == [b"middle", b"young"]
