"""What an idle keep-alive connection costs (P-20)."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable

import pytest
from tests.front.conftest import Front

StartFront = Callable[..., Front]
KIB = 1024


def cost_of_idle(front: Front, count: int) -> float:
    """Bytes of the proxy's memory for each of ``count`` connections that had a miss, a hit and a large head."""
    front.origin.control.synthetic("bkt", "o", 50_000)
    large = front.request("o", *(b"x-%d: %b" % (n, b"y" * 600) for n in range(90)))
    with contextlib.ExitStack() as stack:
        for request in (front.request("o"), large, front.request("o")):  # what is made once is made now
            with front.connect() as connection:
                connection.send(request)
                assert connection.read_response().status == 200
        before = front.resident()
        for n in range(count):
            connection = stack.enter_context(front.connect())
            connection.send(large if n % 4 == 0 else front.request("o", b"Range: bytes=0-9"))
            assert connection.read_response().status in (200, 206)
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == count, "all are connected and idle")
        return (front.resident() - before) / count


@pytest.mark.memory
def test_a_thousand_idle_connections_cost_little(start_front: StartFront) -> None:
    front = start_front("--authorization", "none")
    assert cost_of_idle(front, 1000) <= 16 * KIB


@pytest.mark.slow
@pytest.mark.memory
def test_ten_thousand_idle_connections_cost_little_and_all_are_still_served(start_front: StartFront) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 10_500
    if hard < needed:
        pytest.skip(f"RLIMIT_NOFILE is {hard}, {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    front = start_front("--authorization", "none", "--limits-max-connections", "11000", "--timeouts-keep-alive", "10m")
    assert cost_of_idle(front, 10_000) <= 16 * KIB
    front.until_idle()
