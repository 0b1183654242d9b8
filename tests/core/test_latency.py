"""The fine histogram: within one percent of the exact quantiles, and nothing lost when two are put together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core.latency import Latencies

durations = st.lists(st.integers(1, 1 << 39), min_size=1, max_size=200)


def of(values: list[int]) -> Latencies:
    latencies = Latencies()
    for value in values:
        latencies.record(value)
    return latencies


@given(values=durations, q=st.floats(0.01, 1.0))
def test_a_quantile_is_within_one_percent_of_the_value_of_that_rank(values: list[int], q: float) -> None:
    exact = sorted(values)[math.ceil(q * len(values)) - 1] / 1e9
    estimate = of(values).quantile(q)
    assert estimate is not None
    assert exact * 0.99 - 1e-9 <= estimate <= exact * 1.01 + 1e-9


@given(values=durations)
def test_count_mean_and_most_are_exact(values: list[int]) -> None:
    latencies = of(values)
    assert latencies.count == len(values)
    assert latencies.mean == pytest.approx(sum(values) / len(values) / 1e9)
    assert latencies.most == max(values) / 1e9
    assert latencies.quantile(1.0) == pytest.approx(latencies.most, rel=0.01)


@given(left=durations, right=durations)
def test_two_put_together_are_as_one_that_saw_all(left: list[int], right: list[int]) -> None:
    together = of(left)
    together.absorb(of(right))
    assert together.snapshot() == of(left + right).snapshot()


def test_nothing_recorded_has_no_quantiles() -> None:
    latencies = Latencies()
    assert (latencies.count, latencies.mean, latencies.most, latencies.quantile(0.5)) == (0, None, None, None)
    with pytest.raises(ValueError, match="between 0 and 1"):
        latencies.quantile(1.1)
