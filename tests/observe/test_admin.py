"""The admin endpoint over real sockets: state, metrics, refusals, and a clean guest in the event loop."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastcache import __version__
from fastcache.errors import ConfigError
from fastcache.observe.metrics import Metrics
from fastcache.server.admin import AdminServer, is_local_host
from fastcache.server.health import Health, Status


class State:
    def __init__(self) -> None:
        self.health = Health(Status.OK)

    def __call__(self) -> Health:
        return self.health


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
async def server(state: State) -> AsyncIterator[AdminServer]:
    admin = AdminServer("127.0.0.1", 0, state, Metrics())
    await admin.start()
    yield admin
    await admin.stop()


async def ask(
    server: AdminServer, path: str, method: str = "GET", hosts: tuple[str, ...] = ("127.0.0.1",)
) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    lines = [f"{method} {path} HTTP/1.1", *(f"Host: {host}" for host in hosts), "Connection: close"]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    raw = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    await writer.wait_closed()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
    return int(first.split()[1]), headers, body


async def test_ready_is_200_and_names_the_version(server: AdminServer) -> None:
    status, headers, body = await ask(server, "/health")
    assert (status, json.loads(body)) == (200, {"status": "ok", "version": __version__})
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


@pytest.mark.parametrize("status", [Status.STARTING, Status.DRAINING, Status.FAILING])
async def test_not_ready_is_503_with_the_reasons(server: AdminServer, state: State, status: Status) -> None:
    state.health = Health(status, ("origin https://o.test:443 does not answer",))
    code, _, body = await ask(server, "/health")
    assert code == 503
    assert json.loads(body) == {
        "status": status.value,
        "version": __version__,
        "reasons": ["origin https://o.test:443 does not answer"],
    }


async def test_metrics_are_a_parsable_exposition(server: AdminServer) -> None:
    status, headers, body = await ask(server, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"fastcache_requests", "fastcache_build_info"} <= names


async def test_metrics_may_be_gathered_first(state: State) -> None:
    class Gathers:
        async def render(self) -> tuple[bytes, str]:
            await asyncio.sleep(0)
            return b"gathered 1\n", "text/plain"

    admin = AdminServer("127.0.0.1", 0, state, Gathers())
    await admin.start()
    try:
        assert (await ask(admin, "/metrics"))[2] == b"gathered 1\n"
    finally:
        await admin.stop()


async def test_head_is_get_without_the_body(server: AdminServer) -> None:
    for path in ("/", "/health", "/metrics"):
        status, headers, body = await ask(server, path, "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 0


async def test_the_index_names_the_endpoints(server: AdminServer) -> None:
    _, _, body = await ask(server, "/")
    assert b"/health" in body
    assert b"/metrics" in body


@pytest.mark.parametrize("path", ["/other", "/health/", "/metrics/x", "//health", "/docs"])
async def test_everything_else_is_404_as_json(server: AdminServer, path: str) -> None:
    status, headers, body = await ask(server, path)
    assert (status, headers["content-type"]) == (404, "application/json")
    assert set(json.loads(body)) == {"error"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_only_reading_is_possible(server: AdminServer, method: str) -> None:
    status, headers, body = await ask(server, "/health", method)
    assert status == 405
    assert {each.strip() for each in headers["allow"].split(",")} == {"GET", "HEAD"}
    assert set(json.loads(body)) == {"error"}


@pytest.mark.parametrize("hosts", [("localhost:1",), ("127.0.0.1:9",), ("[::1]:80",), ("10.1.2.3",)])
async def test_addresses_and_localhost_are_served(server: AdminServer, hosts: tuple[str, ...]) -> None:
    assert (await ask(server, "/health", hosts=hosts))[0] == 200


@pytest.mark.parametrize("hosts", [("evil.test",), ("localhost.evil.test:80",), ("127.0.0.1", "evil.test")])
async def test_a_rebound_name_is_refused_before_anything_is_read(server: AdminServer, hosts: tuple[str, ...]) -> None:
    status, _, body = await ask(server, "/metrics", hosts=hosts)
    assert status in (400, 403)
    assert b"fastcache_" not in body


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (b"LOCALHOST", True),
        (b"[::1]", True),
        (b"127.0.0.1", True),
        (b"", False),
        (b"[::1", False),
        (b"[::1]x", False),
        (b"localhost:80a", False),
        (b"127.0.0.1.evil.test", False),
        (b"\xff\xfe", False),
    ],
)
def test_a_local_host_is_told_from_a_name(host: bytes, local: bool) -> None:
    assert is_local_host(host) is local


async def test_names_are_served_on_an_address_that_is_not_loopback(state: State) -> None:
    admin = AdminServer("0.0.0.0", 0, state, Metrics())
    await admin.start()
    try:
        assert (await ask(admin, "/health", hosts=("cache-3.internal:9100",)))[0] == 200
    finally:
        await admin.stop()


async def test_a_failing_state_is_500_without_its_text(server: AdminServer, state: State) -> None:
    class Broken(State):
        @property
        def status(self) -> Status:
            raise RuntimeError("inner detail")

    state.health = Broken()  # type: ignore[assignment]
    status, _, body = await ask(server, "/health")
    assert (status, json.loads(body)) == (500, {"error": "internal error"})


async def test_a_port_in_use_is_a_setting_to_correct(server: AdminServer, state: State) -> None:
    other = AdminServer("127.0.0.1", server.port, state, Metrics())
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{server.port}.*[Aa]ddress already in use"):
        await other.start()
    await other.stop()
    assert (await ask(server, "/health"))[0] == 200


async def test_an_unknown_name_is_a_setting_to_correct(state: State) -> None:
    with pytest.raises(ConfigError, match=r"no-such-name\.invalid"):
        await AdminServer("no-such-name.invalid", 0, state, Metrics()).start()


async def test_it_starts_and_stops_twice_and_leaves_signals_and_port_alone(state: State) -> None:
    def mine(*_: object) -> None:
        raise AssertionError("not raised in this test")

    before = {number: signal.signal(number, mine) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        admin = AdminServer("127.0.0.1", 0, state, Metrics())
        for _ in range(2):
            await admin.start()
            assert {signal.getsignal(number) for number in before} == {mine}
            port = admin.port
            assert (await ask(admin, "/health"))[0] == 200
            await admin.stop()
            with pytest.raises(RuntimeError):
                _ = admin.port
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", port)) != 0
        assert {signal.getsignal(number) for number in before} == {mine}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def test_an_idle_connection_does_not_hold_up_the_stop(state: State) -> None:
    admin = AdminServer("127.0.0.1", 0, state, Metrics())
    await admin.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", admin.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.wait_for(admin.stop(), 20)
    writer.close()
