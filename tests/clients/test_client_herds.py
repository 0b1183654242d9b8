"""P-17 with every client: eight first readers of one object move no more from the origin than one of them does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import pytest
from tests.clients.reader import Reader
from tests.clients.readers import READERS
from tests.clients.sites import Site
from tests.harness.processes import wait_until

from fastcache.origin.process import OriginProcess

MIB = 1024 * 1024
MANY = 8


@pytest.fixture
def slow_origin(origin: OriginProcess) -> Iterator[OriginProcess]:
    """An origin whose pace a test may set."""
    yield origin
    origin.control.settings(latency=0, bandwidth_connection=0)


CASES = [
    pytest.param(
        mode, make, id=f"{mode}-{name}", marks=[pytest.mark.slow] if mode == "none" or make.starts_slowly else []
    )
    for mode in ("revalidate", "none")
    for name, make in READERS.items()
]


def followers_of(site: Site) -> float:
    return site.proxy.metric("fastcache_followers_total")


def wait_until_followed(site: Site, before: float, reads: list[Future[bool]]) -> None:
    """A transfer that is far from its end has a follower; ``AssertionError`` when a read is over without one."""

    def is_decided() -> bool:
        return followers_of(site) > before or bool(wait(reads, 0, FIRST_COMPLETED).done)

    wait_until(is_decided, 120, "a reader follows", step=0.05)
    assert followers_of(site) > before, "nobody followed: nothing is proven"


@pytest.mark.parametrize(("own_site", "make"), CASES, indirect=["own_site"])
def test_many_first_readers_move_what_one_does(own_site: Site, slow_origin: OriginProcess, make: type[Reader]) -> None:
    reader, bucket = make(own_site), own_site.new_bucket()
    body = make.body("herd", make.large)
    for key in ("alone", "herd"):
        slow_origin.control.put(bucket, key, body)
    assert reader.whole(bucket, "alone") == make.result(body)
    alone = own_site.moved(bucket)
    followers = followers_of(own_site)
    ready = threading.Barrier(MANY)

    def one(_: int) -> bool:
        ready.wait(30)
        return reader.whole(bucket, "herd") == make.result(body)

    slow_origin.control.settings(latency=0.1, bandwidth_connection=MIB // 8)
    with ThreadPoolExecutor(MANY) as pool:
        reads = [pool.submit(one, number) for number in range(MANY)]
        if make.large > MIB:  # who waited for the head of a small piece may find it whole
            wait_until_followed(own_site, followers, reads)
        slow_origin.control.settings(bandwidth_connection=16 * MIB)
        assert all(read.result() for read in reads)
    assert own_site.moved(bucket) - alone <= alone * make.herd_costs
