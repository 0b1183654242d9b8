"""What a killed process had in progress: one of the others stores it, and nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.storage.conftest import MIB, Bench, disk_use, eventually, oid, pattern, record
from tests.storage.test_shared import BIG, Host, make_host

from fastcache._core.shared import Cell
from fastcache.model import Interval
from fastcache.storage import keeping
from fastcache.storage.keeping import Keeping
from fastcache.storage.neighbour_fill import NeighbourFill
from fastcache.storage.shared_store import SharedStore
from fastcache.storage.sharing import KEEPER
from fastcache.storage.writer import FillWriter

__all__ = ["make_host"]

WRITTEN = 2 * MIB


@pytest.fixture(autouse=True)
def _nothing_is_removed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed process had in progress stays as long as a test here lasts."""
    monkeypatch.setattr(keeping, "_TAKEN_OVER_WITHIN", 600.0)


def workers(host: Host, count: int) -> list[Bench]:
    """Workers that accept connections, and so are told what the others fetch."""
    benches = [host.worker(place) for place in range(1, count + 1)]
    for place in range(1, count + 1):
        host.memory.set(place, Cell.LISTENING, 1)
    return benches


def begin_empty(bench: Bench, key: str) -> FillWriter:
    """A fill of BIG bytes of which none has come."""
    token, sent = bench.fences.token(oid(key)), next(bench.sent)
    writer = bench.store.begin_fill(oid(key), record(key, BIG), token, sent, Interval(0, BIG))
    assert writer is not None
    return writer


async def begin(bench: Bench, key: str) -> FillWriter:
    """The same, of which WRITTEN are in a file."""
    writer = begin_empty(bench, key)
    await writer.write(0, [memoryview(pattern(key, BIG))[:WRITTEN]])
    return writer


def seen_by(bench: Bench, key: str) -> NeighbourFill:
    assert isinstance(bench.store, SharedStore)
    (fill,) = bench.store.fills_elsewhere(oid(key))
    return fill


def in_progress(path: Path) -> list[str]:
    return [name.name for name in (path / "store" / "fills").iterdir()]


async def test_who_had_not_opened_a_dead_process_s_file_stores_what_is_in_it(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    keeper = host.keeper()
    one, two, three = workers(host, 3)
    writer = await begin(one, "k")
    host.memory.clear(1)
    assert isinstance(keeper.store, Keeping)
    keeper.store.died(101, crashed=True)
    await asyncio.sleep(0.05)  # whatever it removes at once is removed by now
    fills = [seen_by(bench, "k") for bench in (two, three)]
    assert [(fill.died, fill.watermark) for fill in fills] == [(True, WRITTEN)] * 2
    assert [fill.take_over() for fill in fills] == [True, False]
    assert isinstance(two.store, SharedStore)
    await two.store.inherit(oid("k"), fills[0])
    for bench in (two, three):
        assert await bench.read("k", Interval(0, WRITTEN)) == pattern("k", BIG)[:WRITTEN]
    await writer.discard()


async def test_the_file_of_a_fill_is_there_and_open_elsewhere_before_its_first_byte(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    one, two = workers(host, 2)
    writer = begin_empty(one, "k")
    fill = seen_by(two, "k")
    fill.joined()
    waiting = asyncio.create_task(fill.until_readable(0))
    await writer.prepare()
    path = tmp_path / "store" / "fills" / "101-1.part"
    await eventually(lambda: path in opened_files())
    assert not waiting.done()
    await writer.write(0, [memoryview(pattern("k", BIG))[:WRITTEN]])
    assert await waiting
    async with fill.part_at(WRITTEN - 1) as part:
        assert part is not None
        assert await part.read(Interval(0, WRITTEN)) == pattern("k", BIG)[:WRITTEN]
    fill.left()
    await writer.discard()
    assert path not in opened_files()


def opened_files() -> set[Path]:
    """What this process has open for reading only, by name."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            access = int(Path(f"/proc/self/fdinfo/{entry.name}").read_text().split()[3], 8)
            if access & os.O_ACCMODE == os.O_RDONLY:
                found.add(entry.readlink())
    return found


async def test_a_fill_that_ends_before_its_first_byte_leaves_no_file(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    one, _ = workers(host, 2)
    writer = begin_empty(one, "k")
    await writer.prepare()
    assert in_progress(tmp_path) == ["101-1.part"]
    await writer.finish()
    assert in_progress(tmp_path) == []


async def test_what_a_killed_process_had_in_progress_counts_until_it_is_removed(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    keeper = host.keeper()
    (one,) = workers(host, 1)
    writer = await begin(one, "k")
    host.memory.clear(1)
    assert host.memory.total(Cell.BYTES) < WRITTEN
    assert isinstance(keeper.store, Keeping)
    keeper.store.died(101, crashed=True)
    await eventually(lambda: host.answered_for(KEEPER) == disk_use(tmp_path / "store"))
    assert in_progress(tmp_path) == ["101-1.part"]
    await keeper.store.close()
    assert in_progress(tmp_path) == []
    assert host.answered_for(KEEPER) == disk_use(tmp_path / "store")
    await writer.discard()


async def test_what_a_killed_process_had_in_progress_is_removed_after_a_while(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    keeper = host.keeper()
    (one,) = workers(host, 1)
    writer = await begin(one, "k")
    assert isinstance(keeper.store, Keeping)
    await keeper.store.remove_parts_of(101, after=0.01)
    assert in_progress(tmp_path) == []
    assert host.answered_for(KEEPER) == 0
    await writer.discard()
