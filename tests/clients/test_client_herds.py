"""P-17 with every client: eight first readers of one object move no more from the origin than one of them does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.clients.reader import Reader
from tests.clients.readers import READERS
from tests.clients.sites import Site

from fastcache.origin.process import OriginProcess

MIB = 1024 * 1024
MANY = 8


@pytest.fixture
def slow_origin(origin: OriginProcess) -> Iterator[OriginProcess]:
    """Slow enough for every reader to arrive during the transfer."""
    origin.control.settings(latency=0.1, bandwidth_connection=16 * MIB)
    yield origin
    origin.control.settings(latency=0, bandwidth_connection=0)


CASES = [
    pytest.param(
        mode, make, id=f"{mode}-{name}", marks=[pytest.mark.slow] if mode == "none" or make.starts_slowly else []
    )
    for mode in ("revalidate", "none")
    for name, make in READERS.items()
]


@pytest.mark.parametrize(("own_site", "make"), CASES, indirect=["own_site"])
def test_many_first_readers_move_what_one_does(own_site: Site, slow_origin: OriginProcess, make: type[Reader]) -> None:
    reader, bucket = make(own_site), own_site.new_bucket()
    body = make.body("herd", make.large)
    for key in ("alone", "herd"):
        slow_origin.control.put(bucket, key, body)
    assert reader.whole(bucket, "alone") == make.result(body)
    alone = own_site.moved(bucket)
    followers = own_site.proxy.metric("fastcache_followers_total")
    ready = threading.Barrier(MANY)

    def one(_: int) -> bool:
        ready.wait(30)
        return reader.whole(bucket, "herd") == make.result(body)

    with ThreadPoolExecutor(MANY) as pool:
        assert all(pool.map(one, range(MANY)))
    if make.large > MIB:  # who waited for the head of a small piece may find it whole
        assert own_site.proxy.metric("fastcache_followers_total") > followers, "nobody followed: nothing is proven"
    assert own_site.moved(bucket) - alone <= alone * make.herd_costs
