"""Scans are recognised, their windows double within the share, and every byte fetched ahead is accounted for."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fastcache.model import Interval
from fastcache.policy.readahead import ReadAhead, ReadAheadRule, Share

MIB = 1024 * 1024
RULE = ReadAheadRule()
BIG = 10_000 * MIB


def scan(ahead: ReadAhead, length: int, reads: int, start: int = 0, now: float = 0.0) -> list[Interval | None]:
    return [ahead.read(Interval(start + n * length, start + (n + 1) * length), now) for n in range(reads)]


def test_nothing_is_fetched_before_two_reads_follow_each_other() -> None:
    ahead = ReadAhead(BIG, RULE, Share(BIG))
    assert ahead.read(Interval(0, MIB), 0.0) is None
    assert ahead.read(Interval(50 * MIB, 51 * MIB), 0.0) is None
    assert ahead.read(Interval(51 * MIB, 52 * MIB), 0.0) == Interval(52 * MIB, 54 * MIB)


def test_the_window_doubles_as_the_reader_goes_on_and_has_an_end() -> None:
    ahead = ReadAhead(BIG, RULE, Share(BIG))
    reaches = [told.end - (n + 1) * MIB for n, told in enumerate(scan(ahead, MIB, 1000)) if told is not None]
    assert reaches[:6] == [2 * MIB, 4 * MIB, 8 * MIB, 16 * MIB, 32 * MIB, 64 * MIB]
    assert set(reaches[6:]) == {64 * MIB}


def test_small_reads_begin_with_the_least_window() -> None:
    ahead = ReadAhead(BIG, RULE, Share(BIG))
    told = [one for one in scan(ahead, 4096, 3) if one is not None]
    assert told == [Interval(8192, 8192 + MIB)]


def test_a_scan_to_the_end_fetches_everything_behind_its_second_read_once_and_wastes_nothing() -> None:
    size = 300 * MIB + 7
    share = Share(BIG)
    ahead = ReadAhead(size, RULE, share)
    told: list[Interval] = []
    for start in range(0, size, 3 * MIB):
        one = ahead.read(Interval(start, min(size, start + 3 * MIB)), 0.0)
        told += [] if one is None else [one]
    assert told[0].start == 6 * MIB
    assert all(left.end == right.start for left, right in itertools.pairwise(told))
    assert told[-1].end == size
    ahead.close()
    assert (share.ahead, share.wasted, share.used, share.fetched) == (0, 0, size - 6 * MIB, size - 6 * MIB)


@given(st.lists(st.integers(0, 9999).map(lambda n: n * 2), unique=True))
def test_reads_that_never_touch_fetch_nothing_ahead(starts: list[int]) -> None:
    share = Share(BIG)
    ahead = ReadAhead(BIG, RULE, share)
    assert all(ahead.read(Interval(start * MIB, (start + 1) * MIB), 0.0) is None for start in starts)
    assert share.fetched == 0
    assert len(ahead) <= RULE.scans


def test_scans_side_by_side_are_told_apart_and_the_one_that_rests_gives_way() -> None:
    share = Share(BIG)
    ahead = ReadAhead(BIG, RULE, share)
    for at in range(RULE.scans):
        assert scan(ahead, MIB, 2, start=1000 * at * MIB)[1] is not None
    assert share.ahead == RULE.scans * 2 * MIB
    ahead.read(Interval(9999 * MIB, 10_000 * MIB), 0.0)
    assert len(ahead) == RULE.scans
    assert share.wasted == 2 * MIB
    assert ahead.read(Interval(1002 * MIB, 1003 * MIB), 0.0) is not None, "the second scan is still known"


def test_what_a_scan_left_behind_is_wasted_when_it_is_idle() -> None:
    share = Share(BIG)
    ahead = ReadAhead(BIG, RULE, share)
    scan(ahead, MIB, 2)
    ahead.read(Interval(500 * MIB, 501 * MIB), RULE.idle - 1)
    assert share.wasted == 0
    ahead.read(Interval(600 * MIB, 601 * MIB), RULE.idle)
    assert (share.ahead, share.wasted, share.fetched) == (0, 2 * MIB, 2 * MIB)


def test_the_share_of_all_objects_together_is_never_exceeded() -> None:
    share = Share(5 * MIB)
    first, second = ReadAhead(BIG, RULE, share), ReadAhead(BIG, RULE, share)
    assert scan(first, 2 * MIB, 2)[1] == Interval(4 * MIB, 8 * MIB)
    assert scan(second, 2 * MIB, 2)[1] == Interval(4 * MIB, 5 * MIB)
    third = ReadAhead(BIG, RULE, share)
    assert scan(third, 2 * MIB, 3) == [None, None, None]
    first.close()
    assert (share.ahead, share.wasted) == (MIB, 4 * MIB)
    assert scan(third, 2 * MIB, 1, start=6 * MIB) == [Interval(8 * MIB, 12 * MIB)]


def test_what_did_not_come_is_given_back_and_asked_for_once_more() -> None:
    share = Share(BIG)
    ahead = ReadAhead(BIG, RULE, share)
    told = scan(ahead, MIB, 2)[1]
    assert told == Interval(2 * MIB, 4 * MIB)
    ahead.failed(told)
    assert (share.ahead, share.fetched) == (0, 0)
    assert ahead.read(Interval(2 * MIB, 3 * MIB), 0.0) == Interval(3 * MIB, 5 * MIB)
    ahead.failed(Interval(700 * MIB, 701 * MIB))
    assert share.ahead == 2 * MIB


def test_a_reader_that_was_answered_elsewhere_goes_on_with_its_scan() -> None:
    """Hits that nobody tells of: the next read that is told of begins somewhere in what was fetched ahead."""
    share = Share(BIG)
    ahead = ReadAhead(BIG, RULE, share)
    assert scan(ahead, MIB, 2)[1] == Interval(2 * MIB, 4 * MIB)
    assert ahead.read(Interval(3 * MIB + 5, 4 * MIB), 0.0) == Interval(4 * MIB, 8 * MIB)
    assert ahead.read(Interval(8 * MIB, 9 * MIB), 0.0) == Interval(9 * MIB, 17 * MIB)
    assert ahead.read(Interval(18 * MIB, 19 * MIB), 0.0) is None, "beyond what was fetched is another scan"
    assert (share.used, share.wasted, share.ahead) == (6 * MIB, 0, 8 * MIB)


def test_readers_ahead_of_themselves_get_nothing_fetched() -> None:
    share = Share(BIG)
    ahead = ReadAhead(BIG, RULE, share)
    told = [ahead.read(Interval(n * MIB, (n + 1) * MIB), 0.0, alone=False) for n in range(10)]
    assert told == [None] * 10
    assert ahead.read(Interval(10 * MIB, 11 * MIB), 0.0) == Interval(11 * MIB, 13 * MIB)


def test_what_was_evicted_before_its_reader_came_is_wasted() -> None:
    share = Share(BIG)
    ahead = ReadAhead(BIG, RULE, share)
    scan(ahead, MIB, 2)
    lost = [Interval(2 * MIB + 10, 2 * MIB + 30), Interval(3 * MIB - 5, 5 * MIB)]
    ahead.read(Interval(2 * MIB, 3 * MIB), 0.0, lost=lost)
    assert (share.used, share.wasted) == (MIB - 25, 25)


@pytest.mark.parametrize("wanted", [0, -5])
def test_no_share_is_taken_for_nothing(wanted: int) -> None:
    share = Share(100)
    assert share.take(wanted) == 0
    assert (share.ahead, share.fetched) == (0, 0)


class Readers(RuleBasedStateMachine):
    """Reads of any kind, of two objects with one share; the accounts are made up anew after each."""

    SIZE = 1000

    @initialize(limit=st.integers(0, 500), adjacent=st.integers(2, 4), scans=st.integers(1, 4))
    def begin(self, limit: int, adjacent: int, scans: int) -> None:
        self.rule = ReadAheadRule(adjacent=adjacent, first=10, most=200, scans=scans, idle=30.0)
        self.share = Share(limit)
        self.objects = [ReadAhead(self.SIZE, self.rule, self.share) for _ in range(2)]
        self.now = 0.0
        self.told: list[tuple[int, Interval]] = []
        self.ends = [0, 0]

    def _read(self, which: int, wanted: Interval, **told_besides: Any) -> None:
        before = self.share.ahead
        told = self.objects[which].read(wanted, self.now, **told_besides)
        self.ends[which] = wanted.end
        if told is not None:
            assert wanted.end <= told.start < told.end <= self.SIZE
            assert told.end - wanted.end <= max(self.rule.most, self.rule.first)
            assert self.share.ahead <= before + told.length
            self.told.append((which, told))

    @rule(which=st.integers(0, 1), start=st.integers(0, SIZE - 1), length=st.integers(1, 60))
    def read_anywhere(self, which: int, start: int, length: int) -> None:
        self._read(which, Interval(start, min(self.SIZE, start + length)))

    @rule(which=st.integers(0, 1), length=st.integers(1, 60))
    def read_on(self, which: int, length: int) -> None:
        start = self.ends[which]
        if start < self.SIZE:
            self._read(which, Interval(start, min(self.SIZE, start + length)))

    @rule(which=st.integers(0, 1), length=st.integers(1, 60))
    def read_up_to_where_another_scan_is(self, which: int, length: int) -> None:
        end = self.ends[which]
        if end > 0:
            self._read(which, Interval(max(0, end - length), end))

    @rule(which=st.integers(0, 1), skip=st.integers(0, 250), length=st.integers(1, 60), alone=st.booleans())
    def read_further_on(self, which: int, skip: int, length: int, alone: bool) -> None:
        start = self.ends[which] + skip
        if start < self.SIZE:
            lost = [Interval(start, start + length // 3)]
            self._read(which, Interval(start, min(self.SIZE, start + length)), lost=lost, alone=alone)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(chance=st.randoms(use_true_random=False))
    def fail(self, chance) -> None:
        if self.told:
            which, told = self.told.pop(chance.randrange(len(self.told)))
            self.objects[which].failed(told)

    @rule(which=st.integers(0, 1))
    def end(self, which: int) -> None:
        self.objects[which].close()
        assert len(self.objects[which]) == 0

    @invariant()
    def accounts_add_up(self) -> None:
        share = self.share
        known = [one for ahead in self.objects for one in ahead._scans.values()]
        assert share.ahead == sum(one.ahead for one in known)
        assert 0 <= share.ahead <= share.limit
        assert share.fetched == share.used + share.wasted + share.ahead
        assert min(share.fetched, share.used, share.wasted) >= 0
        assert all(one.ahead >= 0 and one.reach <= self.SIZE for one in known)
        assert all(len(ahead) <= self.rule.scans for ahead in self.objects)


TestReaders = Readers.TestCase
TestReaders.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
