"""What an index of intervals costs: the look-up a C caller makes, and the methods Python calls.

Times are of the process's CPU. The C loop asks for random bytes, and no look-up begins before the one before it has
ended; among a million that is mostly the wait for memory that is in no cache, so the figure follows the machine's.
"""

from __future__ import annotations

import random
import struct
import sys
import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastcache._core.intervals import Intervals
from fastcache.model import Interval

LOOKUPS = 1000
STEP = 10
COUNTS = [1, 2, 100, 10_000, 1_000_000]

pytestmark = pytest.mark.benchmark(timer=time.process_time)


def filled(count: int, *, shuffled: bool = False) -> Intervals[int]:
    subject: Intervals[int] = Intervals()
    order = list(range(count))
    if shuffled:
        random.Random(1).shuffle(order)
    for n in order:
        subject.add(STEP * n, STEP * n + STEP + 2, n)
    return subject


@pytest.mark.parametrize("order", ["ascending", "shuffled"])
@pytest.mark.parametrize("count", COUNTS)
def test_look_up_in_c(benchmark: BenchmarkFixture, count: int, order: str) -> None:
    subject = filled(count, shuffled=order == "shuffled")
    dice = random.Random(2)
    batches = [struct.pack(f"{LOOKUPS}q", *(dice.randrange(STEP * count) for _ in range(LOOKUPS))) for _ in range(1000)]

    def next_batch() -> tuple[tuple[bytes], dict[str, object]]:
        return (dice.choice(batches),), {}

    held = benchmark.pedantic(subject._lookups, setup=next_batch, rounds=2000)
    assert held == LOOKUPS
    benchmark.extra_info["bytes per interval"] = round(sys.getsizeof(subject) / count, 1)
    if benchmark.stats is not None:
        for name, seconds in (("least", benchmark.stats.stats.min), ("median", benchmark.stats.stats.median)):
            benchmark.extra_info[f"ns per look-up, {name}"] = round(seconds / LOOKUPS * 1e9, 1)
        print(benchmark.extra_info)


@pytest.mark.parametrize("count", COUNTS)
def test_covered_until(benchmark: BenchmarkFixture, count: int) -> None:
    subject = filled(count)
    offset = STEP * (count // 2) + 1
    assert benchmark(subject.covered_until, offset) > offset


@pytest.mark.parametrize("count", COUNTS)
def test_cover_of_one_extent(benchmark: BenchmarkFixture, count: int) -> None:
    subject = filled(count)
    interval = Interval(STEP * (count // 2) + 2, STEP * (count // 2) + 8)
    assert benchmark(subject.cover, interval) == [count // 2]


def test_cover_of_two_extents(benchmark: BenchmarkFixture) -> None:
    assert benchmark(filled(10).cover, Interval(15, 25)) == [1, 2]


def test_gaps_of_what_is_whole(benchmark: BenchmarkFixture) -> None:
    assert benchmark(filled(10).gaps, Interval(15, 25)) == []


@pytest.mark.parametrize("count", COUNTS)
def test_add_and_remove(benchmark: BenchmarkFixture, count: int) -> None:
    subject = filled(count, shuffled=True)
    dice = random.Random(3)

    def add_and_remove() -> bool:
        start = STEP * dice.randrange(count) + 4
        return not subject.add(start, start + STEP, subject) and subject.remove(start, subject)

    assert benchmark(add_and_remove)
