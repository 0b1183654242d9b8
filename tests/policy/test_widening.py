"""What is asked for in the place of what is wanted: always all of it, never far beyond it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.model import Interval
from fastcache.policy.widening import CLOSE, Widening, divided, merged, widened

MIB = 1024 * 1024
RULE = Widening(block=MIB, up_to=256 * 1024)

sizes = st.integers(1, 1 << 45)
rules = st.builds(Widening, block=st.integers(1, 1 << 26), up_to=st.integers(0, 1 << 26))


@st.composite
def intervals(draw: st.DrawFn) -> tuple[Interval, int]:
    size = draw(sizes)
    start = draw(st.integers(0, size - 1))
    return Interval(start, draw(st.integers(start + 1, size))), size


@st.composite
def gap_lists(draw: st.DrawFn) -> list[Interval]:
    steps = draw(st.lists(st.tuples(st.integers(1, 3 * MIB), st.integers(1, 64 * MIB)), max_size=20))
    gaps, position = [], 0
    for hole, length in steps:
        gaps.append(Interval(position + hole, position + hole + length))
        position += hole + length
    return gaps


@pytest.mark.parametrize(
    ("wanted", "size", "expected"),
    [
        (Interval(0, 1), 10 * MIB, Interval(0, MIB)),
        (Interval(MIB - 1, MIB + 1), 10 * MIB, Interval(0, 2 * MIB)),
        (Interval(MIB, MIB + 100), 10 * MIB, Interval(MIB, 2 * MIB)),
        (Interval(10 * MIB + 1, 10 * MIB + 9), 10 * MIB + 9, Interval(10 * MIB, 10 * MIB + 9)),
        (Interval(5, 5 + 256 * 1024), 10 * MIB, Interval(0, MIB)),
        (Interval(5, 6 + 256 * 1024), 10 * MIB, Interval(5, 6 + 256 * 1024)),
        (Interval(0, 8), 8, Interval(0, 8)),
    ],
)
def test_a_small_read_becomes_the_blocks_it_touches_and_a_long_one_stays(
    wanted: Interval, size: int, expected: Interval
) -> None:
    assert widened(wanted, size, RULE) == expected
    assert widened(wanted, size, None) == wanted


@given(intervals(), rules)
def test_widening_holds_what_is_wanted_stays_in_the_object_and_ends_at_blocks(
    case: tuple[Interval, int], rule: Widening
) -> None:
    wanted, size = case
    wide = widened(wanted, size, rule)
    assert wide.contains(wanted)
    assert Interval(0, size).contains(wide)
    assert wide.length < wanted.length + 2 * rule.block
    if wanted.length > rule.up_to:
        assert wide == wanted
    else:
        assert wide.start % rule.block == 0
        assert wide.end % rule.block == 0 or wide.end == size


@given(gap_lists(), st.integers(0, 4 * MIB))
def test_merging_keeps_every_gap_and_adds_less_than_the_limit_between_two(gaps: list[Interval], closer: int) -> None:
    spans = merged(gaps, closer)
    assert all(any(span.contains(gap) for span in spans) for gap in gaps)
    assert all(right.start - left.end >= closer for left, right in pairwise(spans))
    joined = len(gaps) - len(spans)
    added = sum(span.length for span in spans) - sum(gap.length for gap in gaps)
    assert added <= joined * max(0, closer - 1)
    assert {span.start for span in spans} <= {gap.start for gap in gaps}
    assert {span.end for span in spans} <= {gap.end for gap in gaps}
    assert merged(spans, closer) == spans


def test_gaps_a_mebibyte_apart_are_two_requests_and_closer_ones_are_one() -> None:
    first, second = Interval(0, 10), Interval(10 + CLOSE, 20 + CLOSE)
    assert merged([first, second]) == [first, second]
    assert merged([first, Interval(9 + CLOSE, 20 + CLOSE)]) == [Interval(0, 20 + CLOSE)]


@given(gap_lists(), st.integers(1, 32), st.integers(1, 16 * MIB))
def test_dividing_changes_no_byte_and_keeps_to_the_number_and_the_least_length(
    gaps: list[Interval], requests: int, least: int
) -> None:
    spans = merged(gaps)
    pieces = divided(spans, requests, least)
    assert merged(pieces, 1) == spans
    assert len(pieces) <= max(requests, len(spans))
    whole = set(spans)
    assert all(piece.length >= least for piece in pieces if piece not in whole)
    if len(pieces) < requests:
        assert all(piece.length < 2 * least for piece in pieces), "there was no more to divide"


def test_one_long_span_is_divided_evenly() -> None:
    pieces = divided([Interval(0, 64 * MIB)], 4, 8 * MIB)
    assert pieces == [Interval(start * 16 * MIB, (start + 1) * 16 * MIB) for start in range(4)]
    assert divided([Interval(0, 15 * MIB)], 4, 8 * MIB) == [Interval(0, 15 * MIB)]


@pytest.mark.parametrize(("block", "up_to"), [(0, 1), (-1, 1), (1, -1)])
def test_a_rule_that_means_nothing_is_refused(block: int, up_to: int) -> None:
    with pytest.raises(ValueError, match="block"):
        Widening(block, up_to)
