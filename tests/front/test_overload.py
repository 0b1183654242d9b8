"""Too many connections, requests, addresses and descriptors: said clearly, survived, and over when it is over."""

from __future__ import annotations

import contextlib
import resource
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.front.conftest import MIB, Front, content, wait
from tests.harness import processes
from tests.harness.raw import RawConnection, RawResponse

StartFront = Callable[..., Front]


def check_slow_down(response: RawResponse) -> None:
    assert response.status == 503
    assert b"<Code>SlowDown</Code>" in response.body
    assert response.get(b"retry-after") == b"1"


def test_connections_beyond_the_limit_are_told_to_slow_down_until_there_is_room(start_front: StartFront) -> None:
    front = start_front("--limits-max-connections", "4", "--authorization", "none")
    front.origin.control.synthetic("bkt", "o", 100)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(front.connect()) for _ in range(4)]
        for connection in held:
            connection.send(front.request("o"))
            assert connection.read_response().status == 200
        for _ in range(10):
            with front.connect() as surplus:
                surplus.send(front.request("o"))
                response = surplus.read_response()
                check_slow_down(response)
                assert response.get(b"connection") == b"close"
                surplus.expect_close()
        assert front.proxy.metric("fastcache_refused_total", reason="connections") == 10
        held[0].send(front.request("o"))
        assert held[0].read_response().status == 200, "one that was there first is served on"
        late = stack.enter_context(front.connect())
        held[1].close()
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == 4, "one is closed")
        late.send(front.request("o"))
        assert late.read_response().body == content("o", 0, 100)
    front.until_idle()


@pytest.mark.slow
def test_surplus_connections_that_say_nothing_make_room_for_others(start_front: StartFront) -> None:
    front = start_front("--limits-max-connections", "1")
    with front.connect(), contextlib.ExitStack() as stack:
        for _ in range(30):  # more than are accepted to be refused
            stack.enter_context(front.connect())
        with front.connect() as last:
            last.send(front.request("o"))
            check_slow_down(last.read_response())


def test_requests_beyond_the_limit_are_told_to_slow_down_and_keep_their_connection(start_front: StartFront) -> None:
    front = start_front("--limits-max-requests-in-flight", "2")
    control = front.origin.control
    control.synthetic("bkt", ["slow-1", "slow-2", "o"], 1000)
    control.settings(bandwidth_connection=10)
    with front.connect() as one, front.connect() as two, front.connect() as three, front.connect() as four:
        one.send(front.request("slow-1"))
        two.send(front.request("slow-2"))
        front.until(lambda: front.proxy.metric("fastcache_origin_requests_total") == 2, "both are with the origin")
        for method in (b"GET", b"HEAD", b"DELETE"):
            three.send(front.request("o", method=method))
            response = three.read_response(method)
            assert (response.status, response.get(b"retry-after")) == (503, b"1")
            assert response.get(b"connection") is None
        four.send(front.request("o", method=b"PUT", body=b"x" * 100_000))
        response = four.read_response(b"PUT")
        check_slow_down(response)
        assert response.get(b"connection") == b"close"
        control.settings(bandwidth_connection=0)
        assert one.read_response().body == content("slow-1", 0, 1000)
        assert two.read_response().body == content("slow-2", 0, 1000)
        front.until(lambda: front.proxy.metric("fastcache_requests_total", status="200") == 2, "both permits are back")
        three.send(front.request("o"))
        assert three.read_response().status == 200
    assert front.proxy.metric("fastcache_refused_total", reason="requests") == 4
    assert control.requests(key="o") == 1


def test_the_permit_is_held_to_the_end_of_the_body(start_front: StartFront) -> None:
    front = start_front("--limits-max-requests-in-flight", "1")
    front.origin.control.synthetic("bkt", "large", 24 * MIB)
    with front.connect() as reading, front.connect() as other:
        reading.send(front.request("large"))
        head = reading.read_head()
        other.send(front.request("large"))
        check_slow_down(other.read_response())
        reading.read_exactly(24 * MIB, head)
        front.until(lambda: front.proxy.metric("fastcache_requests_total", status="200") == 1, "its permit is back")
        other.send(front.request("o", b"Range: bytes=0-0"))
        assert other.read_response().status == 404


def send_from(front: Front, address: str, request: bytes) -> bytes:
    parts = urlsplit(front.proxy.endpoint)
    with socket.create_connection((parts.hostname, parts.port), 20, source_address=(address, 0)) as sock:  # type: ignore[arg-type]
        sock.sendall(request)
        received = b""
        while piece := sock.recv(65536):
            received += piece
        return received


def test_only_the_networks_named_are_served(start_front: StartFront) -> None:
    front = start_front("--allow-from", "127.0.0.1/32,127.1.0.0/16")
    front.origin.control.synthetic("bkt", "o", 100)
    last = front.request("o", b"Connection: close")
    for address in ("127.0.0.1", "127.1.2.3"):
        assert send_from(front, address, last).startswith(b"HTTP/1.1 200 ")
    front.origin.control.reset()
    for address in ("127.0.0.2", "127.2.0.1"):
        refused = send_from(front, address, front.request("o") + front.request("o"))
        assert refused.startswith(b"HTTP/1.1 403 ")
        assert refused.count(b"<Code>AccessDenied</Code>") == 1
        refused = send_from(front, address, front.request("o", method=b"HEAD"))
        assert refused.startswith(b"HTTP/1.1 403 ")
        assert refused.endswith(b"\r\n\r\n")
    assert front.origin.control.log() == []
    assert front.proxy.metric("fastcache_refused_total", reason="address") == 4


def descriptors(front: Front) -> int:
    return sum(1 for _ in Path(f"/proc/{front.proxy.worker}/fd").iterdir())


MODES = pytest.mark.parametrize("flags", [(), ("--authorization", "none")], ids=["revalidate", "none"])


@MODES
def test_a_small_limit_of_descriptors_leaves_enough_for_what_connections_ask(
    start_front: StartFront, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = processes.start

    def limited(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[bytes]:
        return start(["prlimit", "--nofile=256:256", "--", *command], **options)

    monkeypatch.setattr(processes, "start", limited)
    front = start_front(*flags, "--timeouts-pool-idle", "200ms")
    assert "instead of 4096" in front.proxy.stderr.read_text()
    front.origin.control.synthetic("bkt", [f"o{n}" for n in range(20)], 100_000)
    with front.connect() as connection:
        connection.send(front.request("o0"))
        assert connection.read_response().status == 200
        before = front.sockets()
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(front.connect()) for _ in range(600)]
            front.until(lambda: descriptors(front) > 150, "the crowd is there")
            used = front.cpu_seconds()
            wait(1.5)
            assert front.cpu_seconds() - used < 0.5, "a loop that spins"
            for n in range(20):
                for asking in (connection, crowd[n]):
                    asking.send(front.request(f"o{n}"))
                    assert asking.read_response().body == content(f"o{n}", 0, 100_000)
            assert descriptors(front) < 256
        front.until(lambda: front.sockets() <= before, "the crowd is gone")
    front.until_idle()


@MODES
def test_running_out_of_descriptors_all_the_same_is_502_without_a_busy_loop_and_ends(
    start_front: StartFront, flags: tuple[str, ...]
) -> None:
    front = start_front(*flags, "--limits-max-connections", "1000", "--timeouts-pool-idle", "200ms")
    front.origin.control.synthetic("bkt", [f"o{n}" for n in range(8)], 100_000)
    with front.connect() as connection:
        connection.send(front.request("o0"))
        assert connection.read_response().status == 200
        before = front.sockets()
        resource.prlimit(front.proxy.worker, resource.RLIMIT_NOFILE, (80, 1000))
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(front.connect())
            front.until(lambda: descriptors(front) >= 79, "every descriptor is in use")
            used = front.cpu_seconds()
            wait(2.0)
            assert front.cpu_seconds() - used < 0.5, "a loop that spins"
            statuses = []
            for n in range(8):
                connection.send(front.request(f"o{n}"))
                statuses.append(connection.read_response().status)
            # The pool's connection was closed meanwhile and its descriptor is a client's now.
            assert set(statuses[1:]) == {502}
            assert statuses[0] in (200, 502)
        front.until(lambda: front.sockets() <= before, "the crowd is gone")
        for n in range(8):
            connection.send(front.request(f"o{n}"))
            assert connection.read_response().body == content(f"o{n}", 0, 100_000)
    with RawConnection(front.proxy.endpoint) as newcomer:
        newcomer.send(front.request("o1"))
        assert newcomer.read_response().status == 200
    assert "unexpected way" not in front.proxy.stderr.read_text()
