"""HTTP itself: connections, framing of requests, 100-continue, and what is no request."""

from __future__ import annotations

import base64
import time
import zlib

import pytest
from tests.harness.raw import RawConnection, exchange

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess


def put(bucket: str, key: str, *fields: str) -> bytes:
    return "\r\n".join([f"PUT /{bucket}/{key} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def get(bucket: str, key: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} /{bucket}/{key} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


@pytest.fixture
def made(anyone: OriginProcess, bucket: str) -> str:
    anyone.control.bucket(bucket)
    return bucket


def test_pipelined_requests_are_answered_in_order(anyone: OriginProcess, made: str) -> None:
    sizes = [0, 10, 200_000, 3, 70_000] * 20
    for size in set(sizes):
        anyone.control.synthetic(made, f"k{size}", size)
    with RawConnection(anyone.endpoint) as connection:
        connection.send(b"".join(get(made, f"k{size}") for size in sizes))
        for size in sizes:
            assert connection.read_response().body == pattern(b"k%d" % size, 1, 0, size)


def test_requests_arrive_in_any_pieces(anyone: OriginProcess, made: str) -> None:
    with RawConnection(anyone.endpoint) as connection:
        connection.send_byte_by_byte(put(made, "k", "Content-Length: 5") + b"hello" + get(made, "k"))
        assert connection.read_response(b"PUT").status == 200
        assert connection.read_response().body == b"hello"


def test_a_head_has_the_length_but_no_body(anyone: OriginProcess, made: str) -> None:
    anyone.control.synthetic(made, "k", 200_000)
    with RawConnection(anyone.endpoint) as connection:
        connection.send(get(made, "k", method="HEAD") + get(made, "none", method="HEAD") + get(made, "k"))
        assert connection.read_response(b"HEAD").get(b"content-length") == b"200000"
        assert connection.read_response(b"HEAD").status == 404
        assert len(connection.read_response().body) == 200_000


@pytest.mark.parametrize("fields", [("Connection: close",), ()])
def test_connections_end_when_asked_to(anyone: OriginProcess, made: str, fields: tuple[str, ...]) -> None:
    anyone.control.synthetic(made, "k", 10)
    version = b"HTTP/1.1" if fields else b"HTTP/1.0"
    with RawConnection(anyone.endpoint) as connection:
        connection.send(get(made, "k", *fields).replace(b"HTTP/1.1", version))
        answer = connection.read_response()
        assert (answer.get(b"connection"), len(answer.body)) == (b"close", 10)
        connection.expect_close()


def test_continue_is_sent_before_the_body_is_awaited(anyone: OriginProcess, made: str) -> None:
    with RawConnection(anyone.endpoint) as connection:
        connection.send(put(made, "k", "Content-Length: 5", "Expect: 100-continue"))
        assert connection.read_head().status == 100
        connection.send(b"hello")
        assert connection.read_response(b"PUT").status == 200


def test_a_refused_upload_is_not_asked_to_continue(origin: OriginProcess, bucket: str) -> None:
    with RawConnection(origin.endpoint) as connection:
        connection.send(put(bucket, "k", "Content-Length: 5", "Expect: 100-continue"))
        answer = connection.read_response(b"PUT")
        assert (answer.status, answer.interim) == (403, ())
        connection.expect_close()


def test_a_refused_upload_that_was_sent_anyway_keeps_the_connection(origin: OriginProcess, bucket: str) -> None:
    with RawConnection(origin.endpoint) as connection:
        connection.send(put(bucket, "k", "Content-Length: 500000") + b"x" * 500_000)
        assert connection.read_response(b"PUT").status == 403
        connection.send(get(bucket, "k"))
        assert connection.read_response().status == 403


CRC = base64.b64encode(zlib.crc32(b"hello world").to_bytes(4, "big"))
CODED = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:" + CRC + b"\r\n\r\n"
STREAM = (
    "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "x-amz-decoded-content-length: 11",
    "x-amz-trailer: x-amz-checksum-crc32",
    "Content-Encoding: gzip,aws-chunked",
)


@pytest.mark.parametrize("chunked", [False, True])
def test_aws_chunked_bodies_lose_their_coding_and_keep_their_checksum(
    anyone: OriginProcess, made: str, chunked: bool
) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(CODED)}"
    sent = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (7, CODED[:7], len(CODED) - 7, CODED[7:]) if chunked else CODED
    with RawConnection(anyone.endpoint) as connection:
        connection.send(put(made, "k", framing, *STREAM) + sent)
        answer = connection.read_response(b"PUT")
        assert (answer.status, answer.get(b"x-amz-checksum-crc32")) == (200, CRC)
        connection.send(get(made, "k"))
        stored = connection.read_response()
        assert (stored.body, stored.get(b"content-encoding")) == (b"hello world", b"gzip")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (CODED.replace(b"hello", b"jello"), b"BadDigest"),
        (CODED.replace(b"x-amz-checksum-crc32", b"x-amz-checksum-crc31"), b"MalformedTrailerError"),
        (CODED[:30], b"IncompleteBody"),
        (CODED + b"more", b"InvalidRequest"),
        (CODED.replace(b" world", b" worl"), b"InvalidRequest"),
    ],
)
def test_broken_aws_chunked_bodies_store_nothing(anyone: OriginProcess, made: str, body: bytes, code: bytes) -> None:
    answer = exchange(anyone.endpoint, put(made, "k", f"Content-Length: {len(body)}", *STREAM) + body)
    assert answer.status == 400
    assert b"<Code>" + code + b"</Code>" in answer.body
    assert exchange(anyone.endpoint, get(made, "k")).status == 404


def test_an_undeclared_coding_is_data(anyone: OriginProcess, made: str) -> None:
    exchange(anyone.endpoint, put(made, "k", f"Content-Length: {len(CODED)}") + CODED)
    assert exchange(anyone.endpoint, get(made, "k")).body == CODED


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("Content-MD5", base64.b64encode(b"0" * 16).decode(), b"BadDigest"),
        ("Content-MD5", "short", b"InvalidDigest"),
        ("x-amz-checksum-crc32", "AAAAAA==", b"BadDigest"),
        ("x-amz-checksum-sha256", base64.b64encode(b"0" * 32).decode(), b"BadDigest"),
        ("x-amz-checksum-sha1", base64.b64encode(b"0" * 20).decode(), b"BadDigest"),
    ],
)
def test_wrong_digests_are_refused(anyone: OriginProcess, made: str, name: str, value: str, code: bytes) -> None:
    answer = exchange(anyone.endpoint, put(made, "k", "Content-Length: 5", f"{name}: {value}") + b"hello")
    assert answer.status == 400
    assert code in answer.body


def test_checksums_that_are_not_computed_are_stored(anyone: OriginProcess, made: str) -> None:
    fields = ("x-amz-checksum-crc64nvme: AAAAAAAAAAA=", "x-amz-checksum-crc32c: AAAAAA==")
    exchange(anyone.endpoint, put(made, "k", "Content-Length: 5", *fields) + b"hello")
    answer = exchange(anyone.endpoint, get(made, "k", "x-amz-checksum-mode: enabled"))
    assert answer.get(b"x-amz-checksum-crc64nvme") == b"AAAAAAAAAAA="
    assert answer.get(b"x-amz-checksum-crc32c") == b"AAAAAA=="


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /b/%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"rubbish\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_proper_request_is_refused(anyone: OriginProcess, raw: bytes) -> None:
    answer = exchange(anyone.endpoint, raw, method=b"GET")
    assert answer.status == 400
    assert answer.body.startswith(b"<?xml")


def test_absolute_form_targets_are_understood(anyone: OriginProcess, made: str) -> None:
    anyone.control.synthetic(made, "k", 10)
    raw = f"GET http://localhost/{made}/k HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    assert exchange(anyone.endpoint, raw).body == pattern(b"k", 1, 0, 10)


def test_bandwidth_limits_one_connection_and_all_together(anyone: OriginProcess, made: str) -> None:
    anyone.control.synthetic(made, "k", 200_000)
    for limited in ({"bandwidth_connection": 400_000}, {"bandwidth_connection": 0, "bandwidth_total": 400_000}):
        anyone.control.settings(**limited)
        started = time.monotonic()
        assert len(exchange(anyone.endpoint, get(made, "k")).body) == 200_000
        assert time.monotonic() - started > 0.4
    anyone.control.settings(bandwidth_total=0)


def test_latency_comes_before_every_head(anyone: OriginProcess, made: str) -> None:
    anyone.control.settings(latency=0.2)
    with RawConnection(anyone.endpoint) as connection:
        connection.send(get(made, "none"))
        connection.expect_silence(0.1)
        assert connection.read_response().status == 404
