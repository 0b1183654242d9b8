"""A fill of another worker: what it brings, as far as is told, and what can be read of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.storage.conftest import MIB, eventually, oid, pattern, record
from tests.storage.test_left_behind import opened_files, seen_by, workers
from tests.storage.test_shared import Host, make_host

from fastcache._core.extent_codec import encode_head
from fastcache._core.fill_claims import Claim, FillClaims, Seen
from fastcache.model import Interval
from fastcache.storage.neighbour_fill import NeighbourFill

__all__ = ["make_host"]

SIZE = 100 * MIB
HELD = 3 * MIB
"""As many bytes are in its file, of which is told later."""
OFFSET = 4096
LONG = 20.0


class Neighbour:
    """The worker that fetches, by what it tells and by its files; and the fill as another one sees it."""

    def __init__(self, host: Host, path: Path) -> None:
        self.host = host
        one, self.bench = workers(host, 2)
        claims = FillClaims(host.memory, 101)
        claim = claims.filling(
            oid("k").digest, 0, SIZE, encode_head(record("k", SIZE)), one.fences.token(oid("k")), 1, 0.0
        )
        assert claim is not None
        self.claim: Claim = claim
        self.fills = path / "store" / "fills"

    @property
    def fill(self) -> NeighbourFill:
        return seen_by(self.bench, "k")

    def write(self, number: int, start: int) -> Path:
        """The file in progress goes on from here."""
        path = self.fills / f"101-{number}.part"
        path.write_bytes(bytes(OFFSET) + pattern("k", HELD)[start:])
        self.claim.note_part(number, start, OFFSET)
        return path

    def die(self) -> None:
        self.host.memory.clear(1)


@pytest.fixture
async def neighbour(make_host: Callable[..., Host], tmp_path: Path) -> Neighbour:
    return Neighbour(make_host(), tmp_path)


async def test_it_brings_what_is_written_and_while_it_lives_what_comes_soon(neighbour: Neighbour) -> None:
    fill = neighbour.fill
    neighbour.claim.note_written(HELD)
    soon, late = Interval(HELD + 32 * MIB, SIZE), Interval(HELD + 32 * MIB + 1, SIZE)
    assert [fill.brings(Interval(0, end), 0.0) for end in (HELD, HELD + 1)] == [True, True]
    await asyncio.sleep(0.01)  # its pace is known from now on
    assert [fill.brings(ahead, 0.0) for ahead in (soon, late)] == [True, False]
    assert fill.brings(late, 1e6)
    assert (fill.reach, fill.complete) == (SIZE, False)
    neighbour.claim.end()
    assert [fill.brings(Interval(0, end), 1e6) for end in (HELD, HELD + 1)] == [True, False]
    assert (fill.reach, fill.complete) == (HELD, False)


async def test_it_is_complete_when_all_of_it_is_written(neighbour: Neighbour) -> None:
    fill = neighbour.fill
    neighbour.claim.note_written(SIZE)
    assert fill.reach == SIZE
    assert fill.complete


async def test_a_reader_waits_for_its_byte_and_tells_that_it_does(neighbour: Neighbour) -> None:
    fill = neighbour.fill
    neighbour.claim.note_written(100)
    assert await fill.until_readable(99)
    assert neighbour.claim.reached() == 99
    waiting = asyncio.create_task(fill.until_readable(200))
    for written in (150, 200):
        told = neighbour.claim.looked_at()
        neighbour.claim.note_written(written)
        await eventually(lambda told=told: neighbour.claim.looked_at() > told, LONG)  # type: ignore[misc]
        assert not waiting.done()
    told = neighbour.claim.looked_at()
    await eventually(lambda: neighbour.claim.looked_at() > told, LONG)
    neighbour.claim.note_written(201)
    async with asyncio.timeout(LONG):
        assert await waiting
    assert neighbour.claim.reached() == 200


@pytest.mark.parametrize("end", [Neighbour.die, lambda neighbour: neighbour.claim.end()], ids=["dies", "ends"])
async def test_a_reader_waits_no_longer_than_the_other_worker_goes_on(
    neighbour: Neighbour, end: Callable[[Neighbour], None]
) -> None:
    fill = neighbour.fill
    waiting = asyncio.create_task(fill.until_readable(200))
    await asyncio.sleep(0.01)
    end(neighbour)
    async with asyncio.timeout(LONG):
        assert not await waiting


async def read(fill: NeighbourFill, interval: Interval) -> bytes | None:
    async with fill.part_at(interval.start) as part:
        return None if part is None else await part.read(Interval(interval.start, min(interval.end, part.end)))


async def test_a_file_in_progress_is_read_to_where_it_is_written(neighbour: Neighbour) -> None:
    fill, content = neighbour.fill, pattern("k", HELD)
    neighbour.write(1, 0)
    neighbour.claim.note_written(1000)
    assert await read(fill, Interval(10, HELD)) == content[10:1000]
    assert await read(fill, Interval(1000, HELD)) is None
    neighbour.claim.note_written(2000)
    neighbour.die()
    assert await read(fill, Interval(1000, HELD)) == content[1000:2000]


async def test_a_file_holds_nothing_of_what_is_written_to_the_next_one(neighbour: Neighbour) -> None:
    fill, content = neighbour.fill, pattern("k", HELD)
    neighbour.write(1, 0)
    neighbour.claim.note_written(1000)
    async with fill.part_at(0) as first:
        assert first is not None
        neighbour.write(2, 1000)
        neighbour.claim.note_written(3000)
        assert await read(fill, Interval(1000, HELD)) == content[1000:3000]
        assert first.end == 1000
        assert await first.read(Interval(500, 1000)) == content[500:1000], "it is open as long as it is held"
    assert await read(fill, Interval(999, HELD)) is None, "it is committed"


async def test_files_are_open_no_longer_than_somebody_reads(neighbour: Neighbour) -> None:
    fill = neighbour.fill
    first = neighbour.write(1, 0)
    neighbour.claim.note_written(1000)
    for _ in range(2):
        fill.joined()
    assert await read(fill, Interval(0, 10)) is not None
    fill.left()
    assert first in opened_files()
    second = neighbour.write(2, 1000)
    neighbour.claim.note_written(2000)
    assert await read(fill, Interval(1000, 1010)) is not None
    assert opened_files() & {first, second} == {second}
    fill.left()
    assert opened_files() & {first, second} == set()


async def test_one_that_was_taken_over_is_nobody_else_s(neighbour: Neighbour) -> None:
    fill = neighbour.fill
    assert not fill.take_over(), "it lives"
    neighbour.die()
    assert fill.take_over()
    assert not fill.take_over()


class Overtaken:
    """What is seen of a claim whose process writes once more, and dies, when its watermark has been read."""

    def __init__(self, neighbour: Neighbour, seen: Seen) -> None:
        self._neighbour = neighbour
        self._seen = seen
        self.phase = seen.phase
        self.part = seen.part

    def watermark(self) -> int:
        told = self._seen.watermark()
        self._neighbour.claim.note_written(HELD)
        self._neighbour.die()
        return told


async def test_what_was_written_last_before_a_death_is_not_overlooked(neighbour: Neighbour) -> None:
    fill = neighbour.fill
    neighbour.claim.note_written(1000)
    fill.seen = Overtaken(neighbour, fill.seen)  # type: ignore[assignment]
    assert fill.reach >= HELD
    assert (fill.reach, fill.died) == (HELD, True)
