"""Every kind of handle that stays is noticed, in this process and in one of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.harness.handles import nothing_stays
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawConnection
from tests.harness.reactor import GET, connect, receive, running

from fastcache._core.handles import held_now
from fastcache._core.reactor import OUT_PENDING, Reactor
from fastcache.origin.process import OriginProcess


async def test_what_a_reactor_holds_is_counted_and_all_of_it_is_given_back() -> None:
    before = held_now()

    def more() -> dict[str, int]:
        return {kind: count - before[kind] for kind, count in held_now().items() if count != before[kind]}

    async with running() as (recorder, address):
        assert more() == {"descriptors": 2}
        recorder.answer = lambda cid, head: None
        with await connect(address) as sock:
            sock.send(GET % 1 + b"the body")
            (_, cid, _), *_ = await recorder.until("request")
            assert more() == {"descriptors": 3, "connections": 1, "head_buffers": 1}
            assert recorder.reactor.recv(cid, 100) == b"the body"
            assert more() == {"descriptors": 3, "connections": 1}
            # A share of a turn at once, and the connection queued for the next.
            assert recorder.reactor.write(cid, bytes(64 * 1024 * 1024)) == OUT_PENDING
            assert more().items() >= {"descriptors": 3, "connections": 1, "outputs": 1}.items()
            recorder.reactor.close(cid)
            assert more().items() <= {"descriptors": 2, "queued_slots": 1}.items()
        recorder.answer = recorder.reply
        with await connect(address) as sock:
            sock.send(GET % 1)
            await receive(sock, 10)
    assert more() == {}


@pytest.mark.parametrize("kind", ["connections", "head_buffers", "outputs", "descriptors"])
async def test_a_test_that_leaves_something_open_fails(kind: str) -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: None
        socks = []

        async def leave() -> None:
            with nothing_stays():
                socks.append(await connect(address))
                socks[0].send(GET % 1 + b"the body")
                (_, cid, _), *_ = await recorder.until("request")
                if kind == "outputs":
                    recorder.reactor.write(cid, bytes(64 * 1024 * 1024))

        with pytest.raises(AssertionError, match=f"still holds: .*'{kind}': 1"):
            await leave()
        socks[0].close()


def test_a_reactor_that_is_only_dropped_gives_everything_back_too() -> None:
    with nothing_stays():
        Reactor(object())  # type: ignore[arg-type]


@pytest.fixture
def forgetful(tmp_path: Path) -> dict[str, str]:
    """The environment of a fastcache that does not shut its reactor down."""
    (tmp_path / "sitecustomize.py").write_text(
        "from fastcache.server import frontend\n"
        "kept = []\n"
        "async def close(self):\n"
        "    kept.append(self.reactor)\n"
        "    self._sweeper.cancel()\n"
        "    self._loop.remove_reader(self.reactor.fileno())\n"
        "frontend.Frontend.close = close\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path}


def test_a_proxy_that_ends_with_something_open_fails_its_test(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], forgetful: dict[str, str]
) -> None:
    proxy = start_fastcache(origin.endpoint, environment=forgetful)
    with RawConnection(proxy.endpoint) as client:
        client.send(b"GET /bkt/o HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        wait_until(lambda: proxy.metric("fastcache_open_connections") == 1, 20, "it is connected")
        with pytest.raises(AssertionError, match="held at the end: 1 connections, 1 head_buffers, 3 descr"):
            proxy.stop()
