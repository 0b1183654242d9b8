"""Bytes that are stored before it is known what they belong to: uploads on their way."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.storage.conftest import MIB, Bench, disk_use, oid, pattern, record, stored_files

from fastcache._core import placing
from fastcache.errors import StorageError
from fastcache.model import HeadRecord, Interval
from fastcache.storage.reader import RangeReader
from fastcache.storage.settings import StoreSettings
from fastcache.storage.staging import StagedBody


@contextlib.asynccontextmanager
async def opened(directory: Path, capacity: int = 256 * MIB, **more: object) -> AsyncIterator[Bench]:
    bench = Bench(StoreSettings(directory, capacity, **more))  # type: ignore[arg-type]
    await bench.start()
    try:
        yield bench
    finally:
        await bench.store.close()


def headerless(key: str, size: int) -> HeadRecord:
    return HeadRecord(record(key, size).generation, ())


async def staged(bench: Bench, data: bytes, step: int = 700_001) -> StagedBody:
    body = bench.store.staging.begin(len(data))
    assert body is not None
    for at in range(0, len(data), step):
        piece = memoryview(data)[at : at + step]
        if len(data) <= MIB:
            body.keep([piece])
        else:
            await body.write([piece])
    return body


async def commit(bench: Bench, key: str, body: StagedBody, size: int) -> bool:
    token = bench.fences.raise_object(oid(key))
    made = headerless(key, size)
    entry = bench.store.staging.publish(oid(key), made, token, next(bench.sent))
    assert entry is not None
    assert entry.validation is None
    return await body.commit(entry, made.generation.tag, token, start=0, whole=True)


async def read(bench: Bench, key: str, size: int) -> bytes | None:
    entry = await bench.store.lookup(oid(key))
    reader = await bench.store.open_range(entry, Interval(0, size))
    if reader is None:
        return None
    try:
        await reader.verify(Interval(0, size))
        return b"".join(os.pread(piece.fd, piece.length, piece.offset_in_file) for piece in reader.pieces)
    finally:
        reader.close()


@pytest.mark.parametrize("size", [1, 4096, MIB, MIB + 1, 5 * MIB, 40 * MIB])
async def test_what_was_staged_is_read_and_outlives_a_restart(tmp_path: Path, size: int) -> None:
    async with opened(tmp_path / "cache", 512 * MIB) as bench:
        data = pattern("o", size)
        assert await commit(bench, "o", await staged(bench, data), size)
        assert await read(bench, "o", size) == data
        assert bench.store.staging.used == bench.store.staging.in_memory == 0
        await bench.settled()
        assert bench.store.stats().used == disk_use(tmp_path / "cache")
        await bench.reopen()
        assert await read(bench, "o", size) == data
        entry = await bench.store.lookup(oid("o"))
        assert entry.head is not None
        assert entry.head.is_headerless


async def test_the_header_set_of_the_first_read_is_kept_with_it(tmp_path: Path) -> None:
    for size in (1000, 3 * MIB):
        async with opened(tmp_path / f"cache-{size}") as bench:
            data = pattern("o", size)
            assert await commit(bench, "o", await staged(bench, data), size)
            complete = record("o", size)
            token = bench.fences.token(oid("o"))
            assert bench.store.publish_head(oid("o"), complete, token, next(bench.sent))
            assert await read(bench, "o", size) == data
            await bench.settled()
            await bench.reopen()
            entry = await bench.store.lookup(oid("o"))
            assert entry.head is not None
            assert entry.head.headers == complete.headers
            assert await read(bench, "o", size) == data


async def overwritten(bench: Bench, data: bytes) -> RangeReader:
    """``o`` with ``data``, staged over what was stored and marked; a reader of that."""
    entry = await bench.fill("o", 5000)
    reader = await bench.store.open_range(entry, Interval(0, 5000))
    assert reader is not None
    await bench.store.unpublish(oid("o"))
    await bench.settled()
    assert await commit(bench, "o", await staged(bench, data), len(data))
    return reader


async def test_a_small_body_takes_the_place_of_what_was_there_in_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, data = tmp_path / "cache", pattern("new", 4096)
    async with opened(cache) as bench:
        reader = await overwritten(bench, data)
        jobs: list[str] = []
        run = bench.store._disk.io.run

        def counted(function: Callable[..., object], *args: object, **kwargs: object) -> asyncio.Future[object]:
            jobs.append(function.__name__)
            return run(function, *args, **kwargs)

        monkeypatch.setattr(bench.store._disk.io, "run", counted)
        (piece,) = reader.pieces
        assert os.pread(piece.fd, piece.length, piece.offset_in_file) == pattern("o", 5000)
        assert bench.store.stats().used == disk_use(cache) + 8192, "the old file has no name and is open"
        reader.close()
        await bench.settled()
        jobs.clear()
        await bench.store.unpublish(oid("o"))
        assert await commit(bench, "o", await staged(bench, data), len(data))
        await bench.settled()
        assert jobs == ["store"]
        assert await read(bench, "o", len(data)) == data
        assert [path.suffix for path in stored_files(cache)] == [".obj", ".void"], "nothing is proved yet"
        assert bench.store.stats().used == disk_use(cache)
        await bench.reopen()
        assert (await bench.store.lookup(oid("o"))).voided
        assert await read(bench, "o", len(data)) == data
        token = bench.fences.token(oid("o"))
        assert bench.store.validate(oid("o"), token, next(bench.sent), 5.0)
        await bench.settled()
        assert [path.suffix for path in stored_files(cache)] == [".obj"]


async def test_a_small_body_that_cannot_be_stored_leaves_nothing_of_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for failure in ("written", "outdated"):
        async with opened(cache) as bench:
            await bench.fill("o", 5000)
            body = await staged(bench, pattern("new", 4096))
            token = bench.fences.raise_object(oid("o"))
            made = headerless("o", 4096)
            entry = bench.store.staging.publish(oid("o"), made, token, next(bench.sent), body)
            assert entry is not None
            if failure == "written":
                monkeypatch.setattr(placing, "store_whole", _full)
            else:
                bench.fences.raise_object(oid("o"))
            assert not await body.commit(entry, made.generation.tag, token, start=0, whole=True)
            monkeypatch.undo()
            await bench.settled()
            assert stored_files(cache) == [], failure
            assert bench.store.stats().used == bench.store.staging.used == 0


def _full(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_raise_in_between_leaves_neither_bytes_nor_files(tmp_path: Path) -> None:
    for size in (1000, 40 * MIB):
        async with opened(tmp_path / f"cache-{size}") as bench:
            body = await staged(bench, pattern("o", size))
            token = bench.fences.raise_object(oid("o"))
            made = headerless("o", size)
            entry = bench.store.staging.publish(oid("o"), made, token, next(bench.sent))
            assert entry is not None
            bench.fences.raise_object(oid("o"))
            assert not await body.commit(entry, made.generation.tag, token, start=0, whole=True)
            assert bench.store.staging.publish(oid("o"), made, token, next(bench.sent)) is None
            assert await read(bench, "o", size) is None
            await bench.settled()
            assert stored_files(tmp_path / f"cache-{size}") == []
            assert bench.store.stats().used == 0


async def test_an_answer_that_was_asked_for_later_is_not_overtaken(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache") as bench:
        token = bench.fences.raise_object(oid("o"))
        early, late = next(bench.sent), next(bench.sent)
        assert bench.store.publish_head(oid("o"), record("o", 5, 2), token, late)
        assert bench.store.staging.publish(oid("o"), headerless("o", 5), token, early) is None


async def test_what_is_given_up_frees_all_that_it_took(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache") as bench:
        bodies = [await staged(bench, pattern("o", size)) for size in (1000, 3 * MIB, 40 * MIB)]
        assert bench.store.staging.used == 1000 + 43 * MIB
        await asyncio.gather(*(body.discard() for body in bodies))
        assert bench.store.staging.used == bench.store.staging.in_memory == 0
        assert bench.store.stats().used == 0
        assert list((tmp_path / "cache" / "fills").iterdir()) == []


async def test_uploads_take_a_quarter_of_the_cache_and_a_bounded_memory(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache", 16 * MIB, write_behind_limit=MIB) as bench:
        assert bench.store.staging.begin(4 * MIB + 1) is None
        body = bench.store.staging.begin(None)
        assert body is not None
        await body.write([memoryview(bytes(4 * MIB))])
        with pytest.raises(StorageError):
            await body.write([memoryview(b"x")])
        assert bench.store.staging.begin(1) is None
        await body.discard()
        one, two = (bench.store.staging.begin(600_000) for _ in range(2))
        assert one is not None
        assert two is not None
        one.keep([memoryview(bytes(600_000))])
        with pytest.raises(StorageError):
            two.keep([memoryview(bytes(600_000))])
        await one.discard()
        await two.discard()


async def test_what_an_interrupted_life_staged_is_removed(tmp_path: Path) -> None:
    async with opened(tmp_path / "cache") as bench:
        await staged(bench, pattern("o", 40 * MIB))
        assert len(list((tmp_path / "cache" / "fills").iterdir())) == 3
        await bench.reopen()
        assert list((tmp_path / "cache" / "fills").iterdir()) == []
