"""The steps of a compiled hit, and a whole one: head in, answer out, over a socket of this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastcache._core.fences import Fences
from fastcache._core.leases import Leases
from fastcache._core.reactor import Reactor
from fastcache._core.recogniser import recognised
from fastcache.load.heads import request_head
from fastcache.model import ObjectId, OriginId
from fastcache.observe.access_log import AccessLog
from fastcache.observe.metrics import Metrics
from fastcache.protocol.requests import DEFAULT_LIMITS
from fastcache.server.hit_branch import build_hits

ORIGIN = OriginId("http", "origin", 80)
HOST = b"127.0.0.1:3000"
BOTO3 = request_head("boto3", HOST, b"/bucket/some/key-0")
RANGED = request_head("boto3", HOST, b"/bucket/some/key-0", interval=(100, 1124))
OBJECTS = 100_000


class Nobody:
    """A handler that must not be needed."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the hit branch left a request to the engine ({name})")


@pytest.fixture(scope="module")
def leases() -> Leases:
    """A hundred thousand leases of 4 KiB objects, their bodies in memory."""
    fences = Fences()
    leases = Leases(fences, OBJECTS, OBJECTS * 4096, 1)
    for number in range(OBJECTS):
        path = b"/bucket/some/key-%d" % number
        object_id = ObjectId(ORIGIN, b"bucket", path)
        assert leases.publish(
            HOST,
            path,
            object_id,
            fences.token(object_id),
            proved_at=1.0,
            get_ttl=1e9,
            head_ttl=1e9,
            until=1e9,
            etag=b'"9b2cf535f27731c974343645a3985328"',
            size=4096,
            last_modified=b"Fri, 27 Nov 2026 12:00:00 GMT",
            headers=b"Last-Modified: Fri, 27 Nov 2026 12:00:00 GMT\r\nETag: x\r\nContent-Type: text/plain\r\n",
            checksums=b"",
            not_modified=b"ETag: x\r\n",
            resource=path,
            checksums_known=False,
            memo=bytes(4096),
            extents=[],
        )
    return leases


@pytest.mark.parametrize("head", [BOTO3, RANGED], ids=["whole", "range"])
def test_recognise_a_head(benchmark: BenchmarkFixture, head: bytes) -> None:
    assert benchmark(recognised, head) is not None


def test_look_a_lease_up(benchmark: BenchmarkFixture, leases: Leases) -> None:
    assert benchmark(leases.lookup, HOST, b"/bucket/some/key-77")


@pytest.fixture
def connected(leases: Leases) -> Iterator[tuple[Reactor, socket.socket]]:
    metrics = Metrics()
    hits, _ = build_hits(leases, metrics, AccessLog("off", "-", metrics), DEFAULT_LIMITS, parser="strict")
    reactor = Reactor(Nobody(), hits=hits)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        reactor.listen(server.fileno())
        with socket.create_connection(server.getsockname()) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.settimeout(10)
            reactor.drain()
            assert reactor.connections() == 1
            yield reactor, client
    reactor.shut_down()


@pytest.mark.parametrize("head", [BOTO3, RANGED], ids=["whole", "range"])
def test_a_whole_hit(benchmark: BenchmarkFixture, connected: tuple[Reactor, socket.socket], head: bytes) -> None:
    """One round trip, the client's share included: compare it with itself."""
    reactor, client = connected
    into = bytearray(1 << 16)

    def round_trip() -> int:
        client.sendall(head)
        reactor.drain()
        return client.recv_into(into)

    round_trip()
    assert benchmark(round_trip) > 1024
    assert into.startswith(b"HTTP/1.1 20")
