"""What a client is told when its origin is gone, silent or slow, and that ``cache: off`` changes nothing at all."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.front.conftest import MIB, Front, ScriptedOrigin, content, read_until
from tests.harness import processes
from tests.harness.raw import IncompleteResponseError, RawResponse, exchange

StartFront = Callable[..., Front]
MODES = pytest.mark.parametrize("flags", [(), ("--authorization", "none"), ("--cache", "off")], ids=str)


def check_error(response: RawResponse, status: int, code: str, method: bytes) -> None:
    """An S3 error of our own: XML, both request ids, the same in body and head; to HEAD the head alone."""
    assert response.status == status
    assert response.get(b"content-type") == b"application/xml"
    request_id = response.get(b"x-amz-request-id")
    assert request_id
    assert response.get(b"x-amz-id-2")
    assert response.get(b"date")
    if method == b"HEAD":
        assert response.body == b""
        return
    error = ElementTree.fromstring(response.body)
    assert error.tag == "Error"
    assert error.findtext("Code") == code
    assert error.findtext("RequestId") == request_id.decode()
    assert (
        error.findtext("HostId")
        == response.get(
            b"x-amz-id-2",
        ).decode()
    )  # type: ignore[union-attr]
    assert error.findtext("Resource") == "/bkt/o"
    assert error.findtext("Message")


@MODES
def test_an_origin_that_refuses_connections_is_502(start_front: StartFront, flags: tuple[str, ...]) -> None:
    with processes.refusing_port() as port:
        front = start_front(*flags, endpoint=f"http://127.0.0.1:{port}")
        with front.connect() as connection:
            for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT"):
                connection.send(front.request("o", method=method))
                check_error(connection.read_response(method), 502, "BadGateway", method)
        # An upload is answered too; what is left of its body is not waited for.
        with front.connect() as connection:
            connection.send(front.request("o", b"Content-Length: 1000000", method=b"PUT") + b"x" * 1000)
            check_error(connection.read_response(b"PUT"), 502, "BadGateway", b"PUT")
    assert front.proxy.metric("fastcache_origin_errors_total", kind="connect") == 6
    counted = partial(front.proxy.metric, "fastcache_requests_total", status="502", result="ERROR")
    front.until(lambda: counted() == 6, "each is counted when it is over")


@MODES
def test_an_origin_that_never_answers_is_504_in_time(
    start_front: StartFront, flags: tuple[str, ...], scripted: ScriptedOrigin
) -> None:
    front = start_front(*flags, "--timeouts-first-byte", "300ms", endpoint=scripted.endpoint)
    with front.connect() as connection:
        for method in (b"GET", b"HEAD", b"PUT"):
            started = time.monotonic()
            connection.send(front.request("o", method=method))
            check_error(connection.read_response(method), 504, "GatewayTimeout", method)
            assert 0.25 < time.monotonic() - started < 20
    assert front.proxy.metric("fastcache_origin_errors_total", kind="timeout") == 3


def test_an_origin_that_does_not_accept_is_504_in_time(start_front: StartFront) -> None:
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):  # the queue is full: the kernel drops further SYNs
            blocker = stack.enter_context(socket.socket())
            blocker.setblocking(False)
            blocker.connect_ex(listener.getsockname())
        front = start_front("--timeouts-connect", "1s", endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}")
        response = exchange(front.proxy.endpoint, front.request("o"))
        check_error(response, 504, "GatewayTimeout", b"GET")


NO_ANSWERS = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"nonsense\r\n\r\n",
    "a folded field": b"HTTP/1.1 200 OK\r\n x: y\r\n\r\n",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_an_answer_that_is_none_is_502(start_front: StartFront, scripted: ScriptedOrigin, answer: bytes) -> None:
    front = start_front(endpoint=scripted.endpoint)
    with front.connect() as connection:
        connection.send(front.request("o", method=b"DELETE"))
        with scripted.accept() as peer:
            read_until(peer, b"\r\n\r\n")
            peer.sendall(answer)
        check_error(connection.read_response(b"DELETE"), 502, "BadGateway", b"DELETE")


@MODES
def test_a_body_that_is_cut_by_the_origin_is_never_ended_cleanly(
    start_front: StartFront, flags: tuple[str, ...]
) -> None:
    front = start_front(*flags, "--timeouts-origin-idle", "1s")
    front.origin.control.synthetic("bkt", ["cut", "stalls", "chunks"], MIB)
    for key, fault in (("cut", {"kind": "cut-body"}), ("stalls", {"kind": "stall"}), ("chunks", {"kind": "cut-body"})):
        front.origin.control.fault(fault["kind"], after=300_000, key=key, count=-1)
        if key == "chunks":
            front.origin.control.fault("framing", value="chunked", key=key, count=-1)
        with front.connect() as connection:
            connection.send(front.request(key))
            with pytest.raises(IncompleteResponseError) as cut:
                connection.read_response()
        assert len(cut.value.body) < MIB
        assert cut.value.body == content(key, 0, len(cut.value.body))


def test_the_origins_errors_pass_as_they_are(front: Front) -> None:
    for status in (500, 503, 403, 307):
        front.origin.control.fault("status", status=status, key="o", headers={"Retry-After": "7"})
        direct = exchange(front.origin.endpoint, front.request("o"))
        front.origin.control.fault("status", status=status, key="o", headers={"Retry-After": "7"})
        through = exchange(front.proxy.endpoint, front.request("o"))
        assert (through.status, through.get(b"retry-after")) == (direct.status, b"7")
        without_ids = [ElementTree.fromstring(r.body).findtext("Code") for r in (direct, through)]
        assert without_ids[0] == without_ids[1]


PER_ANSWER = {b"date", b"x-amz-request-id", b"x-amz-id-2"}
OURS = {b"x-cache", b"cache-status"}


def described(response: RawResponse) -> dict[bytes, bytes]:
    return {name.lower(): value for name, value in response.headers if name.lower() not in PER_ANSWER | OURS}


def test_without_a_cache_every_answer_equals_the_origins(start_front: StartFront, tmp_path: Path) -> None:
    front = start_front("--cache", "off")
    control = front.origin.control
    control.synthetic("bkt", "o", 100_000, headers={"x-amz-meta-a": "b", "Content-Type": "text/x"})
    requests = [
        (b"GET", front.request("o")),
        (b"GET", front.request("o")),
        (b"GET", front.request("o", b"Range: bytes=5-9")),
        (b"GET", front.request("o", b"Range: bytes=5-9,20-29")),
        (b"GET", front.request("o", b"Range: bytes=100000-")),
        (b"GET", front.request("o", b'If-None-Match: "x"')),
        (b"GET", front.request("o", b'If-Match: "x"')),
        (b"HEAD", front.request("o", method=b"HEAD")),
        (b"GET", front.request("none")),
        (b"HEAD", front.request("none", method=b"HEAD")),
        (b"PUT", front.request("p", b"x-amz-meta-c: d", method=b"PUT", body=b"12345")),
        (b"GET", front.request("p")),
        (b"DELETE", front.request("p", method=b"DELETE")),
        (b"GET", b"GET /bkt?list-type=2 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        (b"GET", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        (b"OPTIONS", front.request("o", b"Origin: http://a", b"Access-Control-Request-Method: GET", method=b"OPTIONS")),
    ]
    for method, request in requests:
        direct = exchange(front.origin.endpoint, request, method=method)
        through = exchange(front.proxy.endpoint, request, method=method)
        assert through.status == direct.status, request
        if method == b"PUT":  # written twice, in different seconds perhaps
            assert through.get(b"etag") == direct.get(b"etag")
        differing = {
            name: (direct_value, through_value)
            for name in described(direct) | described(through)
            if (direct_value := described(direct).get(name)) != (through_value := described(through).get(name))
        }
        differing.pop(b"last-modified", None)
        assert differing == {}, request
        if direct.status in (200, 206) and b"xml" not in (direct.get(b"content-type") or b""):
            assert through.body == direct.body
        assert {name.lower() for name, _ in through.headers} & OURS == OURS
    assert not front.proxy.cache_directory.exists()
    assert control.body_sent("bkt", "o") > 400_000, "something was answered from a cache"
