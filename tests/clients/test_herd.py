"""P-17: many first readers of the same bytes cost the origin one transfer, whatever mode proves them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.clients.sites import Site
from tests.harness.clients import boto3_client

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess

MIB = 1024 * 1024
SIZE = 4 * MIB
READERS = 100


@pytest.fixture
def bucket(own_site: Site, origin: OriginProcess) -> Iterator[str]:
    """Object ``o``, behind an origin that is slow enough for every reader to arrive during the transfer."""
    name = own_site.new_bucket()
    origin.control.synthetic(name, "o", SIZE)
    origin.control.settings(latency=0.2, bandwidth_connection=8 * MIB)
    yield name
    origin.control.settings(latency=0.0, bandwidth_connection=0)


def herd(site: Site, bucket: str, ask: Callable[[Any, int], tuple[dict[str, Any], int, int]]) -> None:
    """A hundred boto3 threads at once; ``ask(client, number)`` gives the answer and the interval it must be."""
    client = boto3_client(site.endpoint, site.access_key, site.secret_key, max_pool_connections=READERS)
    ready = threading.Barrier(READERS)

    def one(number: int) -> bool:
        ready.wait(30)
        answer, start, end = ask(client, number)
        return bool(answer["Body"].read() == pattern(b"o", 1, start, end - start))

    with ThreadPoolExecutor(READERS) as pool:
        assert all(pool.map(one, range(READERS)))


def test_whole_objects(own_site: Site, bucket: str) -> None:
    herd(own_site, bucket, lambda client, _: (client.get_object(Bucket=bucket, Key="o"), 0, SIZE))
    assert own_site.moved(bucket) == SIZE


def test_equal_ranges(own_site: Site, bucket: str) -> None:
    start, end = MIB + 5, 3 * MIB - 9
    range_ = f"bytes={start}-{end - 1}"
    herd(own_site, bucket, lambda client, _: (client.get_object(Bucket=bucket, Key="o", Range=range_), start, end))
    assert own_site.moved(bucket) == end - start


def test_overlapping_signed_ranges_cost_at_most_the_distinct_ones(own_site: Site, bucket: str) -> None:
    """A signed range can be neither widened nor cut: each distinct one is asked for at most once."""
    chosen = random.Random(17)
    distinct = sorted({tuple(sorted(chosen.sample(range(0, SIZE, 4096), 2))) for _ in range(12)})

    def ask(client: Any, number: int) -> tuple[dict[str, Any], int, int]:
        start, end = distinct[number % len(distinct)]
        return client.get_object(Bucket=bucket, Key="o", Range=f"bytes={start}-{end - 1}"), start, end

    herd(own_site, bucket, ask)
    moved = own_site.moved(bucket)
    assert moved <= sum(end - start for start, end in distinct)
    assert moved >= max(end - start for start, end in distinct)


def test_ranges_and_whole_reads_together_cost_at_most_both(own_site: Site, bucket: str) -> None:
    """A reader of a part joins the transfer of the whole when that is under way, and asks for its part otherwise."""

    def ask(client: Any, number: int) -> tuple[dict[str, Any], int, int]:
        if number % 2:
            return client.get_object(Bucket=bucket, Key="o"), 0, SIZE
        return client.get_object(Bucket=bucket, Key="o", Range=f"bytes=0-{MIB - 1}"), 0, MIB

    herd(own_site, bucket, ask)
    assert SIZE <= own_site.moved(bucket) <= SIZE + MIB
