"""The index of leases against a dictionary, and what it gives back."""

from __future__ import annotations

import random

import pytest

from fastcache._core.extents import ExtentState
from fastcache._core.fences import Fences
from fastcache._core.leases import Leases
from fastcache.model import ObjectId, OriginId

ORIGIN = OriginId("http", "o", 80)
NOW = 1_000.0


def publish(leases: Leases, fences: Fences, name: tuple[bytes, bytes], **changed: object) -> int:
    object_id = ObjectId(ORIGIN, b"b", name[1])
    terms: dict[str, object] = {
        "proved_at": NOW,
        "get_ttl": 60.0,
        "head_ttl": 60.0,
        "until": NOW + 60.0,
        "etag": b'"e"',
        "size": 4,
        "last_modified": None,
        "headers": b"ETag: e\r\n",
        "checksums": b"",
        "not_modified": b"ETag: e\r\n",
        "resource": name[1],
        "checksums_known": False,
        "memo": b"body",
        "extents": [],
    }
    terms |= changed
    return leases.publish(*name, object_id, fences.token(object_id), **terms)  # type: ignore[arg-type]


@pytest.mark.parametrize("capacity", [1, 7, 64])
def test_the_index_finds_what_a_dictionary_would(capacity: int) -> None:
    dice = random.Random(capacity)
    fences = Fences()
    leases = Leases(fences, capacity, 1 << 20, 100)
    known: dict[tuple[bytes, bytes], int] = {}
    names = [(b"h%d" % (i % 3), b"/b/%d" % (i // 3)) for i in range(3 * capacity)]
    for _ in range(4000):
        name = dice.choice(names)
        if dice.random() < 0.6:
            lease = publish(leases, fences, name)
            assert lease
            known = {other: id_ for other, id_ in known.items() if leases.lookup(*other) == id_}  # room was made
            known[name] = lease
        elif name in known:
            leases.revoke(known.pop(name))
        for other in names:
            assert leases.lookup(*other) == known.get(other, 0)
        assert len(known) <= capacity
        if dice.random() < 0.3:
            released = leases.take_released()
            assert not set(released) & set(known.values())
            assert len(leases) == len(known)
    leases.revoke_all()
    leases.take_released()
    assert (len(leases), leases.memo_bytes, leases.open_extents) == (0, 0, 0)


def test_the_least_used_give_way_and_every_id_is_given_back_once() -> None:
    fences = Fences()
    leases = Leases(fences, 100, 1 << 20, 100)
    ids = [publish(leases, fences, (b"h", b"/b/%d" % i)) for i in range(250)]
    assert len(set(ids)) == 250
    gone = leases.take_released()
    assert sorted(gone) == sorted(set(gone))
    assert {lease for lease in ids if leases.holds(lease, NOW)} == set(ids) - set(gone)
    assert len(gone) == 150


def test_memory_for_bodies_and_open_extents_are_bounded() -> None:
    fences = Fences()
    leases = Leases(fences, 1000, 10_000, 8)
    for i in range(100):
        assert publish(leases, fences, (b"h", b"/m/%d" % i), size=1000, memo=bytes(1000))
        assert leases.memo_bytes <= 10_000
    for i in range(100):
        extents = [ExtentState(0, 10), ExtentState(10, 20), ExtentState(20, 30)]
        assert publish(leases, fences, (b"h", b"/e/%d" % i), size=30, memo=None, extents=extents)
        assert leases.open_extents <= 8
    assert leases.memo_bytes == 10_000  # room for extents is not made of bodies
    assert publish(leases, fences, (b"h", b"/x"), size=20_000, memo=None, extents=[ExtentState(0, 1)] * 9) == 0


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"headers": b"x" * 7000}, id="headers too long"),
        pytest.param({"not_modified": b"x" * 7000}, id="headers of a 304 too long"),
        pytest.param({"memo": b"short", "size": 6}, id="a body that is not the whole one"),
        pytest.param({"memo": bytes(20_000), "size": 20_000}, id="a body too large to be kept"),
    ],
)
def test_what_cannot_be_leased_is_not(changed: dict[str, object]) -> None:
    fences = Fences()
    leases = Leases(fences, 10, 1 << 20, 10)
    assert publish(leases, fences, (b"h", b"/b/k"), **changed) == 0
    assert leases.lookup(b"h", b"/b/k") == 0


def test_time_and_fences_end_a_lease() -> None:
    fences = Fences()
    leases = Leases(fences, 10, 1 << 20, 10)
    name = (b"h", b"/b/k")
    object_id = ObjectId(ORIGIN, b"b", b"/b/k")
    lease = publish(leases, fences, name)
    assert leases.holds(lease, NOW + 59.9)
    assert not leases.holds(lease, NOW + 60.0)
    fences.raise_object(object_id)
    assert not leases.holds(lease, NOW)
    lease = publish(leases, fences, name)
    assert leases.holds(lease, NOW)
    fences.raise_bucket(object_id)
    assert not leases.holds(lease, NOW)
    leases.expire(NOW, 10)
    assert leases.lookup(*name) == 0
    assert lease in leases.take_released()


def test_a_token_of_another_epoch_leases_nothing() -> None:
    fences, others = Fences(), Fences()
    leases = Leases(fences, 10, 1 << 20, 10)
    assert publish(leases, others, (b"h", b"/b/k")) == 0


def test_extents_can_be_added_and_an_interval_is_covered_only_without_gaps() -> None:
    fences = Fences()
    leases = Leases(fences, 10, 1 << 20, 4)
    lease = publish(leases, fences, (b"h", b"/b/k"), size=100, memo=None, extents=[ExtentState(40, 60)])
    assert leases.covers(lease, 45, 60)
    assert not leases.covers(lease, 30, 50)
    low, overlapping = ExtentState(0, 45), ExtentState(55, 90)
    assert leases.extend(lease, [low, overlapping])
    assert leases.extend(lease, [low])  # it is there already
    assert leases.open_extents == 3
    assert leases.covers(lease, 0, 90)
    assert not leases.covers(lease, 0, 91)
    assert not leases.extend(lease, [ExtentState(90, 95), ExtentState(95, 100)])  # more than may be open
    leases.revoke(lease)
    assert not leases.extend(lease, [ExtentState(90, 95)])
    leases.take_released()
    assert leases.open_extents == 0


def test_a_lease_is_for_the_keys_that_were_granted_it_in_the_present_generation() -> None:
    fences = Fences()
    leases = Leases(fences, 4, 1 << 20, 10, 3)
    lease = publish(leases, fences, (b"h", b"/b/k"))
    other = publish(leases, fences, (b"h", b"/b/l"))
    assert [leases.is_granted(lease, generation, 0) for generation in (0, 1)] == [False, False]
    for slot in (7, 8, 7, 9):
        leases.grant(lease, 1, slot)
    assert [slot for slot in range(12) if leases.is_granted(lease, 1, slot)] == [7, 8, 9]
    assert not leases.is_granted(other, 1, 7)
    leases.grant(lease, 1, 10)
    assert [slot for slot in range(12) if leases.is_granted(lease, 1, slot)] == [8, 9, 10]
    assert not leases.is_granted(lease, 2, 8)
    leases.grant(lease, 2, 1)
    assert [slot for slot in range(12) if leases.is_granted(lease, 2, slot)] == [1]
    assert not leases.is_granted(lease, 1, 8)
    leases.revoke(lease)
    leases.grant(lease, 2, 3)
    assert not leases.is_granted(lease, 2, 3)


def test_where_no_signature_is_checked_there_is_no_room_for_grants() -> None:
    fences = Fences()
    leases = Leases(fences, 4, 1 << 20, 10)
    lease = publish(leases, fences, (b"h", b"/b/k"))
    leases.grant(lease, 1, 0)
    assert not leases.is_granted(lease, 1, 0)
    with pytest.raises(ValueError, match="room"):
        Leases(fences, 4, 1 << 20, 10, 1025)
