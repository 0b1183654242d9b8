"""HTTP/1.1 framing on the wire: however requests are cut into segments, each is answered once, in order, and whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from tests.front.conftest import Front, content
from tests.harness.raw import RawConnection, RawResponse

GET_LINE = b"GET /bkt/%b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

_numbers = itertools.count()


def chunked(*pieces: bytes, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    coded = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces)
    return coded + b"0" + extension + b"\r\n" + trailers + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked"

# name, method, fields, what stands behind the head, status, body of the object afterwards (None: not looked at)
CASES: list[tuple[str, bytes, tuple[bytes, ...], bytes, int, bytes | None]] = [
    ("get", b"GET", (), b"", 200, None),
    ("range", b"GET", (b"Range: bytes=10-19",), b"", 206, None),
    ("head", b"HEAD", (), b"", 200, None),
    ("get with an empty body", b"GET", (b"Content-Length: 0",), b"", 200, None),
    ("get with a body", b"GET", (b"Content-Length: 5",), b"12345", 200, None),
    ("get with a chunked body", b"GET", (CHUNKED,), chunked(b"12345"), 200, None),
    ("put", b"PUT", (b"Content-Length: 5",), b"12345", 200, b"12345"),
    ("empty put", b"PUT", (b"Content-Length: 0",), b"", 200, b""),
    ("put without a framing", b"PUT", (), b"", 200, b""),
    ("chunked put", b"PUT", (CHUNKED,), chunked(b"123", b"45"), 200, b"12345"),
    ("empty chunked put", b"PUT", (CHUNKED,), chunked(), 200, b""),
    ("chunk extensions", b"PUT", (CHUNKED,), chunked(b"123", b"45", extension=b';a="b c";d'), 200, b"12345"),
    ("trailers", b"PUT", (CHUNKED, b"Trailer: x-t"), chunked(b"1", trailers=b"x-t: 1\r\nx-u: 2\r\n"), 200, b"1"),
    (
        "a put that looks like a request",
        b"PUT",
        (b"Content-Length: %d" % len(GET_LINE % b"x"),),
        GET_LINE % b"x",
        200,
        GET_LINE % b"x",
    ),
    ("delete", b"DELETE", (), b"", 204, None),
    ("missing object", b"GET", (b"x-case: missing",), b"", 404, None),
]


def make(front: Front, case: tuple[str, bytes, tuple[bytes, ...], bytes, int, bytes | None]) -> tuple[str, bytes]:
    """A key of the case's own and the request's bytes."""
    key = f"case-{next(_numbers)}"
    if case[4] != 404:
        front.origin.control.synthetic("bkt", key, 100)
    return key, front.request(key, *case[2], method=case[1]) + case[3]


def check(
    front: Front, case: tuple[str, bytes, tuple[bytes, ...], bytes, int, bytes | None], key: str, response: RawResponse
) -> None:
    _, method, _, _, status, after = case
    assert response.status == status
    assert response.get(b"connection") is None
    if method == b"GET" and status == 200:
        assert response.body == content(key, 0, 100)
    elif method == b"GET" and status == 206:
        assert response.body == content(key, 10, 20)
    elif method == b"HEAD":
        assert (response.body, response.get(b"content-length")) == (b"", b"100")
    elif status == 404:
        assert b"<Code>NoSuchKey</Code>" in response.body
    if after is not None:
        with front.connect() as other:
            other.send(front.request(key))
            assert other.read_response().body == after


def whole(connection: RawConnection, data: bytes) -> None:
    connection.send(data)


def byte_by_byte(connection: RawConnection, data: bytes) -> None:
    connection.send_byte_by_byte(data)


def in_two(connection: RawConnection, data: bytes) -> None:
    cut = data.find(b"\r\n\r\n") + 3
    connection.send_pieces((data[:cut], data[cut:]))


@pytest.mark.parametrize("send", [whole, byte_by_byte, in_two], ids=["whole", "byte-by-byte", "in-two"])
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_each_request_is_answered_whole_and_so_is_the_one_behind_it(
    front: Front,
    case: tuple[str, bytes, tuple[bytes, ...], bytes, int, bytes | None],
    send: Callable[[RawConnection, bytes], None],
) -> None:
    front.origin.control.synthetic("bkt", "behind", 7)
    key, request = make(front, case)
    with front.connect() as connection:
        send(connection, request)
        check(front, case, key, connection.read_response(case[1]))
        # On the same connection again, this time with the next request in the same segment.
        key, request = make(front, case)
        send(connection, request + front.request("behind"))
        check(front, case, key, connection.read_response(case[1]))
        assert connection.read_response().body == content("behind", 0, 7)
        connection.expect_silence(0.02)


MALFORMED = [
    ("no hexadecimal size", b"x\r\n12345\r\n0\r\n\r\n"),
    ("empty size", b"\r\n12345\r\n0\r\n\r\n"),
    ("negative size", b"-1\r\n12345\r\n0\r\n\r\n"),
    ("size with 0x", b"0x5\r\n12345\r\n0\r\n\r\n"),
    ("size of 17 digits", b"11111111111111111\r\n12345"),
    ("size of 2**64", b"10000000000000000\r\n12345"),
    ("no line end behind a chunk", b"5\r\n12345GET / HTTP/1.1\r\n\r\n"),
    ("bare LF behind the size", b"5\n12345\r\n0\r\n\r\n"),
    ("bare LF behind a chunk", b"5\r\n12345\n0\r\n\r\n"),
    ("space before the size", b" 5\r\n12345\r\n0\r\n\r\n"),
    ("NUL in an extension", b"5;a=\0\r\n12345\r\n0\r\n\r\n"),
    ("trailer without a colon", b"5\r\n12345\r\n0\r\nnonsense\r\n\r\n"),
]


@pytest.mark.parametrize("body", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_malformed_chunked_body_is_400_ends_the_connection_and_changes_no_object(front: Front, body: bytes) -> None:
    front.origin.control.synthetic("bkt", "kept", 10)
    front.origin.control.synthetic("bkt", "behind", 7)
    before = front.origin.control.requests("GET", "behind")
    with front.connect() as connection:
        connection.send(front.request("kept", CHUNKED, method=b"PUT") + body + front.request("behind"))
        response = connection.read_response(b"PUT")
        assert response.status == 400
        assert response.get(b"connection") == b"close"
        assert b"<Error>" in response.body
        connection.expect_close()
    assert front.origin.control.requests("GET", "behind") == before
    with front.connect() as connection:
        connection.send(front.request("kept"))
        assert connection.read_response().body == content("kept", 0, 10)


@pytest.mark.parametrize(
    ("version", "field", "kept"),
    [
        (b"HTTP/1.1", None, True),
        (b"HTTP/1.1", b"Connection: keep-alive", True),
        (b"HTTP/1.1", b"Connection: close", False),
        (b"HTTP/1.1", b"Connection: Keep-Alive, CLOSE", False),
        (b"HTTP/1.0", None, False),
        (b"HTTP/1.0", b"Connection: keep-alive", True),
        (b"HTTP/1.0", b"Connection: close", False),
    ],
)
@pytest.mark.parametrize("key", ["there", "not-there"])
def test_a_connection_is_kept_as_version_and_connection_field_say(
    front: Front, version: bytes, field: bytes | None, kept: bool, key: str
) -> None:
    front.origin.control.synthetic("bkt", "there", 100)
    fields = () if field is None else (field,)
    with front.connect() as connection:
        for _ in range(2):
            connection.send(front.request(key, *fields, version=version))
            response = connection.read_response()
            assert response.status == (200 if key == "there" else 404)
            if key == "there":
                assert response.body == content("there", 0, 100)
            assert b"transfer-encoding" not in {name.lower() for name, _ in response.headers} or version != b"HTTP/1.0"
            if not kept:
                assert response.get(b"connection") == b"close"
                connection.expect_close()
                return
            assert response.get(b"connection") == (b"keep-alive" if version == b"HTTP/1.0" else None)


def test_what_is_pipelined_behind_a_closing_request_is_never_served(front: Front) -> None:
    front.origin.control.synthetic("bkt", "never", 5)
    with front.connect() as connection:
        connection.send(front.request("last", b"Connection: close") + front.request("never"))
        assert connection.read_response().status == 404
        connection.expect_close()
    assert front.origin.control.requests("GET", "never") == 0


def test_an_http_10_request_without_host_is_answered(front: Front) -> None:
    front.origin.control.synthetic("bkt", "ten", 100)
    for _ in range(2):  # a miss, then a hit
        with front.connect() as connection:
            connection.send(b"GET /bkt/ten HTTP/1.0\r\n\r\n")
            response = connection.read_response()
            assert (response.status, response.body) == (200, content("ten", 0, 100))
            connection.expect_close()


def test_a_body_of_unknown_length_ends_an_http_10_connection_and_is_chunked_to_http_11(front: Front) -> None:
    for framing in ("close", "chunked"):
        key = f"unknown-{framing}"
        front.origin.control.synthetic("bkt", key, 5000)
        front.origin.control.fault("framing", value=framing, key=key, count=-1)
        with front.connect() as connection:
            connection.send(front.request(key, b"Connection: keep-alive", version=b"HTTP/1.0"))
            response = connection.read_response()
            assert response.body == content(key, 0, 5000)
            assert response.get(b"transfer-encoding") is None
            connection.expect_close()
        with front.connect() as connection:
            for _ in range(2):
                connection.send(front.request(key))
                response = connection.read_response()
                assert response.body == content(key, 0, 5000)
                assert response.get(b"transfer-encoding") == b"chunked"


def test_hits_misses_writes_and_errors_in_one_pipeline_are_answered_in_order(front: Front) -> None:
    front.origin.control.synthetic("bkt", "mix-hit", 3000)
    front.origin.control.synthetic("bkt", "mix-miss", 70_000)
    with front.connect() as connection:
        connection.send(front.request("mix-hit"))
        connection.read_response()
        requests = [
            (front.request("mix-hit"), b"GET", 200, content("mix-hit", 0, 3000)),
            (front.request("mix-none"), b"GET", 404, None),
            (front.request("mix-put", method=b"PUT", body=b"one"), b"PUT", 200, b""),
            (front.request("mix-put"), b"GET", 200, b"one"),
            (front.request("mix-miss"), b"GET", 200, content("mix-miss", 0, 70_000)),
            (front.request("mix-hit", method=b"HEAD"), b"HEAD", 200, b""),
            (front.request("mix-put", CHUNKED, method=b"PUT") + chunked(b"tw", b"o"), b"PUT", 200, b""),
            (front.request("mix-hit", b"Range: bytes=5-9"), b"GET", 206, content("mix-hit", 5, 10)),
            (front.request("mix-put"), b"GET", 200, b"two"),
            (front.request("mix-hit", b"Range: bytes=9999-"), b"GET", 416, None),
            (front.request("x", host=b"unknown.example"), b"GET", 400, None),
            (front.request("mix-put", method=b"DELETE"), b"DELETE", 204, b""),
            (front.request("mix-put"), b"GET", 404, None),
        ]
        for send in (whole, byte_by_byte):
            send(connection, b"".join(request for request, *_ in requests))
            for request, method, status, body in requests:
                response = connection.read_response(method)
                assert response.status == status, request
                if body is not None:
                    assert response.body == body
        connection.expect_silence(0.02)


def test_a_thousand_pipelined_requests_are_answered_in_order(front: Front) -> None:
    keys = [f"thousand-{n}" for n in range(10)]
    for n, key in enumerate(keys):
        front.origin.control.synthetic("bkt", key, 100 + n)
    with front.connect() as connection:
        connection.send(b"".join(front.request(keys[n % 10]) for n in range(1000)))
        for n in range(1000):
            response = connection.read_response()
            assert response.body == content(keys[n % 10], 0, 100 + n % 10)
    assert sum(front.origin.control.requests("GET", key) for key in keys) == 10


def test_empty_lines_before_a_request_are_skipped_and_nothing_else_is(front: Front) -> None:
    front.origin.control.synthetic("bkt", "lines", 10)
    with front.connect() as connection:
        for lines in (b"\r\n", b"\r\n\r\n"):
            connection.send(lines + front.request("lines"))
            assert connection.read_response().status == 200
        connection.send(b"\n" + front.request("lines"))
        assert connection.read_response().status == 400
        connection.expect_close()
