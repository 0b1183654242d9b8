"""No request smuggling, end to end: the refused heads of the protocol's table, with a request hidden behind each."""

from __future__ import annotations

import itertools
import re

import pytest
from tests.front.conftest import Front, content
from tests.harness.raw import RawConnection
from tests.protocol.test_smuggling import REFUSED

HIDDEN = b"GET /bkt/hidden HTTP/1.1\r\nHost: a\r\n\r\n"
# No complete head, or one that the connection ends elsewhere than the parser's unit test does.
_NOT_ON_THE_WIRE = {"head cut", "nothing", "only an empty line", "two empty lines before", "bytes after the head"}
CASES = [case for case in REFUSED if case[0] not in _NOT_ON_THE_WIRE]


@pytest.fixture(scope="module")
def proxy_flags() -> tuple[str, ...]:
    """The table's hosts are accepted, so that none of its cases is refused for its host name alone."""
    return ("--hosts", "a,b", "--authorization", "none")


_numbers = itertools.count()


def everything(connection: RawConnection) -> bytes:
    """What comes until the peer closes."""
    connection.socket.settimeout(20)
    received = b""
    while piece := connection.socket.recv(65536):
        received += piece
    return received


def test_an_ambiguous_head_is_refused_and_nothing_of_it_or_behind_it_reaches_the_origin(front: Front) -> None:
    front.origin.control.synthetic("bkt", "hidden", 10)
    for name, raw, status in CASES:
        for data in (raw + HIDDEN, raw + b"5\r\n12345\r\n0\r\n\r\n" + HIDDEN, raw + b"12345" + HIDDEN):
            with front.connect() as connection:
                connection.send(data)
                received = everything(connection)
            assert received.startswith(b"HTTP/1.1 %d " % status), (name, received[:300])
            assert len(re.findall(rb"HTTP/1\.1 [0-9]", received)) == 1, (name, received)
            assert b"\r\nConnection: close\r\n" in received, name
            assert b"not one of this cache" not in received, name
    assert front.origin.control.log() == []


@pytest.mark.parametrize(
    "fields",
    [
        (b"Content-Length: 37",),
        (b"Content-Length: 37", b"Content-Type: text/plain"),
        (b"Content-Length: 037",),
        (b"Transfer-Encoding: Chunked",),
    ],
)
def test_a_request_inside_a_body_stays_in_the_body(front: Front, fields: tuple[bytes, ...]) -> None:
    """The same bytes where they are unambiguous: they are data, and what follows them is the next request."""
    outer, behind = f"outer-{next(_numbers)}", f"next-{next(_numbers)}"
    front.origin.control.synthetic("bkt", behind, 10)
    assert len(HIDDEN) == 37
    body = HIDDEN if b"Content-Length" in fields[0] else b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
    with front.connect() as connection:
        connection.send(front.request(outer, *fields, method=b"PUT") + body + front.request(behind))
        assert connection.read_response(b"PUT").status == 200
        assert connection.read_response().body == content(behind, 0, 10)
        connection.send(front.request(outer))
        assert connection.read_response().body == HIDDEN
    assert [(entry["method"], entry["key"]) for entry in front.origin.control.log()] == [
        ("PUT", outer),
        ("GET", behind),
        ("GET", outer),
    ]


def test_hop_by_hop_fields_and_what_connection_names_stay_here(front: Front) -> None:
    with front.connect() as connection:
        connection.send(
            front.request(
                "hop",
                b"Connection: x-mine, upgrade",
                b"X-Mine: 1",
                b"X-Yours: 2",
                b"Keep-Alive: timeout=5",
                b"Proxy-Authorization: Basic x",
                b"Proxy-Connection: keep-alive",
                b"TE: trailers",
                b"Upgrade: h2c",
            )
        )
        assert connection.read_response().status == 404
    (entry,) = front.origin.control.log()
    assert {name.lower() for name in entry["headers"]} == {"host", "x-yours"}


def test_an_answer_of_the_origin_cannot_answer_the_next_request(front: Front) -> None:
    """Bytes behind an answer's end belong to nobody: they must not be read as the answer to whoever comes next. Those
    that come after the next request went out are its answer to all who speak HTTP/1.1; here they come before."""
    forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    for key in ("one", "two"):
        front.origin.control.synthetic("bkt", key, 10)
    front.origin.control.fault("extra-bytes", value=forged, key="one", count=1)
    with front.connect() as connection:
        connection.send(front.request("one"))
        assert connection.read_response().body == content("one", 0, 10)
        log = front.origin.control.log
        front.until(lambda: all(entry["complete"] for entry in log()), "what follows is sent too")
        connection.send(front.request("two"))
        assert connection.read_response().body == content("two", 0, 10)


def test_the_body_announced_by_an_answer_to_head_swallows_no_other_answer(front: Front) -> None:
    for key in ("head", "after"):
        front.origin.control.synthetic("bkt", key, 1000)
    with front.connect() as connection:
        for _ in range(3):
            connection.send(front.request("head", method=b"HEAD") + front.request("after"))
            assert connection.read_response(b"HEAD").get(b"content-length") == b"1000"
            assert connection.read_response().body == content("after", 0, 1000)
