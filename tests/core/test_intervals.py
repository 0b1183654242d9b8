"""The index of stored intervals against a plain list of them: what it answers, what it keeps alive, what it takes."""

from __future__ import annotations

import gc
import random
import struct
import sys
import weakref
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from fastcache._core.intervals import Intervals
from fastcache.model import Interval

TOP = 2**63 - 1
EMPTY = sys.getsizeof(Intervals())


class Item:
    """Compared by identity, as extents are."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end

    def __repr__(self) -> str:
        return f"[{self.start}, {self.end})"


class PlainIntervals:
    """The same answers from a list that is searched from end to end."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    def add(self, new: Item) -> list[Item]:
        if any(one.start <= new.start and new.end <= one.end for one in self.items):
            return [new]
        within = [one for one in self.items if new.start <= one.start and one.end <= new.end]
        kept = [one for one in self.items if one not in within]
        self.items = sorted([*kept, new], key=lambda one: one.start)
        return within

    def farthest(self, offset: int) -> Item | None:
        return max((one for one in self.items if one.start <= offset < one.end), key=lambda one: one.end, default=None)

    def covered_until(self, offset: int) -> int:
        one = self.farthest(offset)
        return offset if one is None else one.end

    def next_start(self, offset: int, default: int) -> int:
        return min([default, *(one.start for one in self.items if one.start > offset)])

    def cover(self, interval: Interval) -> list[Item] | None:
        chosen = []
        offset = interval.start
        while offset < interval.end:
            one = self.farthest(offset)
            if one is None:
                return None
            chosen.append(one)
            offset = one.end
        return chosen

    def gaps(self, interval: Interval) -> list[Interval]:
        gaps = []
        offset = interval.start
        while offset < interval.end:
            end = self.covered_until(offset)
            if end == offset:
                end = self.next_start(offset, interval.end)
                gaps.append(Interval(offset, end))
            offset = end
        return gaps


def filled(items: Iterable[Item]) -> Intervals[Item]:
    subject: Intervals[Item] = Intervals()
    for item in items:
        assert subject.add(item.start, item.end, item) == []
    return subject


def row(count: int, step: int = 10, length: int = 12) -> list[Item]:
    """Items that overlap their neighbours a little."""
    return [Item(step * n, step * n + length) for n in range(count)]


class ComparedWithAList(RuleBasedStateMachine):
    """Few offsets, so that intervals meet in every way; runs of many, so that there is more than one chunk."""

    items = Bundle("items")
    WIDTH = 3000

    @initialize(base=st.sampled_from([0, 2**32 - 50, TOP - WIDTH]))
    def begin(self, base: int) -> None:
        self.base = base
        self.subject: Intervals[Item] = Intervals()
        self.plain = PlainIntervals()

    def _add(self, start: int, end: int) -> Item:
        item = Item(start, min(end, self.base + self.WIDTH))
        assert self.subject.add(item.start, item.end, item) == self.plain.add(item)
        return item

    @rule(target=items, start=st.integers(0, 99), length=st.integers(0, 30))
    def add(self, start: int, length: int) -> Item:
        return self._add(self.base + start, self.base + start + length)

    @rule(target=items, start=st.integers(0, WIDTH - 1), length=st.integers(0, WIDTH))
    def add_long(self, start: int, length: int) -> Item:
        return self._add(self.base + start, self.base + start + length)

    @rule(
        target=items,
        start=st.integers(0, 2000),
        count=st.integers(100, 300),
        step=st.integers(1, 5),
        length=st.integers(0, 7),
        order=st.sampled_from(["ascending", "descending", "shuffled"]),
    )
    def add_many(self, start: int, count: int, step: int, length: int, order: str) -> object:
        starts = [at for at in range(start, start + count * step, step) if at < self.WIDTH]
        if order == "descending":
            starts.reverse()
        elif order == "shuffled":
            random.Random(start).shuffle(starts)
        return multiple(*[self._add(self.base + at, self.base + at + length) for at in starts])

    @rule(item=consumes(items))
    def remove(self, item: Item) -> None:
        present = item in self.plain.items
        assert self.subject.remove(item.start, item) is present
        if present:
            self.plain.items.remove(item)

    @rule(share=st.integers(0, 9), seed=st.integers(0, 9))
    def remove_most(self, share: int, seed: int) -> None:
        dice = random.Random(seed)
        for item in [one for one in self.plain.items if dice.randrange(10) >= share]:
            assert self.subject.remove(item.start, item)
            self.plain.items.remove(item)

    @rule(start=st.integers(0, 99))
    def remove_what_is_not_here(self, start: int) -> None:
        assert not self.subject.remove(self.base + start, Item(0, 0))

    @rule()
    def clear(self) -> None:
        assert self.subject.clear() == self.plain.items
        assert sys.getsizeof(self.subject) == EMPTY
        self.plain.items = []

    @rule(first=st.integers(-2, WIDTH), second=st.integers(0, WIDTH))
    def ask(self, first: int, second: int) -> None:
        start, end = (self.base + offset for offset in (first, second))
        assert self.subject.covered_until(start) == self.plain.covered_until(start)
        assert self.subject.next_start(start, end) == self.plain.next_start(start, end)
        for asked in (Interval(start, end), Interval(end, start), Interval(start, min(start + 9, TOP))):
            assert self.subject.gaps(asked) == self.plain.gaps(asked)
            assert self.subject.cover(asked) == self.plain.cover(asked)

    @invariant()
    def is_the_same(self) -> None:
        assert list(self.subject) == self.plain.items
        assert len(self.subject) == len(self.plain.items)
        assert bool(self.subject) is bool(self.plain.items)


ComparedWithAList.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestComparedWithAList = ComparedWithAList.TestCase


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestComparedWithAListForLong(ComparedWithAList.TestCase):
    settings = settings(max_examples=1000, stateful_step_count=50, deadline=None)


# -- many


def covered_by(held: bytearray, interval: Interval) -> list[int] | None:
    """The numbers that cover ``interval`` when number n, if held, holds [10n, 10n + 12)."""
    chosen = []
    offset = interval.start
    while offset < interval.end:
        here = [n for n in (offset // 10, offset // 10 - 1) if n >= 0 and held[n] and 10 * n + 12 > offset]
        if not here:
            return None
        chosen.append(here[0])
        offset = 10 * here[0] + 12
    return chosen


def compare_covers(subject: Intervals[int], held: bytearray, dice: random.Random) -> None:
    found = 0
    for _ in range(3000):
        start = dice.randrange(10 * len(held) - 200)
        interval = Interval(start, start + dice.randrange(dice.choice((20, 200))))
        expected = covered_by(held, interval)
        assert subject.cover(interval) == expected
        assert (subject.gaps(interval) == []) is (expected is not None)
        found += expected is not None
    assert found


@pytest.mark.parametrize("count", [1_000_000, pytest.param(5_000_000, marks=[pytest.mark.slow])])
@pytest.mark.timeout(600)
def test_a_million_come_and_go_in_any_order(count: int) -> None:
    dice = random.Random(count)
    order = list(range(count))
    dice.shuffle(order)
    subject: Intervals[int] = Intervals()
    for n in order:
        subject.add(10 * n, 10 * n + 12, n)
    assert len(subject) == count
    held = bytearray(b"\1") * count
    compare_covers(subject, held, dice)
    assert sys.getsizeof(subject) < 45 * count
    dice.shuffle(order)
    for n in order[: count // 8]:
        assert subject.remove(10 * n, n)
        held[n] = 0
    compare_covers(subject, held, dice)
    for n in order[count // 8 :]:
        assert subject.remove(10 * n, n)
    assert len(subject) == 0
    assert sys.getsizeof(subject) == EMPTY


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 1000, 20_000])
def test_one_that_holds_all_others_supersedes_them(count: int) -> None:
    items = row(count)
    subject = filled(items)
    new = Item(0, 10 * count + 12)
    assert subject.add(new.start, new.end, new) == items
    assert list(subject) == [new]
    # What is left of a full chunk is not halved further until something is removed again.
    assert sys.getsizeof(subject) <= EMPTY + 3136
    assert subject.remove(0, new)
    assert sys.getsizeof(subject) == EMPTY


@pytest.mark.parametrize("keep", [2, 3, 5, 50, 1000])
def test_what_few_of_many_take_is_bounded(keep: int) -> None:
    items = row(50_000)
    subject = filled(items)
    assert sys.getsizeof(subject) - EMPTY < 26 * len(items)
    for item in items:
        if item.start % (10 * keep):
            assert subject.remove(item.start, item)
    assert list(subject) == items[::keep]
    assert sys.getsizeof(subject) - EMPTY <= 110 * len(subject) + 3136


def test_one_or_two_intervals_take_few_bytes() -> None:
    assert [sys.getsizeof(filled(row(count))) - EMPTY for count in range(5)] == [0, 56, 56, 104, 104]


def test_what_grew_and_shrinks_takes_as_little_as_what_never_grew() -> None:
    items = row(1000)
    subject = filled(items)
    for item in items[1:]:
        assert subject.remove(item.start, item)
    assert sys.getsizeof(subject) == sys.getsizeof(filled(items[:1]))


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 32, 33, 500])
def test_a_cover_of_any_number_of_pieces(count: int) -> None:
    items = row(count)
    subject = filled(items)
    assert subject.cover(Interval(0, 10 * count + 2)) == items
    assert subject.cover(Interval(0, 10 * count + 3)) is None
    assert subject.gaps(Interval(0, 10 * count + 3)) == [Interval(10 * count + 2, 10 * count + 3)]


def test_a_cover_takes_the_fewest() -> None:
    items = [Item(0, 10), Item(2, 14), Item(4, 16), Item(9, 20), Item(15, 30)]
    subject = filled(items)
    assert subject.cover(Interval(0, 30)) == [items[0], items[3], items[4]]
    assert subject.cover(Interval(5, 16)) == [items[2]]
    assert subject.cover(Interval(7, 7)) == []


def test_of_intervals_with_the_same_start_the_longest_stays() -> None:
    short, equal, long = Item(5, 8), Item(5, 8), Item(5, 9)
    subject = filled([short])
    assert subject.add(5, 8, equal) == [equal]
    assert subject.add(5, 9, long) == [short]
    assert subject.add(5, 8, short) == [short]
    assert list(subject) == [long]
    assert not subject.remove(5, short)


def test_look_ups_in_a_loop_count_what_is_held() -> None:
    subject = filled(row(10_000, step=20))
    offsets = [random.Random(1).randrange(200_020) for _ in range(5000)]
    expected = sum(offset % 20 < 12 and offset < 200_000 for offset in offsets)
    assert subject._lookups(struct.pack(f"{len(offsets)}q", *offsets)) == expected


# -- the largest offsets, and what is no interval


@pytest.mark.parametrize("many", [0, 1000])
def test_offsets_at_the_end_of_63_bits(many: int) -> None:
    last = Item(TOP - 1, TOP)
    subject = filled([*row(many), last])
    assert subject.covered_until(TOP - 1) == TOP
    assert subject.covered_until(TOP) == TOP
    assert subject.next_start(TOP - 2, TOP) == TOP - 1
    assert subject.next_start(TOP, TOP) == TOP
    assert subject.gaps(Interval(TOP - 3, TOP)) == [Interval(TOP - 3, TOP - 1)]
    assert subject.cover(Interval(TOP - 1, TOP)) == [last]
    everything = Item(0, TOP)
    assert len(subject.add(0, TOP, everything)) == many + 1
    assert subject.cover(Interval(0, TOP)) == [everything]


def test_an_empty_interval_is_held_and_holds_nothing() -> None:
    empty = Item(0, 0)
    subject = filled([empty])
    assert list(subject) == [empty]
    assert subject.cover(Interval(0, 0)) == []
    assert subject.cover(Interval(0, 1)) is None
    assert subject.covered_until(0) == 0
    assert subject.remove(0, empty)


def test_what_is_no_interval_is_refused_and_changes_nothing() -> None:
    subject: Intervals[str] = Intervals()
    for start, end in ((-1, 5), (5, 4), (TOP, TOP), (-(2**63), 0)):
        with pytest.raises(ValueError, match="not an interval"):
            subject.add(start, end, "x")
    for start, end in ((0, 2**63), (2**63, 2**63), (-(2**63) - 1, 0)):
        with pytest.raises(OverflowError):
            subject.add(start, end, "x")
    with pytest.raises(OverflowError):
        subject.covered_until(2**63)
    assert len(subject) == 0


# -- what it keeps alive


def test_an_item_is_held_once_and_let_go() -> None:
    item, other = Item(0, 5), Item(0, 9)
    before = sys.getrefcount(item)
    subject = filled([item])
    assert sys.getrefcount(item) == before + 1
    assert subject.add(0, 5, item) == [item]
    assert subject.cover(Interval(0, 5)) == list(subject) == [item]
    assert subject.cover(Interval(0, 9)) is None
    assert sys.getrefcount(item) == before + 1
    assert subject.add(0, 9, other) == [item]
    assert sys.getrefcount(item) == before
    assert subject.remove(0, other)
    assert subject.add(0, 5, item) == []
    assert subject.clear() == [item]
    assert sys.getrefcount(item) == before
    subject.add(0, 5, item)
    del subject
    assert sys.getrefcount(item) == before


def test_many_items_are_let_go_with_their_index() -> None:
    item = Item(0, 0)
    before = sys.getrefcount(item)
    subject: Intervals[Item] = Intervals()
    for n in range(5000):
        subject.add(2 * n, 2 * n + 1, item)
    assert sys.getrefcount(item) == before + 5000
    del subject
    assert sys.getrefcount(item) == before


@pytest.mark.parametrize("many", [1, 1000])
def test_a_circle_through_an_index_is_collected(many: int) -> None:
    items = row(many)
    subject = filled(items)
    items[-1].circle = subject  # type: ignore[attr-defined]
    gone = weakref.ref(items[0])
    del subject, items
    gc.collect()
    assert gone() is None


class Last(Item):
    """Uses the index when it ends."""

    def __init__(self, subject: Intervals[Item]) -> None:
        super().__init__(0, 5)
        self.subject = subject

    def __del__(self) -> None:
        self.subject.add(100, 105, Item(100, 105))
        assert self.subject.covered_until(100) == 105


def test_an_item_that_uses_the_index_when_it_ends() -> None:
    subject: Intervals[Item] = Intervals()
    subject.add(0, 5, Last(subject))
    assert subject.add(0, 6, Item(0, 6))
    assert [(one.start, one.end) for one in subject] == [(0, 6), (100, 105)]
    subject.clear()
    subject.add(0, 5, Last(subject))
    assert len(subject.clear()) == 1
    assert [one.start for one in subject] == [100]


def test_a_change_during_iteration_is_not_seen_by_it() -> None:
    items = row(1000)
    subject = filled(items)
    seen = []
    for one in subject:
        seen.append(one)
        assert subject.remove(one.start, one)
    assert seen == items
    assert len(subject) == 0
