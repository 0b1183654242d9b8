"""SIGTERM: what is under way ends well, what is idle ends at once, and nobody new is let in."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from tests.front.conftest import MIB, Front, content
from tests.harness.raw import IncompleteResponseError

StartFront = Callable[..., Front]


def health(front: Front) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"{front.proxy.admin}/health", timeout=20) as response:
            return response.status, json.load(response)["status"]
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["status"]


def refuses_connections(front: Front) -> bool:
    parts = urlsplit(front.proxy.endpoint)
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex((parts.hostname, parts.port)) != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_transfer_in_flight_finishes_before_the_process_ends_with_0(start_front: StartFront, number: int) -> None:
    front = start_front("--authorization", "none")
    size = 8 * MIB
    front.origin.control.synthetic("bkt", ["long", "o"], size)
    front.origin.control.settings(bandwidth_connection=MIB // 8)
    assert health(front) == (200, "ok")
    with front.connect() as busy, front.connect() as idle, front.connect() as fresh, front.connect() as typing:
        idle.send(front.request("o", b"Range: bytes=0-0"))
        assert idle.read_response().status == 206
        busy.send(front.request("long") + front.request("o"))
        head = busy.read_head()
        typing.send(b"GET /bkt/o HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: bytes=0-9\r\n")
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == 4, "all are connected")
        front.proxy.signal(number)
        idle.expect_close()
        fresh.expect_close()
        front.until(lambda: health(front) == (503, "draining"), "the drain is told of")
        assert refuses_connections(front)
        # A head that was begun may end, and is told that it is the last one here.
        typing.send(b"\r\n")
        response = typing.read_response()
        assert (response.status, response.body) == (206, content("o", 0, 10))
        assert response.get(b"connection") == b"close"
        typing.expect_close()
        front.origin.control.settings(bandwidth_connection=0)
        assert busy.read_exactly(size, head) == content("long", 0, size)
        busy.expect_close()  # the request pipelined behind it is for another instance
    front.proxy.stop(within=10)
    assert "draining" in front.proxy.stderr.read_text()
    assert front.origin.control.requests("GET", "long") == 1


def test_an_upload_in_flight_finishes_too(start_front: StartFront) -> None:
    front = start_front()
    with front.connect() as connection:
        connection.send(front.request("up", b"Content-Length: 10", method=b"PUT") + b"01234")
        front.until(lambda: front.proxy.metric("fastcache_origin_requests_total") == 1, "it is under way")
        front.proxy.signal(signal.SIGTERM)
        front.until(lambda: health(front) == (503, "draining"), "the drain is told of")
        connection.send(b"56789")
        response = connection.read_response(b"PUT")
        assert response.status == 200
        assert response.get(b"connection") == b"close" or response.get(b"connection") is None
        connection.expect_close()
    front.proxy.stop(within=10)


def test_an_idle_process_ends_at_once(start_front: StartFront) -> None:
    front = start_front()
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(front.connect())
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == 50, "all are connected")
        front.proxy.stop(within=10)  # a third of the drain limit


def test_what_is_not_done_at_the_drain_limit_is_cut_and_the_exit_is_still_0(start_front: StartFront) -> None:
    front = start_front("--timeouts-drain", "1s")
    size = 64 * MIB
    front.origin.control.synthetic("bkt", "long", size)
    front.origin.control.settings(bandwidth_connection=MIB)
    with front.connect() as connection:
        connection.send(front.request("long"))
        head = connection.read_head()
        connection.read_exactly(1000, head)
        started = time.monotonic()
        front.proxy.signal(signal.SIGTERM)
        with pytest.raises(IncompleteResponseError) as cut:
            connection.read_exactly(size, head)
        assert cut.value.reset, "a clean end would be taken for the whole"
        assert 0.5 < time.monotonic() - started < 20
    front.proxy.stop(within=10)
    assert "1 requests were still in flight after the drain limit" in front.proxy.stderr.read_text()


def test_signals_that_keep_coming_until_the_process_is_gone_do_not_change_its_exit_status(
    start_front: StartFront,
) -> None:
    """Between the end of the loop and that of the process, SIGTERM would be what it is by default."""
    front = start_front()
    process = front.proxy.process
    while process.poll() is None:
        front.proxy.signal(signal.SIGTERM)
        time.sleep(0.0005)
    assert process.returncode == 0


def test_a_second_signal_changes_nothing(start_front: StartFront) -> None:
    front = start_front()
    front.origin.control.synthetic("bkt", "o", 10)
    front.origin.control.fault("latency", seconds=1.0, key="o")
    with front.connect() as connection:
        connection.send(front.request("o"))
        front.until(lambda: front.proxy.metric("fastcache_origin_requests_total") == 1, "it is under way")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            front.proxy.signal(number)
        assert connection.read_response().body == content("o", 0, 10)
    front.proxy.stop(within=10)
