"""Which request or fill of another worker brings what a read lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.storage.conftest import MIB, eventually, oid, record
from tests.storage.test_left_behind import workers
from tests.storage.test_shared import Host, make_host

from fastcache._core.extent_codec import encode_head
from fastcache._core.fill_claims import Claim, FillClaims
from fastcache._core.ranges import RangeSpec
from fastcache.engine.elsewhere import Elsewhere
from fastcache.model import FenceToken, Interval
from fastcache.policy.read_request import Conditions, ReadRequest
from fastcache.storage.shared_store import SharedStore

__all__ = ["make_host"]

SIZE = 10 * MIB
OID = oid("k")
WHOLE = ReadRequest(b"GET", OID, None, Conditions(), False, False, may_ask_for_part=True)
LAST = replace(WHOLE, range=RangeSpec(None, None, 100))
PART = replace(WHOLE, part=2)
LONG = 20.0


def part_of(start: int, end: int) -> ReadRequest:
    return WHOLE.of(Interval(start, end))


class Pair:
    """One worker, as another one sees it."""

    def __init__(self, host: Host) -> None:
        benches = workers(host, 2)
        self.stores = [bench.store for bench in benches]
        self.one, self.two = (self._view(store) for store in self.stores)
        self.claims = FillClaims(host.memory, 101)
        self.fences = benches[0].fences

    @staticmethod
    def _view(store: object) -> Elsewhere:
        assert isinstance(store, SharedStore)
        return Elsewhere(store, LONG, lambda _, work: work.close())

    def filling(self, start: int, end: int, token: FenceToken | None = None) -> Claim:
        told = encode_head(record("k", SIZE)), token or self.fences.token(OID), 1, 0.0
        claim = self.claims.filling(OID.digest, start, end, *told)
        assert claim is not None
        return claim


@pytest.fixture
async def pair(make_host: Callable[..., Host]) -> Pair:
    return Pair(make_host())


def announced(view: Elsewhere, read: ReadRequest, *, sent: bool = True) -> Claim:
    claim = view.announce(read, sent=sent)
    assert claim is not None
    return claim


@pytest.mark.parametrize(
    ("theirs", "mine", "brought"),
    [
        (WHOLE, WHOLE, True),
        (WHOLE, part_of(5, 10), True),
        (WHOLE, LAST, True),
        (part_of(5, 10), part_of(5, 10), True),
        (part_of(5, 10), part_of(6, 9), True),
        (part_of(5, 10), part_of(5, 11), False),
        (part_of(5, 10), part_of(4, 10), False),
        (part_of(5, 10), WHOLE, False),
        (part_of(5, 10), LAST, False),
        (LAST, LAST, True),
        (LAST, WHOLE, False),
        (WHOLE, PART, False),
    ],
)
async def test_a_request_brings_what_lies_in_it(
    pair: Pair, theirs: ReadRequest, mine: ReadRequest, brought: bool
) -> None:
    claim = announced(pair.one, theirs)
    assert (pair.two.leader_for(mine) is not None) == brought
    assert pair.one.leader_for(mine) is None, "one's own are known already"
    claim.end()
    assert pair.two.leader_for(mine) is None


async def test_parts_are_not_announced(pair: Pair) -> None:
    assert pair.one.announce(PART, sent=True) is None


@pytest.mark.parametrize(
    ("wanted", "touched"), [((0, 5), False), ((0, 6), True), ((7, 8), True), ((9, 20), True), ((10, 20), False)]
)
async def test_a_request_that_was_sent_brings_some_of_what_it_touches(
    pair: Pair, wanted: tuple[int, int], touched: bool
) -> None:
    claim = announced(pair.one, part_of(5, 10), sent=False)
    lacking = [Interval(100, 101), Interval(*wanted)]
    assert pair.two.asked_for(OID, lacking) is None, "what it will ask for is not known yet"
    assert (pair.two.asked_for(OID, lacking, unsent=True) is not None) == touched
    claim.note_sent()
    assert (pair.two.asked_for(OID, lacking) is not None) == touched


async def test_the_one_that_told_first_is_first(pair: Pair) -> None:
    first = announced(pair.one, part_of(0, 10))
    second = announced(pair.two, part_of(5, 8))
    assert pair.one.is_first(part_of(0, 10), first, [])
    assert not pair.two.is_first(part_of(5, 8), second, []), "all of it is asked for"
    assert pair.one.leader_for(part_of(5, 8), first) is None
    assert pair.two.leader_for(part_of(5, 8), second) is not None
    third = announced(pair.two, part_of(5, 20))
    assert pair.two.is_first(part_of(5, 20), third, [])
    assert not pair.two.is_first(part_of(5, 20), third, [Interval(5, 20)]), "some of what is lacking is asked for"
    assert pair.two.asked_for(OID, [Interval(5, 20)], third) is not None
    assert pair.one.asked_for(OID, [Interval(5, 20)], first) is None
    first.end()
    assert pair.two.is_first(part_of(5, 8), second, [Interval(5, 8)])


async def test_who_could_follow_a_fill_is_not_first(pair: Pair) -> None:
    fill = pair.filling(100, SIZE)
    claims = [announced(pair.two, read) for read in (part_of(100, 200), part_of(99, 200), WHOLE)]
    assert [
        pair.two.is_first(read, claim, [])
        for read, claim in zip((part_of(100, 200), part_of(99, 200), WHOLE), claims, strict=True)
    ] == [False, True, True]
    assert [fill.interval for fill in pair.two.fills_of(OID)] == [Interval(100, SIZE)]
    pair.fences.raise_object(OID)
    assert pair.two.is_first(part_of(100, 200), claims[0], []), "a write has overtaken it"
    fill.end()
    assert pair.two.fills_of(OID) == ()


async def test_who_waits_for_a_head_is_released_by_it_and_tells_that_it_waits(pair: Pair) -> None:
    claim = announced(pair.one, WHOLE)
    leader = pair.two.leader_for(WHOLE)
    assert leader is not None
    async with asyncio.timeout(LONG):
        await leader.head_within(0.01)
    assert not leader.landed
    waiting = asyncio.create_task(leader.head_within(LONG))
    for _ in range(2):
        told = claim.looked_at()
        await eventually(lambda told=told: claim.looked_at() > told, LONG)  # type: ignore[misc]
    claim.end()
    async with asyncio.timeout(LONG / 2):
        await waiting
    assert leader.landed
