"""The compiled comparison against the origin's own pattern, which it shares nothing but the table with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core.expected import ExpectedBytes, ExpectedPattern
from fastcache.origin.pattern import BLOCK, PERIOD, expected_pattern, pattern

offsets = st.one_of(st.integers(0, 20_000), st.integers(0, 5 << 30), st.integers(PERIOD * 3 - 9000, PERIOD * 3 + 9000))
lengths = st.one_of(st.integers(0, 20), st.integers(0, 70_000))


@given(key=st.binary(min_size=1, max_size=8), generation=st.integers(1, 99), start=offsets, length=lengths)
def test_the_pattern_is_accepted_wherever_it_begins(key: bytes, generation: int, start: int, length: int) -> None:
    assert expected_pattern(key, generation).first_difference(start, pattern(key, generation, start, length)) is None


@given(start=offsets, length=st.integers(1, 20_000), data=st.data())
def test_one_wrong_byte_is_found_where_it_is(start: int, length: int, data: st.DataObject) -> None:
    got = bytearray(pattern(b"key", 1, start, length))
    at = data.draw(st.integers(0, length - 1))
    got[at] ^= data.draw(st.integers(1, 255))
    assert expected_pattern(b"key", 1).first_difference(start, got) == at


def test_another_key_generation_or_block_is_different() -> None:
    got = pattern(b"key", 1, 0, 2 * BLOCK)
    assert expected_pattern(b"kez", 1).first_difference(0, got) is not None
    assert expected_pattern(b"key", 2).first_difference(0, got) is not None
    assert expected_pattern(b"key", 1).first_difference(BLOCK, got) is not None


@given(content=st.binary(max_size=200), start=st.integers(0, 220), got=st.binary(max_size=200))
def test_bytes_are_compared_as_they_are_and_end_where_they_end(content: bytes, start: int, got: bytes) -> None:
    right = content[start : start + len(got)]
    differing = [index for index in range(len(got)) if index >= len(right) or got[index] != right[index]]
    expected = ExpectedBytes(content)
    assert expected.first_difference(start, got) == (differing[0] if differing else None)
    assert expected.first_difference(start, right) is None


def test_numbers_that_make_no_pattern_are_refused() -> None:
    with pytest.raises(ValueError, match="no pattern"):
        ExpectedPattern(b"x" * 100, period=10, rotation=10, salt=0, block=50, stamp=8)
    with pytest.raises(ValueError, match="too short"):
        ExpectedPattern(b"x" * 59, period=10, rotation=0, salt=0, block=50, stamp=8)
    with pytest.raises(ValueError, match="negative"):
        ExpectedBytes(b"x").first_difference(-1, b"")
