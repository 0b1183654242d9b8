"""Small reads are widened to blocks: one request for neighbours, and each client gets what it asked for."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.gateway.conftest import Gate
from tests.gateway.objects import KEY, Remote, Remotes, Span

MIB = 1024 * 1024
KIB = 1024
pytestmark = pytest.mark.parametrize("own_gate", ["verify-sign-widen"], indirect=True)


@pytest.fixture
def remote(own_gate: Gate) -> Remotes:
    """``remote(size)``: a new object behind a gateway that widens to blocks of 1 MiB."""
    return functools.partial(Remote.make, own_gate)


@pytest.mark.parametrize("known", [False, True], ids=["cold", "head known"])
@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        ((0, 1), (0, MIB)),
        ((100, 200), (0, MIB)),
        ((MIB - 1, MIB + 1), (0, 2 * MIB)),
        ((2 * MIB, 3 * MIB), (2 * MIB, 3 * MIB)),
        ((MIB // 2, MIB // 2 + MIB), (MIB // 2, MIB // 2 + MIB)),
        ((4 * MIB + 10, 4 * MIB + 20), (4 * MIB, 4 * MIB + 100)),
    ],
)
def test_a_read_smaller_than_a_block_becomes_the_blocks_it_touches(
    remote: Remotes, known: bool, wanted: Span, asked: Span
) -> None:
    r = remote(4 * MIB + 100)
    if known:
        assert r.gate.raw("HEAD", r.target).status == 200
    answer = r.get(wanted)
    assert (answer.status, answer.body) == (206, r.content(wanted))
    assert answer.get(b"x-cache") == b"MISS"
    assert answer.get(b"content-range") == b"bytes %d-%d/%d" % (wanted[0], wanted[1] - 1, r.size)
    r.settle()
    # Before the size is known a block may reach beyond the end.
    assert [(start, min(end, r.size)) for start, end in filter(None, r.asked)] == [asked]
    assert r.moved == asked[1] - asked[0]
    r.check(asked)
    assert len(r.asked) == 1, "what was fetched beside it was not stored"


def test_a_suffix_is_widened_as_soon_as_the_size_is_known(remote: Remotes) -> None:
    r = remote(4 * MIB + 100)
    r.hold((0, 10))
    answer = r.get(Range="bytes=-200")
    assert (answer.status, answer.body) == (206, r.content((r.size - 200, r.size)))
    assert r.asked == [(3 * MIB, r.size)]


def test_a_range_behind_the_end_of_its_block_is_416(remote: Remotes) -> None:
    r = remote(100)
    answer = r.get((200, 300))
    assert (answer.status, answer.get(b"content-range")) == (416, b"bytes */100")
    r.settle()
    r.check()
    assert len(r.asked) == 1


def test_neighbours_in_one_block_at_once_are_one_request(remote: Remotes) -> None:
    r = remote(4 * MIB)
    r.control.settings(latency=0.3)
    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(r.check, (at * 64 * KIB, at * 64 * KIB + 1000)) for at in range(16)]:
            future.result()
    r.control.settings(latency=0)
    assert r.asked == [(0, MIB)]
    assert r.moved == MIB


def test_the_bytes_that_were_asked_for_flow_while_the_block_arrives(remote: Remotes) -> None:
    r = remote(4 * MIB)
    r.control.fault("stall", after=64 * KIB, seconds=3600, key=KEY)
    r.check((10 * KIB, 20 * KIB))
    assert r.moved < MIB, "the client waited for the whole block"
    r.control.drop_connections()


def test_of_a_block_that_is_partly_here_only_what_touches_the_read_is_asked_for(remote: Remotes) -> None:
    r = remote(4 * MIB)
    r.hold((MIB, 2 * MIB))
    assert r.gate.through.get_object(Bucket=r.bucket, Key=KEY, Range="bytes=2097052-2097251")["Body"].read() == (
        r.content((2 * MIB - 100, 2 * MIB + 100))
    )
    assert r.asked == [(2 * MIB, 3 * MIB)]


def test_what_may_not_be_stored_is_widened_once(own_gate: Gate) -> None:
    r = Remote.make(own_gate, 4 * MIB, **{"Cache-Control": "no-store"})
    for _ in range(3):
        r.check((10, 20))
    assert r.asked == [(0, MIB), (10, 20), (10, 20), (10, 20)]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (500, 1), (503, 1)])
def test_what_the_origin_says_to_the_blocks_is_the_answer(remote: Remotes, status: int, requests: int) -> None:
    r = remote(4 * MIB)
    r.control.fault("status", status=status, key=KEY)
    assert r.get((10, 20)).status == status
    assert len(r.asked) == requests
    r.check((10, 20))


def test_an_origin_that_ignores_ranges_is_answered_for_as_it_answers(remote: Remotes) -> None:
    r = remote(MIB + 5)
    r.control.fault("ignore-range", key=KEY)
    answer = r.get((10, 20))
    assert (answer.status, answer.body) == (200, r.content())


def test_an_object_overwritten_meanwhile_is_asked_for_anew(remote: Remotes) -> None:
    r = remote(4 * MIB)
    r.hold((0, 10))
    r.control.flip(r.bucket, KEY)
    r.check((2 * MIB, 2 * MIB + 10), generation=2)
    assert r.asked == [(2 * MIB, 3 * MIB), (2 * MIB, 3 * MIB)]
    assert r.moved == MIB
