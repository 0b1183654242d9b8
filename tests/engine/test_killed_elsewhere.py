"""A worker that is killed after any of its writes to what all workers share: those that live wait for nothing of it,
one of them stores what it had written, the rest is asked for once, and none of its claims is lost.

Each place at which it may be killed is visited (:mod:`tests.harness.stepping`). The directory holds what the process
would have done to it by then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.harness.stepping import claims_in, writes
from tests.harness.tools import require_tool
from tests.storage.conftest import MIB, Bench, oid, pattern, record
from tests.storage.test_shared import Host

from fastcache._core.extent_codec import encode_head
from fastcache._core.fill_claims import UNKNOWN_END, Claim, FillClaims, Phase, Seen
from fastcache._core.shared import Cell
from fastcache.engine.elsewhere import Elsewhere
from fastcache.model import FenceToken, Interval
from fastcache.policy.read_request import Conditions, ReadRequest
from fastcache.storage.shared_store import SharedStore

KEY = "k"
OID = oid(KEY)
SIZE = 3 * MIB
RECORD = record(KEY, SIZE)
WHOLE = ReadRequest(b"GET", OID, None, Conditions(), False, False, may_ask_for_part=True)
ROOM = 1024
PATIENCE = 60.0
OFFSET = 4096
"""Of the bytes in a file in progress."""
FIRST, SECOND = Interval(0, MIB), Interval(MIB, 2 * MIB)
"""What the killed process stores in two files, before it comes to the end."""


@dataclass
class Life:
    """What a process tells of a request and its fill."""

    claims: FillClaims
    token: FenceToken
    request: int
    start: int = 0
    held: list[Claim] = field(default_factory=list)

    def ask(self) -> None:
        self._hold(self.claims.asking(OID.digest, self.start, UNKNOWN_END))

    def fill(self) -> None:
        told = encode_head(RECORD), self.token, self.request, 1.5
        self._hold(self.claims.filling(OID.digest, self.start, SIZE, *told))

    def _hold(self, claim: Claim | None) -> None:
        assert claim is not None
        self.held.append(claim)

    @property
    def begins(self) -> list[Callable[[], object]]:
        return [self.ask, lambda: self.held[0].note_sent(), self.fill, lambda: self.held[0].end()]

    @property
    def stores(self) -> list[Callable[[], object]]:
        return [
            lambda: self.held[1].note_part(1, FIRST.start, OFFSET),
            lambda: self.held[1].note_written(FIRST.end),
            lambda: self.held[1].note_part(0, 0, 0),
            lambda: self.held[1].note_part(2, SECOND.start, OFFSET),
            lambda: self.held[1].note_written(SECOND.end),
        ]

    def end(self) -> None:
        self.held[1].end()


class Survivors:
    """Workers on a directory as a killed one left it, with a copy of the memory that it shared with them."""

    def __init__(self, host: Host, places: list[int]) -> None:
        self.host = host
        self.benches = [host.worker(place) for place in places]
        self.inheriting: list[Coroutine[None, None, None]] = []
        self.elsewhere = [
            Elsewhere(self._store(bench), PATIENCE, lambda _, work: self.inheriting.append(work))
            for bench in self.benches
        ]

    @staticmethod
    def _store(bench: Bench) -> SharedStore:
        assert isinstance(bench.store, SharedStore)
        return bench.store

    def waiting(self) -> list[asyncio.Task[object]]:
        """Whoever reads behind the process that lives still, or waits for its head."""
        tasks: list[asyncio.Task[object]] = []
        for elsewhere in self.elsewhere:
            leader = elsewhere.leader_for(WHOLE)
            if leader is not None:
                tasks.append(asyncio.create_task(leader.head_within(PATIENCE)))
            for fill in elsewhere.fills_of(OID):
                fill.joined()
                tasks.append(asyncio.create_task(fill.until_readable(SIZE - 1)))
        return tasks

    async def inherit(self) -> int:
        """How many of them store what was left."""
        for elsewhere in self.elsewhere:
            assert elsewhere.leader_for(WHOLE) is None
            assert elsewhere.asked_for(OID, [Interval(0, SIZE)], unsent=True) is None
            assert elsewhere.fills_of(OID) == ()
        for work in self.inheriting:
            await work
        return len(self.inheriting)

    async def check_bytes(self, stored: Interval) -> None:
        for bench in self.benches:
            if stored.length:
                assert await bench.read(KEY, stored) == pattern(KEY, SIZE)[: stored.end]

    def check_rest(self, rest: Interval) -> None:
        """They ask for it at once: the first one does, and the others wait for no longer than it does."""
        asked = [elsewhere.announce(WHOLE.of(rest), sent=True) for elsewhere in self.elsewhere]
        claims = [claim for claim in asked if claim is not None]
        assert len(claims) == len(asked)
        first = [
            elsewhere.is_first(WHOLE.of(rest), claim, [rest])
            for elsewhere, claim in zip(self.elsewhere, claims, strict=True)
        ]
        assert first == [number == 0 for number in range(len(first))]
        for claim in claims:
            claim.end()
        assert not any(elsewhere.leader_for(WHOLE.of(rest)) for elsewhere in self.elsewhere)

    def check_room(self) -> None:
        claims = [self._store(self.benches[0]).claim(OID, Interval(0, 1)) for _ in range(ROOM)]
        assert all(claims), "a claim is lost"


async def left_behind(path: Path, host: Host, *, parts: list[int], extents: list[Interval]) -> Host:
    """A directory with these files of the first worker, and a copy of what ``host`` has in its memory now."""
    memory = memoryview(host.memory).tobytes()
    copy = Host(path, 64 * MIB)
    one = copy.worker(1)
    for extent in extents:
        await one.fill(KEY, SIZE, extent)
    await one.store.close()
    copy.stores.clear()
    for number in parts:
        stored = (FIRST, SECOND)[number - 1]
        content = pattern(KEY, SIZE)[stored.start : stored.end]
        (path / "fills" / f"101-{number}.part").write_bytes(bytes(OFFSET) + content)
    os.pwrite(copy.fd, memory, 0)
    return copy


def begun(path: Path) -> tuple[Host, Life]:
    """Four workers that accept connections; the first one's answer has come, and is not told of yet. Each of the
    claims was another one before, all of whose words are something else."""
    host = Host(path, 64 * MIB)
    one = host.worker(1)
    for place in (1, 2, 3, 4):
        host.memory.set(place, Cell.INCARNATION, 100 + place)
        host.memory.set(place, Cell.LISTENING, 1)
    third, second = FillClaims(host.memory, 103), FillClaims(host.memory, 102)
    for _ in range(ROOM):
        claim = third.filling(oid("other").digest, 55, 66, b"z" * 400, FenceToken(1, 2, 3), 4, 9.0)
        assert claim is not None
        claim.note_sent()
        claim.note_part(7, 8, 9)
        claim.note_written(60)
        claim.end()
    for seen in second.of(oid("other").digest):
        seen.look(58, 11)
    request = next(one.sent)
    token = one.store.publish_head(OID, RECORD, one.fences.token(OID), request)
    assert token is not None
    return host, Life(FillClaims(host.memory, 101), token, request)


def told(seen: list[Seen]) -> Interval:
    """What is stored for sure, if a fill is told of."""
    return Interval(0, max((fill.watermark() for fill in seen), default=0))


async def go_on(copy: Host, dead: list[int], living: list[int], *, inherited: int, stored: Interval) -> None:
    """What has to hold after a death, whenever it was."""
    try:
        survivors = Survivors(copy, living)
        waiting = survivors.waiting()
        for place in dead:
            copy.memory.clear(place)
        async with asyncio.timeout(PATIENCE / 2):
            assert not any(await asyncio.gather(*waiting)), "a byte that never came"
        assert await survivors.inherit() == inherited
        await survivors.check_bytes(stored)
        survivors.check_rest(Interval(stored.end, SIZE))
        survivors.check_room()
    finally:
        await copy.close()


EVERY = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
"""Each so many deaths are looked into."""


@pytest.fixture(autouse=True)
def _traced() -> None:
    require_tool("ptrace")


@EVERY
async def test_whatever_a_killed_worker_wrote_last_the_others_go_on(tmp_path: Path, every: int) -> None:
    host, life = begun(tmp_path / "killed")
    spectator = FillClaims(host.memory, 102)
    steps = [*life.begins, *life.stores, life.end]
    deaths = 0
    for step in writes(claims_in(host.memory), steps):
        deaths += 1
        seen = [one for one in spectator.of(OID.digest) if one.head]
        assert all((one.start, one.end, one.token) == (0, SIZE, life.token) for one in seen)
        assert {one.part() for one in seen} <= {None, (1, FIRST.start, OFFSET), (2, SECOND.start, OFFSET)}
        assert told(seen).end <= (0, FIRST.end, SECOND.end)[(step >= 5) + (step >= 8)]
        if deaths % every:
            continue
        parts = [1] * (4 <= step < 6) + [2] * (7 <= step < 9)
        extents = [FIRST] * (step >= 6) + [SECOND] * (step >= 9)
        copy = await left_behind(tmp_path / f"{deaths}", host, parts=parts, extents=extents)
        inherited = sum(one.phase() is Phase.FILLING for one in seen)
        await go_on(copy, [1], [2, 3], inherited=inherited, stored=told(seen))
    assert deaths > 60, "each of its writes is one"
    await host.close()


@EVERY
async def test_whatever_the_one_that_takes_over_wrote_before_it_was_killed_the_others_go_on(
    tmp_path: Path, every: int
) -> None:
    """What it was to store and had not is lost with it, and asked for with the rest."""
    host, life = begun(tmp_path / "killed")
    for step in (*life.begins, *life.stores):
        step()
    second = FillClaims(host.memory, 102)
    spectator = FillClaims(host.memory, 103)
    (left,) = second.of(OID.digest)
    rest = Life(second, life.token, life.request + 1, SECOND.end)
    host.memory.clear(1)
    deaths = 0
    for _ in writes(claims_in(host.memory), [lambda: left.look(FIRST.end, 77), left.take_over, *rest.begins]):
        deaths += 1
        if deaths % every:
            continue
        seen = spectator.of(OID.digest)
        filling = [one for one in seen if one.head and one.phase() in (Phase.FILLING, Phase.DEAD)]
        copy = await left_behind(tmp_path / f"{deaths}", host, parts=[2], extents=[FIRST])
        stored = told([one for one in filling if one.owner == 101]) if left.phase() is Phase.DEAD else FIRST
        await go_on(copy, [1, 2], [3, 4], inherited=len(filling), stored=stored)
    assert deaths > 40, "each of its writes is one"
    await host.close()
