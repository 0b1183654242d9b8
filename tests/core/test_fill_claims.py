"""The claims of fills in shared memory: one process tells, the others see, and the dead leave nothing wedged."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from tests.harness.stepping import claims_in, interrupted, writes

from fastcache._core.fill_claims import LARGEST_HEAD, UNKNOWN_END, Claim, FillClaims, Phase
from fastcache._core.shared import Cell, SharedMemory, create
from fastcache.model import FenceToken

PLACES = 4
DIGEST = bytes(range(32))
OTHER = bytes(range(1, 33))
ALIKE = DIGEST[:8] + OTHER[8:]
"""Begins as the first one does."""
TOKEN = FenceToken(7, 8, 9)
ROOM = 1024


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    fd = create(PLACES, 4096)
    try:
        yield SharedMemory(fd)
    finally:
        os.close(fd)


@pytest.fixture
def workers(memory: SharedMemory) -> list[FillClaims]:
    """Three workers that live, by their numbers 1 to 3."""
    for place in range(3):
        memory.set(place, Cell.INCARNATION, place + 1)
        memory.set(place, Cell.LISTENING, place + 1)
    return [FillClaims(memory, place + 1) for place in range(3)]


def die(memory: SharedMemory, number: int) -> None:
    memory.clear(number - 1)


def test_a_request_is_seen_by_others_until_it_has_landed(workers: list[FillClaims]) -> None:
    mine, theirs, _ = workers
    claim = mine.asking(DIGEST, 5, UNKNOWN_END)
    assert claim is not None
    assert mine.of(DIGEST) == [], "one's own are known already"
    assert theirs.of(OTHER) == []
    (seen,) = theirs.of(DIGEST)
    assert (seen.start, seen.end, seen.owner, seen.ticket) == (5, UNKNOWN_END, 1, claim.ticket)
    assert (seen.phase(), seen.sent(), seen.head) == (Phase.ASKING, False, b"")
    claim.note_sent()
    assert seen.sent()
    claim.end()
    assert seen.phase() is Phase.GONE
    assert theirs.of(DIGEST) == []


def test_a_fill_tells_its_head_its_proof_and_how_far_it_is(workers: list[FillClaims]) -> None:
    mine, theirs, _ = workers
    claim = mine.filling(DIGEST, 100, 900, b"encoded head", TOKEN, 42, 123.25)
    assert claim is not None
    (seen,) = theirs.of(DIGEST)
    assert (seen.phase(), seen.start, seen.end) == (Phase.FILLING, 100, 900)
    assert (seen.head, seen.token, seen.request, seen.proved_at) == (b"encoded head", TOKEN, 42, 123.25)
    assert (seen.watermark(), seen.part()) == (100, None)
    claim.note_part(3, 100, 4096)
    claim.note_written(350)
    assert (seen.watermark(), seen.part()) == (350, (3, 100, 4096))
    claim.note_part(0, 0, 0)
    assert seen.part() is None
    claim.end()
    assert (seen.phase(), seen.watermark()) == (Phase.ENDED, 350)
    assert [found.head for found in theirs.of(DIGEST)] == [b"encoded head"], "the proof can be found for a while"


def test_readers_elsewhere_tell_how_far_the_fastest_is(workers: list[FillClaims]) -> None:
    claim = workers[0].filling(DIGEST, 0, 900, b"", TOKEN, 1, 0.0)
    assert claim is not None
    assert (claim.reached(), claim.looked_at()) == (0, 0)
    for worker, reached, now in ((1, 300, 10), (2, 200, 11)):
        (seen,) = workers[worker].of(DIGEST)
        seen.look(reached, now)
    assert (claim.reached(), claim.looked_at()) == (300, 11)


def test_who_waits_for_a_request_is_a_reader_of_its_fill_from_the_beginning(workers: list[FillClaims]) -> None:
    mine, theirs, _ = workers
    asked, other = mine.asking(DIGEST, 0, UNKNOWN_END), mine.asking(OTHER, 0, UNKNOWN_END)
    theirs.of(DIGEST)[0].look(0, 77)
    theirs.of(OTHER)[0].look(0, 99)
    claim = mine.filling(DIGEST, 0, 900, b"", TOKEN, 1, 0.0)
    assert None not in (asked, other)
    assert claim is not None
    assert (claim.reached(), claim.looked_at()) == (0, 77)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, LARGEST_HEAD])
def test_heads_of_every_length_that_has_room(workers: list[FillClaims], length: int) -> None:
    head = random.Random(length).randbytes(length)
    claim = workers[0].filling(DIGEST, 0, 1, head, TOKEN, 1, 0.0)
    assert claim is not None
    assert [seen.head for seen in workers[1].of(DIGEST)] == [head]


def test_a_head_without_room_is_not_told(workers: list[FillClaims]) -> None:
    assert workers[0].filling(DIGEST, 0, 1, b"x" * (LARGEST_HEAD + 1), TOKEN, 1, 0.0) is None
    assert workers[1].of(DIGEST) == []


def test_a_full_table_refuses_and_has_room_again(workers: list[FillClaims]) -> None:
    claims = [workers[number % 2].asking(DIGEST, number, number + 1) for number in range(ROOM)]
    assert all(claims)
    assert workers[2].asking(DIGEST, 0, 1) is None
    assert len(workers[2].of(DIGEST)) == ROOM
    claims.pop()
    assert workers[2].asking(DIGEST, 0, 1) is not None


def test_the_oldest_comes_first_and_tickets_tell_who_was_there_before(workers: list[FillClaims]) -> None:
    before = [workers[2].asking(OTHER, 0, 1) for _ in range(ROOM - 2)]  # the next two are at the end of the table
    assert all(before)
    del before
    claims = [workers[number].asking(DIGEST, number, 10) for number in (1, 0, 1, 0)]
    first = ROOM - 1
    assert [claim.ticket for claim in claims if claim is not None] == [first, first + 1, first + 2, first + 3]
    assert [seen.ticket for seen in workers[2].of(DIGEST)] == [first, first + 1, first + 2, first + 3]


def test_what_a_dead_process_left_is_taken_over_by_one(workers: list[FillClaims], memory: SharedMemory) -> None:
    claim = workers[0].filling(DIGEST, 0, 900, b"head", TOKEN, 1, 0.0)
    assert claim is not None
    claim.note_part(5, 0, 4096)
    claim.note_written(500)
    first, second = (workers[number].of(DIGEST)[0] for number in (1, 2))
    assert not first.take_over(), "it lives"
    die(memory, 1)
    assert first.phase() is Phase.DEAD
    assert (first.watermark(), first.part()) == (500, (5, 0, 4096))
    assert [first.take_over(), second.take_over()] == [True, False]
    assert second.phase() is Phase.GONE
    claim.note_written(700)
    claim.end()  # as if the process had been slow, and not dead
    assert [seen.phase() for seen in workers[2].of(DIGEST)] == [Phase.ENDED]


def test_who_was_taken_for_dead_does_nothing_to_the_claims_that_others_have_now(
    workers: list[FillClaims], memory: SharedMemory
) -> None:
    lost = [workers[0].filling(DIGEST, 0, 900, b"lost", TOKEN, 1, 0.0) for _ in range(ROOM)]
    before = workers[2].of(DIGEST)
    die(memory, 1)
    claims = [workers[1].filling(OTHER, 0, 900, b"new", TOKEN, 1, 0.0) for _ in range(ROOM)]
    for claim in claims:
        assert claim is not None
        claim.note_part(6, 0, 8192)
        claim.note_written(100)
    assert {(one.phase(), one.watermark(), one.part()) for one in before} == {(Phase.GONE, 0, None)}
    for claim in lost:
        assert claim is not None
        claim.end()
        claim.note_sent()
        claim.note_written(500)
        claim.note_part(5, 0, 4096)
    seen = workers[2].of(OTHER)
    assert {(one.phase(), one.sent(), one.watermark(), one.part()) for one in seen} == {
        (Phase.FILLING, False, 100, (6, 0, 8192))
    }
    assert len(seen) == ROOM
    assert workers[2].asking(DIGEST, 0, 1) is None


def test_a_claim_that_is_used_again_says_nothing_of_what_it_was(workers: list[FillClaims]) -> None:
    mine, theirs, _ = workers
    for _ in range(ROOM):
        claim = mine.filling(DIGEST, 7, 900, b"head", TOKEN, 42, 1.5)
        assert claim is not None
        claim.note_sent()
        claim.note_part(3, 100, 4096)
        claim.note_written(350)
        claim.end()
    before = theirs.of(DIGEST)
    for seen in before:
        seen.look(300, 77)
    claims = [mine.asking(DIGEST, 5, 10) for _ in range(ROOM)]
    assert {one.phase() for one in before} == {Phase.GONE}
    assert {(one.watermark(), one.part()) for one in before} == {(7, None)}
    asked = theirs.of(DIGEST)
    told = {(one.phase(), one.start, one.end, one.sent(), one.watermark(), one.part(), one.head) for one in asked}
    assert told == {(Phase.ASKING, 5, 10, False, 5, None, b"")}
    assert {(claim.reached(), claim.looked_at()) for claim in claims if claim is not None} == {(0, 0)}
    before[0].look(900, 99)
    assert {(claim.reached(), claim.looked_at()) for claim in claims if claim is not None} == {(0, 0)}
    for claim in claims:
        assert claim is not None
        claim.end()
    again = [mine.asking(DIGEST, 5, 10) for _ in range(ROOM)]
    assert all(again)
    assert {one.phase() for one in asked} == {Phase.GONE}, "it looks the same, and is another request"


def test_who_waits_for_one_object_or_another_process_is_no_reader_of_a_fill(workers: list[FillClaims]) -> None:
    mine, theirs, third = workers
    held = [
        mine.asking(OTHER, 0, UNKNOWN_END),
        third.asking(DIGEST, 0, UNKNOWN_END),
        mine.asking(ALIKE, 0, UNKNOWN_END),
    ]
    for digest in (OTHER, DIGEST, ALIKE):
        for seen in theirs.of(digest):
            seen.look(0, 99)
    claim = mine.filling(DIGEST, 0, 900, b"", TOKEN, 1, 0.0)
    assert all(held)
    assert claim is not None
    assert claim.looked_at() == 0


def test_objects_whose_digests_begin_alike_are_told_apart(workers: list[FillClaims]) -> None:
    held = workers[0].asking(ALIKE, 0, 1)
    assert held is not None
    assert workers[1].of(DIGEST) == []
    assert len(workers[1].of(ALIKE)) == 1


def test_claims_of_the_dead_make_room(workers: list[FillClaims], memory: SharedMemory) -> None:
    claims = [workers[0].asking(DIGEST, 0, 1) for _ in range(ROOM)]
    assert workers[1].asking(OTHER, 0, 1) is None
    die(memory, 1)
    assert workers[1].asking(OTHER, 0, 1) is not None
    del claims


def test_nobody_has_to_be_told_when_nobody_listens(workers: list[FillClaims], memory: SharedMemory) -> None:
    assert workers[0].has_listeners()
    for place in (1, 2):
        memory.set(place, Cell.LISTENING, 0)
    assert not workers[0].has_listeners()
    assert workers[1].has_listeners()


@contextlib.contextmanager
def beside(work: Callable[[], bytes]) -> Iterator[list[bytes]]:
    """``work`` in a process beside ours; what it returns is in the list afterwards."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, work())
        finally:
            os._exit(0)
    os.close(writing)
    result: list[bytes] = []
    try:
        yield result
        with open(reading, "rb", closefd=False) as pipe:
            result.append(pipe.read())
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        os.waitpid(child, 0)


def test_two_that_ask_at_once_are_never_both_first(workers: list[FillClaims], memory: SharedMemory) -> None:
    """Whoever tells first and looks afterwards sees the other, or is seen: the later ticket gives way."""
    rounds = 500

    def meet(turn: int) -> None:
        memory.add(3, Cell.HANDED)
        while memory.get(3, Cell.HANDED) < 2 * turn:
            os.sched_yield()

    def work(number: int) -> bytes:
        firsts = bytearray()
        for turn in range(rounds):
            meet(2 * turn + 1)
            claim = workers[number].asking(DIGEST, 0, 10)
            assert claim is not None
            firsts.append(all(seen.ticket > claim.ticket for seen in workers[number].of(DIGEST)))
            meet(2 * turn + 2)
            claim.end()
        return bytes(firsts)

    with beside(lambda: work(1)) as theirs:
        mine = work(0)
    assert [sum(pair) for pair in zip(mine, theirs[0], strict=True)] == [1] * rounds


def test_a_claim_that_changes_hands_is_never_read_half(workers: list[FillClaims], memory: SharedMemory) -> None:
    """One process makes claims of two objects, each with all of its words alike; another sees one or the other."""
    stop = 1

    def make() -> bytes:
        number = 0
        while memory.get(3, Cell.HANDED) != stop:
            number += 1
            digest, value = ((DIGEST, 11), (OTHER, 200))[number % 2]
            token = FenceToken(value, value, value)
            claim = workers[0].filling(digest, value, value, bytes([value]) * value, token, value, 0.0)
            assert claim is not None
            claim.end()
            memory.set(3, Cell.TAKEN, number)
        return b""

    told = set()
    looks = 0
    with beside(make):
        while looks < 150 or memory.get(3, Cell.TAKEN) <= ROOM:
            looks += 1
            for digest in (DIGEST, OTHER):
                told |= {
                    (digest, seen.start, seen.end, seen.token, seen.request, seen.head)
                    for seen in workers[1].of(digest)
                }
        memory.set(3, Cell.HANDED, stop)
    assert told == {
        (digest, value, value, FenceToken(value, value, value), value, bytes([value]) * value)
        for digest, value in ((DIGEST, 11), (OTHER, 200))
    }


def test_a_claim_that_changes_hands_while_it_is_read_is_not_seen(
    workers: list[FillClaims], require_tool: Callable[[str], None]
) -> None:
    """Wherever the reader is: it stands still in its middle, each time some instructions later."""
    require_tool("ptrace")
    values = itertools.cycle((11, 200))
    others = [workers[1].asking(OTHER, 0, 1) for _ in range(ROOM)]
    assert others.pop(0) is not None
    held: list[Claim] = []

    def change() -> None:
        """The only one that is free becomes another one, all of whose words are alike."""
        for claim in held:
            claim.end()
        value = next(values)
        token = FenceToken(value, value, value)
        claim = workers[0].filling(DIGEST, value, value, bytes([value]) * 50, token, value, value)
        assert claim is not None
        held[:] = [claim]

    def look() -> None:
        for seen in workers[2].of(DIGEST):
            words = {seen.start, seen.end, *seen.token, seen.request, int(seen.proved_at), *seen.head}
            assert len(words) == 1, words

    change()
    interrupted(look, change, every=37, times=50)


def test_the_place_of_a_file_in_progress_is_never_read_half(workers: list[FillClaims], memory: SharedMemory) -> None:
    """One process goes from file to file, each with all of its words alike; another sees one of them, or none."""
    claim = workers[0].filling(DIGEST, 0, 900, b"head", TOKEN, 1, 0.0)
    assert claim is not None
    stop = 1

    def go_on() -> bytes:
        number = 0
        while memory.get(3, Cell.HANDED) != stop:
            number += 1
            claim.note_part(number, number, number)
        return b""

    (seen,) = workers[1].of(DIGEST)
    with beside(go_on):
        told = set()
        while len(told) < 100:
            told |= {part for _ in range(1000) if (part := seen.part()) is not None}
        memory.set(3, Cell.HANDED, stop)
    assert all(number == start == offset for number, start, offset in told)


def test_the_place_of_a_file_in_progress_is_none_while_it_changes(
    workers: list[FillClaims], memory: SharedMemory, require_tool: Callable[[str], None]
) -> None:
    require_tool("ptrace")
    claim = workers[0].filling(DIGEST, 0, 900, b"head", TOKEN, 1, 0.0)
    assert claim is not None
    (seen,) = workers[1].of(DIGEST)
    places = [(number, number, number) for number in (1, 2)]
    told = [seen.part() for _ in writes(claims_in(memory), [lambda at=at: claim.note_part(*at) for at in places])]
    assert set(told) == {None, *places}
    assert told[-1] == places[-1]


def test_a_process_killed_at_any_moment_wedges_nothing(workers: list[FillClaims], memory: SharedMemory) -> None:
    """Whatever it was writing, its claims can be taken by others as soon as it is declared dead."""
    for turn in range(20):
        memory.set(0, Cell.INCARNATION, 100 + turn)
        child = os.fork()
        if child == 0:
            theirs = FillClaims(memory, 100 + turn)
            while True:
                claim = theirs.filling(DIGEST, 0, 10, b"head", TOKEN, 1, 0.0)
                if claim is not None:
                    claim.note_part(1, 0, 4096)
                    claim.note_written(5)
                    claim.end()
        time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        die(memory, 1)
        for seen in workers[1].of(DIGEST):
            assert (seen.start, seen.end, seen.head) == (0, 10, b"head")
            assert seen.phase() in (Phase.ENDED, Phase.DEAD, Phase.GONE)
    claims = [workers[1].asking(OTHER, 0, 1) for _ in range(ROOM)]
    assert all(claims), "none of the claims is lost"


@pytest.mark.parametrize("incarnation", [0, 1 << 32])
def test_a_number_that_no_process_has_is_refused(memory: SharedMemory, incarnation: int) -> None:
    with pytest.raises(ValueError, match="not the number of a process"):
        FillClaims(memory, incarnation)
