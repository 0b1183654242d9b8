"""What a hit asks of the store: the object's entry, and its bytes held open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio
from pytest_benchmark.fixture import BenchmarkFixture

from fastcache._core.fences import Fences
from fastcache.clock import SystemClock
from fastcache.model import Generation, HeadRecord, Interval, ObjectId, OriginId
from fastcache.origin.pattern import pattern
from fastcache.storage.entry import Entry
from fastcache.storage.store import Store, StoreSettings

Value = TypeVar("Value")

SIZE = 1 << 20
OBJECTS = 256
RECORD = HeadRecord(Generation(b'"0123456789abcdef0123456789abcdef"', SIZE), ((b"Content-Type", b"text/plain"),))


def object_id(number: int) -> ObjectId:
    return ObjectId(OriginId("http", "127.0.0.1", 9000), b"bench", b"key-%d" % number)


STORED = object_id(0)


def at_once(coroutine: Coroutine[object, object, Value]) -> Value:
    """The result of a coroutine that has nothing to wait for, without what a loop would add."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: Value = done.value
        return value
    raise AssertionError("it had to wait")


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store that holds object 0 in whole and knows OBJECTS others."""
    fences = Fences()
    store = await Store.open(StoreSettings(tmp_path / "cache", 1 << 30), fences, SystemClock())
    try:
        await _fill(store, fences)
        yield store
    finally:
        await store.close()


async def _fill(store: Store, fences: Fences) -> None:
    for number in range(OBJECTS):
        oid = object_id(number)
        store.publish_head(oid, RECORD, fences.token(oid), number + 1)
    oid = STORED
    writer = store.begin_fill(oid, RECORD, fences.token(oid), 1, Interval(0, SIZE))
    assert writer is not None
    await writer.write(0, [memoryview(pattern(b"key", 1, 0, SIZE))])
    await writer.finish()
    reader = await store.open_range(await store.lookup(oid), Interval(0, SIZE))
    assert reader is not None
    await reader.verify(Interval(0, SIZE))
    reader.close()


async def test_lookup(benchmark: BenchmarkFixture, store: Store) -> None:
    entry: Entry = benchmark(lambda: at_once(store.lookup(STORED)))
    assert entry.head == RECORD


def test_object_id(benchmark: BenchmarkFixture) -> None:
    assert benchmark(object_id, 7) == object_id(7)


@pytest.mark.parametrize("length", [4096, SIZE])
async def test_open_range(benchmark: BenchmarkFixture, store: Store, length: int) -> None:
    entry = at_once(store.lookup(STORED))
    interval = Interval(0, length)

    def opened() -> bool:
        reader = at_once(store.open_range(entry, interval))
        assert reader is not None
        cold = reader.unverified_or_cold(interval)
        reader.close()
        return cold

    assert benchmark(opened) is False
