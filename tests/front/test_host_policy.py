"""Which names a client may call this cache by, and what the name says about the bucket (SEMANTICS 3)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from tests.front.conftest import Front, content
from tests.harness.raw import RawResponse

from fastcache.origin.process import OriginProcess

StartFront = Callable[..., Front]


def get(front: Front, target: str, host: bytes, *, method: bytes = b"GET") -> RawResponse:
    with front.connect() as connection:
        connection.send(b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, target.encode(), host))
        return connection.read_response(method)


@pytest.fixture(scope="module")
def proxy_flags() -> tuple[str, ...]:
    """Called ``cache.example``, with virtual-hosted buckets under ``s3.example``."""
    return ("--hosts", "cache.example", "--virtual-host-suffixes", "s3.example", "--authorization", "none")


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1",
        b"127.0.0.1:3000",
        b"10.11.12.13",
        b"[::1]",
        b"[2001:db8::1]:80",
        b"localhost",
        b"LOCALHOST:3000",
        b"cache.example",
        b"Cache.Example.:443",
        b"s3.example",
        socket.gethostname().encode(),
    ],
)
def test_every_name_of_this_cache_is_path_style_and_one_identity(front: Front, host: bytes) -> None:
    front.origin.control.synthetic("bkt", "o", 100)
    get(front, "/bkt/o", b"127.0.0.1")
    front.origin.control.reset()
    response = get(front, "/bkt/o", host)
    assert (response.status, response.body) == (200, content("o", 0, 100))
    assert response.get(b"x-cache") == b"HIT"
    assert front.origin.control.requests() == 0


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"DELETE", b"POST", b"OPTIONS"])
@pytest.mark.parametrize(
    "host",
    [b"evil.store", b"bkt.evil.store", b"cache.example.evil.store", b"notcache.example", b"bkts3.example", b"1.2.3"],
)
def test_an_unknown_name_is_400_that_says_what_to_do_and_nothing_is_forwarded(
    front: Front, host: bytes, method: bytes
) -> None:
    response = get(front, "/bkt/o", host, method=method)
    assert response.status == 400
    assert response.get(b"content-type") == b"application/xml"
    assert response.get(b"x-amz-request-id")
    if method != b"HEAD":
        error = ElementTree.fromstring(response.body)
        assert error.tag == "Error"
        assert host.decode() in (error.findtext("Message") or "")
        assert "hosts:" in (error.findtext("Message") or "")
    assert front.origin.control.log() == []


def test_an_unknown_name_ends_no_connection_and_warms_nothing(front: Front) -> None:
    """A server that reads an unknown Host as the bucket would answer with another object under the victim's name."""
    control = front.origin.control
    control.synthetic("evil.store", "victim/key", 50)
    control.synthetic("victim", "key", 100)
    with front.connect() as connection:
        connection.send(b"GET /victim/key HTTP/1.1\r\nHost: evil.store\r\n\r\n")
        assert connection.read_response().status == 400
        connection.send(b"GET /victim/key HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        response = connection.read_response()
    assert (response.status, response.body) == (200, content("key", 0, 100))
    assert response.get(b"x-cache") == b"MISS"


def test_path_style_and_virtual_hosted_names_of_a_bucket_are_one_entry(front: Front) -> None:
    control = front.origin.control
    control.synthetic("bkt", ["a", "dir/b"], 100)
    for first, second in (
        (("/bkt/a", b"127.0.0.1"), ("/a", b"bkt.s3.example:3000")),
        (("/dir/b", b"BKT.s3.example"), ("/bkt/dir/b", b"cache.example")),
    ):
        # The origin of these tests knows no virtual hosts, so a warming request in that style must not reach it.
        if first[1].lower().startswith(b"bkt."):
            first, second = second, first
        warm = get(front, *first)
        control.reset()
        hit = get(front, *second)
        assert (hit.status, hit.body, hit.get(b"x-cache")) == (200, warm.body, b"HIT")
        assert control.requests() == 0


def test_a_write_to_one_style_ends_what_the_other_has(front: Front) -> None:
    control = front.origin.control
    control.synthetic("bkt", "w", 100)
    assert get(front, "/bkt/w", b"127.0.0.1").status == 200
    assert get(front, "/w", b"bkt.s3.example").get(b"x-cache") == b"HIT"
    get(front, "/w", b"bkt.s3.example", method=b"DELETE")  # whatever the origin makes of it
    control.reset()
    assert get(front, "/bkt/w", b"127.0.0.1").get(b"x-cache") != b"HIT"


def test_the_endpoints_own_name_is_accepted(start_front: StartFront, open_origin: OriginProcess) -> None:
    port = open_origin.port
    front = start_front("--authorization", "none", endpoint=f"http://localhost:{port}")
    front.origin.control.synthetic("bkt", "o", 100)
    assert get(front, "/bkt/o", b"localhost:%d" % port).status == 200


def test_host_reaches_the_origin_as_it_was_sent(start_front: StartFront, open_origin: OriginProcess) -> None:
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        front = start_front("--hosts", "cache.example", endpoint=f"http://127.0.0.1:{server.getsockname()[1]}")
        for host in (b"Cache.Example:81", b"127.0.0.1:9", b"localhost"):
            with front.connect() as connection:
                connection.send(b"GET /bkt/o HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
                peer, _ = server.accept()
                with peer:
                    seen.append(peer.recv(65536))
                    peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                assert connection.read_response().status == 404
            assert b"\r\nHost: %b\r\n" % host in seen[-1]
            assert seen[-1].lower().count(b"\r\nhost:") == 1
