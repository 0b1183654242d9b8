"""P-10: a disk that fails, hangs or runs out of descriptors is a miss, and is used again when it is well."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastcache.clock import ManualClock
from fastcache.errors import StorageError
from fastcache.model import Interval
from fastcache.storage import files, loading, store
from fastcache.storage.io_threads import FAILURES_TO_BREAK, STUCK_AFTER, IoThreads
from fastcache.storage.metrics import NoMetrics, StoreCounter

from .conftest import MIB, Bench, disk_use, eventually, oid, pattern, record

SIZE = 2 * MIB


def failing(number: int) -> Callable[..., Any]:
    def call(*args: object, **kwargs: object) -> Any:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.ENFILE])
async def test_nothing_on_a_failing_disk_raises_but_writing(
    bench: Bench, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.fill("k", SIZE)
    await bench.fill("known", SIZE)
    await bench.reopen()
    await bench.scanned()
    entry = await bench.store.lookup(oid("known"))
    with monkeypatch.context() as broken:
        for name in ("open", "mkdir", "rename", "unlink", "pwritev"):
            broken.setattr(files.os, name, failing(number))
        assert (await bench.store.lookup(oid("k"))).head is None
        assert await bench.store.open_range(entry, Interval(0, 100)) is None
        await bench.store.unpublish(oid("k"))
        bench.store.drop(oid("unknown"))
        target = oid("new")
        writer = bench.store.begin_fill(target, record("new", SIZE), bench.fences.token(target), 1, Interval(0, SIZE))
        if writer is not None:
            with pytest.raises(StorageError):
                await writer.write(0, [memoryview(bytes(SIZE))])
            await writer.finish()
        await bench.settled()
    bench.clock.advance(120)
    assert await bench.read("k", Interval(0, SIZE)) == pattern("k", SIZE)
    await bench.fill("new", SIZE, generation=1)
    assert await bench.read("new", Interval(0, SIZE)) == pattern("new", SIZE, 1)
    await bench.settled()
    assert bench.store.stats().used == disk_use(bench.settings.directory)


async def test_a_disk_that_keeps_failing_is_left_alone_for_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.fill("k", SIZE)
    await bench.scanned()
    calls = 0

    def count_and_fail(*args: object, **kwargs: object) -> int:
        nonlocal calls
        calls += 1
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(files.os, "stat", count_and_fail)
        for n in range(20):
            assert (await bench.store.lookup(oid(f"unknown{n}"))).head is None
        assert calls == FAILURES_TO_BREAK
        assert bench.metrics.counts[StoreCounter.BROKEN] == 1
        assert not bench.store.stats().available
        assert (await bench.store.lookup(oid("k"))).head is None
        target = oid("new")
        assert bench.store.begin_fill(target, record("new", 5), bench.fences.token(target), 1, Interval(0, 5)) is None
        bench.clock.advance(1.1)
        await bench.store.lookup(oid("unknown"))
        assert calls == FAILURES_TO_BREAK + 1  # one try, and away again for longer
        bench.clock.advance(1.1)
        await bench.store.lookup(oid("unknown"))
        assert calls == FAILURES_TO_BREAK + 1
    bench.clock.advance(10.0)
    assert await bench.read("k", Interval(0, SIZE)) == pattern("k", SIZE)


async def test_a_hung_disk_delays_a_lookup_by_a_bounded_time_only(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(store, "PATIENCE", 0.1)
    await bench.scanned()

    def hang(*args: object, **kwargs: object) -> os.stat_result:
        release.wait(30)
        raise FileNotFoundError(errno.ENOENT, "gone")

    with monkeypatch.context() as broken:
        broken.setattr(files.os, "stat", hang)
        began = time.monotonic()
        for n in range(4):
            assert (await bench.store.lookup(oid(f"k{n}"))).head is None
            await bench.store.unpublish(oid(f"k{n}"))
        assert time.monotonic() - began < 25
        assert bench.store.stats().available
        bench.clock.advance(STUCK_AFTER + 1)
        assert not bench.store.stats().available  # nobody queues up behind it any more
        release.set()
        await bench.settled()
    assert bench.store.stats().available
    await bench.fill("k1", 5000)
    assert await bench.read("k1", Interval(0, 5000)) == pattern("k1", 5000)


async def test_a_read_error_in_the_middle_drops_the_extent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = await bench.fill("k", SIZE)
    reader = await bench.store.open_range(entry, Interval(0, SIZE))
    assert reader is not None
    with monkeypatch.context() as broken:
        broken.setattr(loading, "crc_file", failing(errno.EIO))
        with pytest.raises(StorageError, match="reading failed"):
            await reader.verify(Interval(0, 10))
    reader.close()
    await bench.settled()
    assert bench.store.missing(entry, Interval(0, SIZE)) == [(0, SIZE)]
    assert bench.store.stats().used == disk_use(bench.settings.directory) == 0


async def test_a_failed_fsync_or_close_discards_the_file(
    make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await make_bench(durability="fsync")
    with monkeypatch.context() as broken:
        broken.setattr(files.os, "fsync", failing(errno.EIO))
        await bench.fill("small", 5000)
        assert await bench.read("small", Interval(0, 5000)) is None
    await bench.settled()
    assert bench.store.stats().used == disk_use(bench.settings.directory) == 0


async def test_the_pool_keeps_order_of_nothing_but_loses_nothing() -> None:
    pool = IoThreads(3, 10, ManualClock(), NoMetrics())
    results = [await one for one in [pool.run(pow, n, 2) for n in range(200)]]
    assert results == [n * n for n in range(200)]
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)
    gate = threading.Event()
    waiting = [pool.run(gate.wait, 10) for _ in range(10)]
    assert not pool.available
    gate.set()
    assert all([await one for one in waiting])
    assert pool.available
    await pool.close()
    with pytest.raises(StorageError):
        pool.run(int)


def test_a_call_that_returns_when_the_loop_is_closed_has_nobody_to_tell() -> None:
    released = threading.Event()

    async def leave_it_behind() -> list[threading.Thread]:
        io = IoThreads(1, 10, ManualClock(), NoMetrics())
        io.run(released.wait)
        await io.close(patience=0.0)
        return io._threads

    left = asyncio.run(leave_it_behind())
    assert left[0].is_alive()
    released.set()
    left[0].join(20)
    assert not left[0].is_alive()


async def test_a_closed_store_is_a_store_of_misses(bench: Bench) -> None:
    await bench.fill("k", 5000)
    entry = await bench.store.lookup(oid("k"))
    await bench.store.close()
    assert (await bench.store.lookup(oid("k"))).head is None
    assert await bench.store.open_range(entry, Interval(0, 10)) is None
    token = bench.fences.token(oid("k"))
    assert bench.store.begin_fill(oid("k"), record("k", 5000), token, 99, Interval(0, 10)) is None
    bench.store.drop(oid("k"))
    await bench.store.unpublish(oid("k"))
    await eventually(lambda: True)
