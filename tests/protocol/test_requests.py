"""Request heads: what is read, what is refused and what is sent on."""

from __future__ import annotations

import pytest
from tests.protocol.heads import head

from fastcache.errors import RequestError
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing
from fastcache.protocol.requests import HeadLimits, forward_headers, parse_request_head, render_request_head

CHUNKED = BodyFraming(Framing.CHUNKED)

BOTO3_GET = head(
    b"Accept-Encoding: identity",
    b"x-amz-checksum-mode: ENABLED",
    b"Range: bytes=0-8388607",
    b"User-Agent: Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.18",
    b"X-Amz-Date: 20261120T220000Z",
    b"X-Amz-Content-SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20261120/us-east-1/s3/aws4_request, Signature=0",
    b"amz-sdk-request: attempt=1",
)


def test_a_real_get_is_read_as_sent() -> None:
    request = parse_request_head(BOTO3_GET)
    assert (request.method, request.target, request.path) == (b"GET", b"/bucket/key", b"/bucket/key")
    assert request.host == b"127.0.0.1:9000"
    assert request.headers[0] == (b"Host", b"127.0.0.1:9000")
    assert request.headers[5][0] == b"X-Amz-Date"
    assert request.get(b"range") == b"bytes=0-8388607"
    assert request.get(b"if-match") is None
    assert request.get_all(b"x-amz-date") == [b"20261120T220000Z"]
    assert request.get_all(b"if-match") == []
    assert request.framing == NO_BODY
    assert request.keep_alive
    assert not request.expect_continue
    assert not request.http_10


def test_a_head_shows_no_secret_when_printed() -> None:
    request = parse_request_head(
        head(b"Authorization: AWS4-HMAC-SHA256 SECRET", line=b"GET /b/k?X-Amz-Signature=SECRET HTTP/1.1")
    )
    assert "SECRET" not in repr(request)
    assert "SECRET" not in str(request)


def test_values_lose_surrounding_white_space_and_nothing_else() -> None:
    request = parse_request_head(head(b"a: \t x  y \t ", b"b:", b"c:z", b"D:  ", b"e: \xc3\xa9\xff\ttab"))
    assert request.headers[1:] == (
        (b"a", b"x  y"),
        (b"b", b""),
        (b"c", b"z"),
        (b"D", b""),
        (b"e", b"\xc3\xa9\xff\ttab"),
    )


def test_the_fields_of_a_list_keep_their_order() -> None:
    request = parse_request_head(head(b"If-None-Match: a", b"X: 1", b"if-none-match: b"))
    assert request.get_all(b"if-none-match") == [b"a", b"b"]


def test_one_empty_line_before_a_request_is_tolerated() -> None:
    assert parse_request_head(b"\r\n" + head()).target == b"/bucket/key"


@pytest.mark.parametrize(
    ("fields", "line", "framing"),
    [
        ((), b"PUT /b/k HTTP/1.1", NO_BODY),
        ((b"Content-Length: 0",), b"GET /b/k HTTP/1.1", BodyFraming(Framing.LENGTH, 0)),
        ((b"content-length: 5",), b"GET /b/k HTTP/1.1", BodyFraming(Framing.LENGTH, 5)),
        ((b"Content-Length: 007",), b"PUT /b/k HTTP/1.1", BodyFraming(Framing.LENGTH, 7)),
        ((b"Content-Length: 9223372036854775807",), b"PUT /b/k HTTP/1.1", BodyFraming(Framing.LENGTH, 2**63 - 1)),
        ((b"Content-Length: 5",), b"PUT /b/k HTTP/1.0", BodyFraming(Framing.LENGTH, 5)),
        ((b"Transfer-Encoding: chunked",), b"PUT /b/k HTTP/1.1", CHUNKED),
        ((b"transfer-encoding:\tChunked ",), b"PUT /b/k HTTP/1.1", CHUNKED),
        ((b"Transfer-Encoding: chunked",), b"GET /b/k HTTP/1.1", CHUNKED),
    ],
)
def test_the_body_is_framed_as_the_head_says(fields: tuple[bytes, ...], line: bytes, framing: BodyFraming) -> None:
    assert parse_request_head(head(*fields, line=line)).framing == framing


@pytest.mark.parametrize(
    ("fields", "version", "expected"),
    [
        ((), b"1.1", True),
        ((b"Connection: close",), b"1.1", False),
        ((b"Connection: Keep-Alive , CLOSE",), b"1.1", False),
        ((b"Connection: keep-alive", b"Connection: close"), b"1.1", False),
        ((b"Connection: closed",), b"1.1", True),
        ((), b"1.0", False),
        ((b"Connection: keep-alive",), b"1.0", True),
        ((b"Connection: keep-alive, close",), b"1.0", False),
    ],
)
def test_the_connection_stays_open_only_when_both_want_it(
    fields: tuple[bytes, ...], version: bytes, expected: bool
) -> None:
    assert parse_request_head(head(*fields, line=b"GET /b/k HTTP/" + version)).keep_alive is expected


@pytest.mark.parametrize(
    ("fields", "version", "expected"),
    [
        ((b"Expect: 100-continue", b"Content-Length: 5"), b"1.1", True),
        ((b"expect: 100-Continue", b"Transfer-Encoding: chunked"), b"1.1", True),
        ((b"Expect: 100-continue", b"Content-Length: 0"), b"1.1", False),
        ((b"Expect: 100-continue",), b"1.1", False),
        ((b"Expect: 100-continue", b"Content-Length: 5"), b"1.0", False),
        ((b"Content-Length: 5",), b"1.1", False),
    ],
)
def test_continue_is_awaited_only_for_a_body_in_http_1_1(
    fields: tuple[bytes, ...], version: bytes, expected: bool
) -> None:
    assert parse_request_head(head(*fields, line=b"PUT /b/k HTTP/" + version)).expect_continue is expected


def test_http_1_0_may_come_without_host() -> None:
    request = parse_request_head(head(line=b"GET /b/k HTTP/1.0", host=None))
    assert request.http_10
    assert request.host == b""


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://s3.example.com/b/k?x=1", b"s3.example.com", b"/b/k?x=1"),
        (b"HTTP://S3.example.com:80/b/k", b"s3.EXAMPLE.com", b"/b/k"),
        (b"http://s3.example.com", b"s3.example.com:80", b"/"),
        (b"https://s3.example.com:443/", b"s3.example.com", b"/"),
        (b"http://s3.example.com?list-type=2", b"s3.example.com", b"/?list-type=2"),
        (b"http://[::1]:9000/b//k", b"[::1]:9000", b"/b//k"),
        (b"/http://other/k", b"s3.example.com", b"/http://other/k"),
    ],
)
def test_an_absolute_target_that_agrees_with_host_has_an_origin_form(target: bytes, host: bytes, path: bytes) -> None:
    request = parse_request_head(head(line=b"GET " + target + b" HTTP/1.1", host=host))
    assert request.target == target
    assert request.path == path


def test_the_asterisk_form_belongs_to_options() -> None:
    assert parse_request_head(head(line=b"OPTIONS * HTTP/1.1")).path == b"*"


def test_an_upgrade_is_ignored_and_not_forwarded() -> None:
    request = parse_request_head(
        head(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
            b"Content-Length: 5",
            line=b"PUT /b/k HTTP/1.1",
        )
    )
    assert request.framing == BodyFraming(Framing.LENGTH, 5)
    assert request.keep_alive
    assert [name for name, _ in forward_headers(request)] == [b"Host", b"Content-Length"]


def test_exactly_the_limits_are_accepted() -> None:
    target = b"/" + b"k" * 8191
    assert parse_request_head(head(line=b"GET " + target + b" HTTP/1.1")).target == target
    assert len(parse_request_head(head(*[b"a: b"] * 99)).headers) == 100
    raw = head(b"a: " + b"v" * 65_000)
    padding = 65_536 - len(raw)
    assert parse_request_head(head(b"a: " + b"v" * (65_000 + padding))).get(b"a") == b"v" * (65_000 + padding)


REFUSED_LIMITS = [
    (head(line=b"GET /" + b"k" * 8192 + b" HTTP/1.1"), 414),
    (head(line=b"GET /" + b"k" * 9000), 414),
    (head(*[b"a: b"] * 100), 431),
    (head(b"a: " + b"v" * 65_536), 431),
    (head(line=b"M" * 33 + b" / HTTP/1.1"), 400),
]


@pytest.mark.parametrize(("raw", "status"), REFUSED_LIMITS)
def test_more_than_the_limits_is_refused(raw: bytes, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        parse_request_head(raw)
    assert caught.value.response_status == status
    assert caught.value.closes


def test_other_limits_can_be_set() -> None:
    with pytest.raises(RequestError) as caught:
        parse_request_head(head(b"a: b"), HeadLimits(fields=1))
    assert caught.value.response_status == 431


def test_hop_by_hop_fields_stay_here_and_the_rest_goes_on_untouched() -> None:
    request = parse_request_head(
        head(
            b"X-First: 1",
            b"connection: close, X-Private",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic c2VjcmV0",
            b"TE: trailers",
            b"Trailer: x-sum",
            b"x-private: mine",
            b"AuThOrIzAtIoN: sig",
            b"amz-sdk-request: attempt=1",
            b"Expect: 100-continue",
            b"Content-Length: 5",
            b"X-first: 2",
            line=b"PUT /b/k HTTP/1.1",
        )
    )
    assert forward_headers(request) == (
        (b"Host", b"127.0.0.1:9000"),
        (b"X-First", b"1"),
        (b"AuThOrIzAtIoN", b"sig"),
        (b"amz-sdk-request", b"attempt=1"),
        (b"Expect", b"100-continue"),
        (b"Content-Length", b"5"),
        (b"X-first", b"2"),
    )


def test_a_signed_content_length_of_zero_goes_on() -> None:
    assert (b"content-length", b"0") in forward_headers(parse_request_head(head(b"content-length: 0")))


def test_a_chunked_body_keeps_its_trailer_announcement_but_not_its_coding() -> None:
    request = parse_request_head(
        head(b"Transfer-Encoding: chunked", b"Trailer: x-amz-checksum-crc32", line=b"PUT /b/k HTTP/1.1")
    )
    assert [name for name, _ in forward_headers(request)] == [b"Host", b"Trailer"]


def test_a_rendered_head_reads_back_as_itself() -> None:
    request = parse_request_head(BOTO3_GET)
    again = parse_request_head(render_request_head(request.method, request.target, request.headers))
    assert again == request


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        (b"GET", b"/a b", ()),
        (b"GET /x", b"/", ()),
        (b"GET", b"/\r\nX: y", ()),
        (b"GET", b"/", ((b"a b", b"c"),)),
        (b"GET", b"/", ((b"a", b"b\r\nc: d"),)),
        (b"GET", b"/", ((b"a", b"b\nc"),)),
        (b"GET", b"/", ((b"a", b"\0"),)),
        (b"GET", b"/", ((b"a:b", b"c"),)),
        (b"", b"/", ()),
        (b"GET", b"", ()),
    ],
)
def test_no_part_of_a_rendered_head_can_break_out(
    method: bytes, target: bytes, headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    with pytest.raises(ValueError, match=r"not a|contains"):
        render_request_head(method, target, headers)
