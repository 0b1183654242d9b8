"""The compiled steps that every byte or every request goes through."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastcache._core.counters import Counters, Histogram
from fastcache._core.crc32c import IMPLEMENTATION, crc32c, crc_blocks
from fastcache.model import Result
from fastcache.observe.metrics import Metrics
from fastcache.origin.pattern import pattern


@pytest.mark.parametrize("size", [4096, 262_144, 4_194_304])
def test_crc32c(benchmark: BenchmarkFixture, size: int) -> None:
    benchmark.extra_info["implementation"] = IMPLEMENTATION
    data = pattern(b"key", 1, 0, size)
    assert benchmark(crc32c, data) == crc32c(data)


def test_crc_blocks(benchmark: BenchmarkFixture) -> None:
    data = pattern(b"key", 1, 0, 4_194_304)
    assert len(benchmark(crc_blocks, data)) == 16


def test_counter(benchmark: BenchmarkFixture) -> None:
    counters = Counters(16)
    benchmark(counters.add, 3)
    assert counters.get(3) > 0


def test_histogram(benchmark: BenchmarkFixture) -> None:
    histogram = Histogram()
    benchmark(histogram.record, 0.00123)
    assert histogram.count > 0


def test_metrics_of_a_request(benchmark: BenchmarkFixture) -> None:
    metrics = Metrics()
    benchmark(metrics.request_done, b"GET", 200, Result.HIT, 0.001, 0.0005, 4500)
    assert "fastcache_requests_total" in metrics.render()[0].decode()
