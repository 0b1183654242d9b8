"""The memory that the processes of one supervisor share: what one does there, the others see."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core import shared
from fastcache._core.counters import Counters
from fastcache._core.names import NAMES_BYTES, Names
from fastcache._core.shared import Cell, SharedMemory
from fastcache.model import ObjectId, OriginId

ONE = ObjectId(OriginId("http", "origin", 80), b"bucket", b"one")
DIGEST = ONE.digest


@pytest.fixture
def fd() -> Iterator[int]:
    fd = shared.create(3, 1000)
    yield fd
    os.close(fd)


def in_another_process(work: Callable[[], bool]) -> None:
    child = os.fork()
    if child == 0:
        ok = False
        try:
            ok = work()
        finally:
            os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_another_process_sees_fences_changes_words_and_counters(fd: int) -> None:
    mine = SharedMemory(fd)
    fences = mine.fences()
    token = fences.token(ONE)
    counters = Counters(100, mine.numbers(1))

    def there() -> bool:
        theirs = SharedMemory(fd)
        ok = theirs.fences().is_current(ONE, token)
        theirs.fences().raise_object(ONE)
        ok = ok and theirs.changed(DIGEST) == 0
        theirs.set(2, Cell.BYTES, 7)
        theirs.add(1, Cell.HANDED)
        Counters(100, theirs.numbers(1)).add(99, 5)
        return ok

    in_another_process(there)
    assert not fences.is_current(ONE, token)
    assert mine.changes(DIGEST) == 1
    assert [mine.get(place, Cell.BYTES) for place in range(3)] == [0, 0, 7]
    assert (mine.total(Cell.BYTES), mine.get(1, Cell.HANDED)) == (7, 1)
    assert counters.get(99) == 5


def test_what_two_places_write_does_not_overlap(fd: int) -> None:
    memory = SharedMemory(fd)
    for place in range(3):
        memory.numbers(place)[:] = bytes([place + 1]) * len(memory.numbers(place))
        for cell in Cell:
            memory.set(place, cell, 100 * place + cell)
    assert [set(memory.numbers(place)) for place in range(3)] == [{1}, {2}, {3}]
    assert [[memory.get(place, cell) - cell for cell in Cell] for place in range(3)] == [
        [100 * place] * len(Cell) for place in range(3)
    ]
    assert memory.fences().token(ONE)[1:] == (0, 0)
    assert memory.changes(DIGEST) == 0
    assert not any(memory.names())


def test_clearing_a_place_leaves_its_counters(fd: int) -> None:
    memory = SharedMemory(fd)
    Counters(2, memory.numbers(1)).add(1, 3)
    for place in (0, 1):
        memory.set(place, Cell.CONNECTIONS, 4)
    memory.clear(1)
    assert [memory.get(place, Cell.CONNECTIONS) for place in range(3)] == [4, 0, 0]
    assert Counters(2, memory.numbers(1)).get(1) == 3


def test_places_and_words_that_are_not_there_are_refused(fd: int) -> None:
    memory = SharedMemory(fd)
    for place, cell in ((3, 0), (-1, 0), (0, -1), (0, 32)):
        with pytest.raises(IndexError):
            memory.get(place, cell)
    with pytest.raises(IndexError):
        memory.numbers(3)
    with pytest.raises(ValueError, match="32 bytes"):
        memory.changes(b"short")


def test_a_file_that_holds_something_else_is_refused(fd: int) -> None:
    os.pwrite(fd, b"x" * 8, 0)
    with pytest.raises(ValueError, match="does not hold"):
        SharedMemory(fd)
    os.ftruncate(fd, 10)
    with pytest.raises(ValueError, match="too short"):
        SharedMemory(fd)


def test_the_memory_outlives_its_descriptor_while_a_view_is_held() -> None:
    fd = shared.create(1, 8)
    numbers = SharedMemory(fd).numbers(0)
    os.close(fd)
    numbers[0] = 9
    assert numbers[0] == 9


class TestNames:
    @given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=120)), max_size=60))
    def test_a_name_has_one_slot_in_all_processes(self, asked: list[tuple[bool, bytes]]) -> None:
        memory = bytearray(NAMES_BYTES)
        both = {True: Names(memory), False: Names(memory)}
        slots = {name: both[who].slot_of(name) for who, name in asked}
        assert {name: both[not who].slot_of(name) for who, name in asked} == slots
        assert sorted(slot for slot, _ in both[True].all()) == list(range(len(slots)))
        assert {name: slot for slot, name in both[True].all()} == slots

    def test_one_that_died_before_its_name_was_there_costs_a_slot_and_nothing_else(self) -> None:
        memory = bytearray(NAMES_BYTES)
        mine, theirs = Names(memory), Names(memory)
        assert mine.slot_of(b"before") == 0
        memory[0:8] = (2).to_bytes(8, "little")  # slot 1 was claimed, and nothing written
        assert mine.slot_of(b"after") == 2
        assert [theirs.slot_of(name) for name in (b"after", b"before", b"last")] == [2, 0, 3]
        assert [slot for slot, _ in theirs.all()] == [0, 2, 3]

    def test_when_all_are_given_known_ones_are_still_found(self) -> None:
        memory = bytearray(NAMES_BYTES)
        names = Names(memory)
        given = [names.slot_of(b"%d" % number) for number in range(4096)]
        assert given == list(range(4096))
        assert names.slot_of(b"one more") is None
        assert Names(memory).slot_of(b"4095") == 4095

    def test_what_is_no_name_gets_no_slot(self) -> None:
        names = Names(bytearray(NAMES_BYTES))
        assert names.slot_of(b"") is None
        assert names.slot_of(b"x" * 121) is None
        with pytest.raises(ValueError, match="aligned bytes"):
            Names(bytearray(100))
