"""Only what is missing is asked for: every byte and every request that the origin sees is counted (SEMANTICS 28)."""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import Gate
from tests.gateway.objects import KEY, Remote, Remotes, Span
from tests.harness.processes import wait_until
from tests.harness.raw import IncompleteResponseError, RawConnection

from fastcache.model import Interval
from fastcache.origin.pattern import pattern_etag

MIB = 1024 * 1024
KIB = 1024
MODES = pytest.mark.parametrize("own_gate", ["verify-sign", "none-sign"], indirect=True)


@pytest.fixture
def remote(own_gate: Gate) -> Remotes:
    """``remote(size)``: a new object behind the gateway."""
    return functools.partial(Remote.make, own_gate)


def spans(*pairs: Span) -> list[Span | None]:
    return list(pairs)


@MODES
@pytest.mark.parametrize(
    ("held", "wanted", "asked"),
    [
        ([(2 * MIB, 3 * MIB), (5 * MIB, 6 * MIB)], None, [(0, 2 * MIB), (3 * MIB, 5 * MIB), (6 * MIB, 8 * MIB)]),
        ([(0, 3 * MIB), (6 * MIB, 8 * MIB)], None, [(3 * MIB, 6 * MIB)]),
        ([(100, 200)], (50, 150), [(50, 100)]),
        ([(100, 200)], (150, 250), [(200, 250)]),
        ([(100, 200), (300, 400)], (150, 350), [(200, 300)]),
        # Less than 1 MiB apart: one request, and what lies between moves again.
        ([(MIB, 2 * MIB - 1)], (0, 3 * MIB), [(0, 3 * MIB)]),
        ([(MIB, 2 * MIB)], (0, 3 * MIB), [(0, MIB), (2 * MIB, 3 * MIB)]),
        ([(MIB, 2 * MIB), (3 * MIB, 3 * MIB + 7)], (0, 4 * MIB), [(0, MIB), (2 * MIB, 4 * MIB)]),
        ([(4 * MIB, 5 * MIB)], (0, 3 * MIB), [(0, 3 * MIB)]),
    ],
)
def test_each_gap_is_a_request_of_its_own_and_nothing_that_is_here_moves(
    remote: Remotes, held: list[Span], wanted: Span | None, asked: list[Span]
) -> None:
    r = remote(8 * MIB)
    r.hold(*held)
    r.check(wanted)
    assert r.asked == asked
    assert r.moved == sum(end - start for start, end in asked)
    r.settle()
    r.check(wanted)
    assert r.asked == asked, "the second read needed nothing"


def test_every_gap_is_asked_for_under_the_stored_etag(remote: Remotes) -> None:
    r = remote(8 * MIB)
    etag = (r.get((2 * MIB, 4 * MIB)).get(b"etag") or b"").decode()
    r.hold((6 * MIB, 7 * MIB))
    assert r.check().get(b"x-cache") == b"PARTIAL"
    assert r.conditions == [{"if-match": etag}] * 3


def test_more_gaps_than_are_asked_for_at_once(remote: Remotes) -> None:
    """Twelve gaps; the client leaves in the first one, and what is far ahead of it has not been asked for."""
    r = remote(24 * MIB)
    r.hold(*((at * MIB, (at + 1) * MIB) for at in range(1, 24, 2)))
    r.control.fault("stall", after=64 * KIB, seconds=3600, key=KEY, range="bytes=0-1048575")
    four = spans(*((at * MIB, (at + 1) * MIB) for at in range(0, 8, 2)))
    ended = r.gate.proxy.metric("fastcache_requests_total")
    with RawConnection(r.gate.endpoint) as connection:
        connection.send(r.request)
        head = connection.read_head()
        assert connection.read_exactly(64 * KIB, head) == r.content((0, 64 * KIB))
        wait_until(lambda: len(r.asked) >= 4, 20, "four are asked for")
        assert r.asked == four
        connection.reset()
    wait_until(lambda: r.gate.proxy.metric("fastcache_requests_total") > ended, 20, "the client has left")
    assert r.asked == four
    r.control.drop_connections()
    r.settle()
    r.check()
    assert r.moved < 13 * MIB


def test_readers_of_the_same_gaps_share_each_of_them(remote: Remotes) -> None:
    r = remote(10 * MIB)
    r.hold((MIB, 2 * MIB), (4 * MIB, 6 * MIB), (8 * MIB, 9 * MIB))
    r.control.settings(latency=0.1, bandwidth_connection=8 * MIB)
    with ThreadPoolExecutor(20) as pool:
        for future in [pool.submit(r.check) for _ in range(20)]:
            future.result()
    r.control.settings(latency=0.0, bandwidth_connection=0)
    assert r.asked == spans((0, MIB), (2 * MIB, 4 * MIB), (6 * MIB, 8 * MIB), (9 * MIB, 10 * MIB))


def test_readers_of_ranges_that_overlap_share_what_is_on_its_way(remote: Remotes) -> None:
    r = remote(10 * MIB)
    r.hold((0, 10))
    r.control.settings(bandwidth_connection=MIB // 4)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(r.check, (0, 6 * MIB))
        wait_until(lambda: len(r.asked) == 1, 20, "the first one's are on their way")
        second = pool.submit(r.check, (4 * MIB, 10 * MIB))
        wait_until(lambda: len(r.asked) == 2, 20, "and what the second one lacks of them")
        r.control.settings(bandwidth_connection=0)
        first.result()
        second.result()
    assert r.asked == spans((10, 6 * MIB), (6 * MIB, 10 * MIB))


def test_a_gap_of_which_others_have_brought_some_meanwhile_is_asked_for_without_it(remote: Remotes) -> None:
    """Five gaps, and the first one keeps the last from being asked for."""
    r = remote(20 * MIB)
    r.hold(*((at * MIB, (at + 1) * MIB) for at in range(1, 8, 2)))
    r.control.fault("stall", after=64 * KIB, seconds=3600, key=KEY, range="bytes=0-1048575")
    with RawConnection(r.gate.endpoint) as connection:
        connection.send(r.request)
        head = connection.read_head()
        assert connection.read_exactly(64 * KIB, head) == r.content((0, 64 * KIB))
        r.check((8 * MIB, 12 * MIB))
        r.control.drop_connections()
        assert connection.read_exactly(r.size - 64 * KIB, head) == r.content((64 * KIB, r.size))
    assert r.asked[-2:] == spans((8 * MIB, 12 * MIB), (12 * MIB, 20 * MIB))


# ---- faults ----

ISLANDS = ((2 * MIB, 4 * MIB), (6 * MIB, 8 * MIB))
"""Of 10 MiB: three gaps, of which the first decides and the third is on its way meanwhile."""
LAST = "bytes=8388608-10485759"
FIRST = "bytes=0-2097151"


def test_an_object_overwritten_meanwhile_is_read_anew_as_a_whole(remote: Remotes) -> None:
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.flip(r.bucket, KEY)
    r.check(generation=2)
    assert r.moved == 10 * MIB, "nothing of the old one is used, and the new one moves once"
    assert r.asked[0] is None
    r.settle()
    r.check((2 * MIB, 4 * MIB), generation=2)
    assert r.moved == 10 * MIB


def test_nothing_of_two_generations_is_mixed_where_the_origin_ignores_if_match(remote: Remotes) -> None:
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.flip(r.bucket, KEY)
    r.control.fault("ignore-conditions", count=-1, key=KEY)
    r.check(generation=2)
    r.settle()
    r.check((MIB, 9 * MIB), generation=2)


@pytest.mark.parametrize("status", [412, 404])
def test_a_later_gap_that_is_gone_ends_the_connection(remote: Remotes, status: int) -> None:
    """The head has promised the old generation, so that no byte of another one may follow it."""
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.fault("status", status=status, key=KEY, range=LAST)
    with pytest.raises(IncompleteResponseError) as cut:
        r.get()
    assert cut.value.reset or len(cut.value.body) <= 8 * MIB
    assert cut.value.body == r.content((0, len(cut.value.body)))
    assert len(r.asked) == 3, "there was nothing else to ask for"
    r.check()


@pytest.mark.parametrize("status", [500, 503, 403])
def test_a_later_gap_that_fails_is_asked_for_once_more(remote: Remotes, status: int) -> None:
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.fault("status", status=status, code="Whatever", key=KEY, range=LAST)
    r.check()
    assert r.asked == spans((0, 2 * MIB), (4 * MIB, 6 * MIB), (8 * MIB, 10 * MIB), (8 * MIB, 10 * MIB))
    assert r.moved == 6 * MIB


def test_a_first_gap_that_is_cut_before_its_first_byte_and_the_object_changed(remote: Remotes) -> None:
    """Nothing of an answer has been sent: it is the new generation's."""
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.fault("stall", after=0, seconds=3600, key=KEY, range=FIRST)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(r.check, generation=2)
        wait_until(lambda: len(r.asked) == 3, 20, "all gaps are asked for")
        r.control.flip(r.bucket, KEY)
        r.control.drop_connections()
        reading.result()


@pytest.mark.parametrize("status", [500, 503, 404])
def test_what_the_origin_says_of_the_first_gap_is_the_answer(remote: Remotes, status: int) -> None:
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.fault("status", status=status, key=KEY, range=FIRST)
    assert r.get().status == status
    assert r.moved <= 4 * MIB, "the object was asked for as a whole"
    r.settle()
    r.check()


def test_a_first_gap_refused_for_what_was_added_is_asked_for_as_the_client_did(remote: Remotes) -> None:
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.fault("status", status=501, key=KEY, range=FIRST)
    r.check()
    assert r.asked[0] is None


@pytest.mark.parametrize("kind", ["cut-body", "reset"])
@pytest.mark.parametrize("gap", [FIRST, "bytes=4194304-6291455", LAST], ids=["first", "second", "last"])
def test_a_gap_that_is_cut_in_the_middle_is_completed(remote: Remotes, kind: str, gap: str) -> None:
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.fault(kind, after=MIB, key=KEY, range=gap)
    r.check()
    lost = MIB if kind == "reset" else 0  # what had not been read when the reset came
    assert r.moved <= 6 * MIB + lost, "more than the rest of that gap was asked for"
    r.settle()
    r.check()


def test_a_gap_that_stalls_holds_nothing_else_and_others_of_its_readers_wait_for_it(remote: Remotes) -> None:
    """Bytes before it flow; a read of other bytes of the same object is not held."""
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.fault("stall", after=0, seconds=3600, key=KEY, range=LAST)
    with RawConnection(r.gate.endpoint) as connection:
        connection.send(r.request)
        head = connection.read_head()
        assert connection.read_exactly(8 * MIB, head) == r.content((0, 8 * MIB))
        r.check((0, 8 * MIB))
        r.control.drop_connections()
        assert connection.read_exactly(2 * MIB, head) == r.content((8 * MIB, 10 * MIB))


def test_a_write_in_between_leaves_an_answer_whole_and_nothing_old_behind(remote: Remotes) -> None:
    """The fence is raised while gaps are on their way: their bytes are this client's, and nobody's afterwards."""
    r = remote(10 * MIB)
    r.hold(*ISLANDS)
    r.control.settings(bandwidth_connection=2 * MIB)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(r.get)
        wait_until(lambda: len(r.asked) == 3, 20, "all gaps are asked for")
        assert r.gate.raw("PUT", r.target, body=b"short").status == 200
        with contextlib.suppress(IncompleteResponseError):
            answer = reading.result()
            assert answer.body == r.content()
    r.control.settings(bandwidth_connection=0)
    for _ in range(2):
        assert r.get().body == b"short"
        assert r.get((1, 4)).body == b"hor"


def test_no_answer_mixes_two_generations(remote: Remotes) -> None:
    """A writer behind our back, readers of mixed ranges, and islands of every generation."""
    r = remote(6 * MIB)
    etags = {pattern_etag(KEY.encode(), number, r.size): number for number in range(1, 2000)}
    began, over = time.monotonic(), threading.Event()
    answers: list[bool] = []
    cut: list[IncompleteResponseError] = []

    def read(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            start = chance.randrange(0, r.size - 1)
            span = None if chance.random() < 0.3 else (start, min(r.size, start + chance.randrange(1, 2 * MIB)))
            try:
                answer = r.get(span, **{"Cache-Control": "no-cache"} if chance.random() < 0.2 else {})
            except IncompleteResponseError as error:
                cut.append(error)
                continue
            generation = etags[(answer.get(b"etag") or b"").decode().strip('"').encode()]
            answers.append(answer.body == r.content(span, generation))

    with ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(read, seed) for seed in range(6)]
        try:
            while time.monotonic() < began + 4 or (len(answers) <= 20 and time.monotonic() < began + 60):
                r.control.flip(r.bucket, KEY)
                flipped, seen = time.monotonic(), len(answers) + len(cut)
                # As many are answered between two changes as on a machine that is not slow: they are what is cut.
                while len(answers) + len(cut) < seen + 12 and time.monotonic() < flipped + 1:
                    time.sleep(0.1)
        finally:
            over.set()
        for one in reading:
            one.result()
    assert len(answers) > 20
    assert all(answers)
    assert len(cut) <= len(answers) // 4


stretches = st.tuples(st.integers(0, 95), st.integers(1, 32)).map(
    lambda stretch: (stretch[0] * 64 * KIB, min(6 * MIB, (stretch[0] + stretch[1]) * 64 * KIB))
)


@pytest.mark.parametrize(("own_gate", "block"), [("verify-sign", 0), ("verify-sign-widen", MIB)], indirect=["own_gate"])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(held=st.lists(stretches, max_size=5), wanted=stretches, off=st.integers(0, 9))
@example(held=[(49 * 64 * KIB, 65 * 64 * KIB)], wanted=(48 * 64 * KIB, 49 * 64 * KIB), off=0)
def test_whatever_is_here_the_origin_is_asked_for_what_the_rule_says(
    remote: Remotes, block: int, held: list[Span], wanted: Span, off: int
) -> None:
    r = remote(6 * MIB)
    wanted = (wanted[0] + off, wanted[1])
    here: list[Interval] = []
    for span in held:
        r.hold(span)
        here += expected(here, span, r.size, block)
    r.hold()
    r.check(wanted)
    missing = expected(here, wanted, r.size, block)
    assert r.asked == [tuple(span) for span in missing]
    assert r.moved == sum(span.length for span in missing)


def expected(here: list[Interval], wanted: Span, size: int, block: int) -> list[Interval]:
    """What has to be asked for when ``here`` is stored."""
    wide = wanted
    if block and wanted[1] - wanted[0] < block:
        wide = (wanted[0] // block * block, min(size, -(-wanted[1] // block) * block))
    gaps: list[Interval] = []
    position = wide[0]
    for start, end in sorted(here):
        if start >= wide[1]:
            break
        if start > position:
            gaps.append(Interval(position, start))
        position = max(position, end)
    if position < wide[1]:
        gaps.append(Interval(position, wide[1]))
    needed = [gap for gap in gaps if gap.start < wanted[1] and wanted[0] < gap.end]
    joined: list[Interval] = []
    for gap in needed:
        if joined and gap.start - joined[-1].end < MIB:
            joined[-1] = Interval(joined[-1].start, gap.end)
        else:
            joined.append(gap)
    return joined
