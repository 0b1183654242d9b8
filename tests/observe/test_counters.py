"""Counters and histograms: no lost count, exact borders, honest estimates."""

from __future__ import annotations

import itertools
import math
import mmap
import threading
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core.counters import (
    HISTOGRAM_BUCKETS,
    HISTOGRAM_WORDS,
    Counters,
    Histogram,
    bucket_bounds,
    cumulative,
    quantile,
)


def test_counts_add_up_and_slots_are_apart() -> None:
    counters = Counters(3)
    counters.add(0)
    counters.add(2, 40)
    counters.add(2)
    assert [counters.get(slot) for slot in range(3)] == [1, 0, 41]
    assert counters.snapshot().tolist() == [1, 0, 41]
    assert len(counters) == 3


@pytest.mark.parametrize("slot", [-1, 3])
def test_a_slot_outside_is_refused(slot: int) -> None:
    counters = Counters(3)
    with pytest.raises(IndexError):
        counters.add(slot)
    with pytest.raises(IndexError):
        counters.get(slot)


def test_counters_live_in_the_buffer_given_and_start_from_its_values() -> None:
    memory = mmap.mmap(-1, 4096)
    memory[:8] = (7).to_bytes(8, "little")
    counters = Counters(2, memory)
    counters.add(0, 3)
    assert memory[:8] == (10).to_bytes(8, "little")
    assert Counters(2, memory).get(0) == 10
    with pytest.raises(BufferError):
        memory.resize(8192)


@pytest.mark.parametrize(
    ("size", "buffer", "error"),
    [
        (2, bytearray(15), ValueError),
        (2, memoryview(bytearray(24))[1:17], ValueError),
        (2, b"\0" * 16, BufferError),
        (0, None, ValueError),
    ],
)
def test_an_unfit_buffer_is_refused(size: int, buffer: bytearray | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        Counters(size, buffer)


def test_threads_lose_no_count() -> None:
    counters = Counters(1)

    def work() -> None:
        for _ in range(20_000):
            counters.add(0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.get(0) == 80_000


def test_bounds_grow_by_at_most_a_quarter() -> None:
    bounds = bucket_bounds()
    assert len(bounds) == HISTOGRAM_BUCKETS - 1
    assert bounds[-1] == 2**40
    assert all(low < high <= max(low + 1, low * 1.25) for low, high in itertools.pairwise(bounds))


@given(st.integers(0, 2**41))
def test_a_value_falls_into_the_bucket_whose_bound_is_the_first_not_below_it(value: int) -> None:
    histogram = Histogram()
    histogram.record((value + 0.5) / 1e9)  # half a nanosecond against rounding in the product with 1e9
    expected = next((i for i, bound in enumerate(bucket_bounds()) if value <= bound), HISTOGRAM_BUCKETS - 1)
    assert list(histogram.snapshot()).index(1) == expected


def test_a_bound_itself_is_counted_below_it_as_le_demands() -> None:
    histogram = Histogram()
    histogram.record(2**20 / 1e9)
    assert cumulative(histogram.snapshot(), [2**19, 2**20, 2**21]) == [0, 1, 1, 1]


@pytest.mark.parametrize("seconds", [-1.0, 0.0, math.nan, math.inf, 1e300])
def test_odd_durations_are_counted_and_break_nothing(seconds: float) -> None:
    histogram = Histogram()
    histogram.record(seconds)
    assert histogram.count == 1


def test_sum_and_count_are_those_of_the_values() -> None:
    histogram = Histogram()
    for seconds in (0.001, 0.25, 1.5):
        histogram.record(seconds)
    assert histogram.count == 3
    assert histogram.sum == pytest.approx(1.751, abs=1e-8)


@given(st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=60), st.floats(0.0, 1.0))
def test_an_estimated_quantile_is_within_a_quarter_of_the_true_one(values: list[float], q: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    true = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    estimate = histogram.quantile(q)
    assert estimate is not None
    assert true / 1.26 <= estimate <= true * 1.26


def test_a_quantile_of_nothing_is_none_and_of_the_open_bucket_its_lower_bound() -> None:
    assert Histogram().quantile(0.5) is None
    histogram = Histogram()
    histogram.record(5_000.0)
    assert histogram.quantile(1.0) == 2**40 / 1e9
    with pytest.raises(ValueError, match="between 0 and 1"):
        histogram.quantile(1.1)


def test_cumulative_refuses_what_it_could_only_guess() -> None:
    words = Histogram().snapshot()
    for bounds in ([1_000_000], [2**21, 2**20], [0]):
        with pytest.raises(ValueError, match="bound"):
            cumulative(words, bounds)
    with pytest.raises(ValueError, match="words"):
        cumulative(array("Q", [0]), [1])
    with pytest.raises(ValueError, match="words"):
        quantile([0] * (HISTOGRAM_WORDS + 1), 0.5)


def test_more_words_than_memory_can_have_are_refused_whatever_the_buffer() -> None:
    """Times eight it wrapped to nothing, and any slot number was then inside."""
    with pytest.raises(ValueError, match="cannot hold"):
        Counters(1 << 61, bytearray(64))
    with pytest.raises(MemoryError):
        Counters(1 << 61)


def test_a_refused_buffer_is_given_back() -> None:
    buffer = bytearray(64)
    counters = Counters.__new__(Counters, 0)
    with pytest.raises(ValueError, match="cannot hold"):
        counters.__init__(100, buffer)  # type: ignore[misc]
    counters.__init__(2, buffer)  # type: ignore[misc]
    del counters
    buffer.append(0)


def test_a_histogram_that_was_never_initialised_is_empty_and_takes_nothing() -> None:
    histogram = Histogram.__new__(Histogram)
    with pytest.raises(RuntimeError, match="initialised"):
        histogram.record(1.0)
    with pytest.raises(RuntimeError, match="initialised"):
        _ = histogram.count
    with pytest.raises(RuntimeError, match="initialised"):
        _ = histogram.sum
