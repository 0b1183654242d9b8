"""The strict recogniser reads what it accepts as httptools and the grammar of requests do, and gives up on the rest."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core.recogniser import recognised
from fastcache.protocol.plain import plain_fields
from fastcache.protocol.requests import HeadLimits

LIMITS = HeadLimits()
SIGNED_LIMITS = HeadLimits(fields=64)
"""Of requests whose signatures are checked."""
FIELDS = (
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
)

BOTO3 = (
    b"GET /bucket/some/key HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nAccept-Encoding: identity\r\n"
    b"x-amz-checksum-mode: ENABLED\r\nUser-Agent: Boto3/1.44.0 md/Botocore#1.44.0 ua/2.1 os/linux#6.18\r\n"
    b"X-Amz-Date: 20261127T120000Z\r\nX-Amz-Content-SHA256: UNSIGNED-PAYLOAD\r\n"
    b"Authorization: AWS4-HMAC-SHA256 Credential=a/20261127/us-east-1/s3/aws4_request, SignedHeaders=host, "
    b"Signature=00\r\namz-sdk-invocation-id: 1\r\namz-sdk-request: attempt=1\r\n\r\n"
)
CRT = (
    b"GET /bucket/key HTTP/1.1\r\nHost: localhost\r\nuser-agent: CRTS3NativeClient/0.1.x\r\nRange: bytes=0-8388607\r\n"
    b'content-length: 0\r\nx-amz-date: 20261127T120000Z\r\nIf-Match: "abc"\r\nx-amz-content-sha256: x\r\n\r\n'
)


def both(head: bytes, limits: HeadLimits = LIMITS, *, any_query: bool = False) -> tuple[object, object]:
    """What each reader makes of a head, in one form."""
    seen = recognised(head, limits.fields, any_query=any_query)
    mine = (
        None
        if seen is None
        else (
            seen["method"] == b"HEAD",
            seen["host"],
            seen["path"],
            *(seen[name] for name in FIELDS),  # type: ignore[literal-required]
            seen["checksum-mode"],
        )
    )
    return mine, plain_fields(head, limits, any_query=any_query)


@pytest.mark.parametrize("head", [BOTO3, CRT])
def test_heads_of_real_clients_are_recognised(head: bytes) -> None:
    mine, theirs = both(head)
    assert mine is not None
    assert mine == theirs


def test_the_operation_named_in_the_query_of_a_get_is_neutral_and_nothing_else_is() -> None:
    def path(line: bytes) -> bytes | None:
        seen = recognised(line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        return None if seen is None else seen["path"]

    assert path(b"GET /b/k?x-id=GetObject") == b"/b/k"
    assert path(b"HEAD /b/k?x-id=GetObject") is None
    assert path(b"GET /b/k?x-id=HeadObject") is None
    assert path(b"GET /b/k?versionId=1") is None
    assert path(b"GET /b/k?") is None


@pytest.mark.parametrize("query", [b"", b"versionId=1", b"x-id=GetObject", b"X-Amz-Signature=0&a=?b"])
def test_any_query_is_recognised_for_whoever_judges_it(query: bytes) -> None:
    head = b"HEAD /b/k?" + query + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    seen = recognised(head, any_query=True)
    assert seen is not None
    assert (seen["path"], seen["query"]) == (b"/b/k", query)
    mine, theirs = both(head, any_query=True)
    assert mine == theirs


def agree(head: bytes, *, any_query: bool = False) -> bool:
    """Whether both readers make the same of a head, apart from its Host and target: those the recogniser does not
    judge, because a lease is found by the very octets of a request that the engine has answered."""
    limits = SIGNED_LIMITS if any_query else LIMITS
    mine, theirs = both(head, limits, any_query=any_query)
    if mine is None or theirs is not None:
        return mine == theirs
    seen = recognised(head, limits.fields, any_query=any_query)
    assert seen is not None
    judged = head.replace(seen["path"], b"/x", 1)
    if any_query and seen["query"] is not None:
        judged = judged.replace(b"/x?" + seen["query"], b"/x?q", 1)
    at = judged.lower().index(b"\r\nhost:") + len(b"\r\nhost:")
    judged = judged[:at] + judged[at:].replace(seen["host"], b"h", 1)
    mine, theirs = both(judged, limits, any_query=any_query)
    return mine is not None and mine == theirs


NOT_PLAIN = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"POST /b/k HTTP/1.1\r\nHost: a\r\n\r\n", id="method"),
    pytest.param(b"GET http://a/b/k HTTP/1.1\r\nHost: a\r\n\r\n", id="absolute form"),
    pytest.param(b"GET /b/k HTTP/1.0\r\nHost: a\r\n\r\n", id="version"),
    pytest.param(b"GET /b/k HTTP/1.1\nHost: a\r\n\r\n", id="bare LF"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\n\r\n", id="bare LF in a field"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", id="bare CR"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", id="folding"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost : a\r\n\r\n", id="space before the colon"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\nA: \x00\r\n\r\n", id="NUL"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\nA: \xff\r\n\r\n", id="outside ASCII"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\nA: b\tc\r\n\r\n", id="tab"),
    pytest.param(b"GET /b/k HTTP/1.1\r\n\r\n", id="no Host"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", id="two Hosts"),
    pytest.param(b"GET  /b/k HTTP/1.1\r\nHost: a\r\n\r\n", id="two spaces"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\n\r\nGET", id="more behind it"),
    pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\n\r", id="cut"),
    pytest.param(b"\r\nGET /b/k HTTP/1.1\r\nHost: a\r\n\r\n", id="an empty line before"),
    *(
        pytest.param(b"GET /b/k HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n", id=field.decode())
        for field in (
            b"Content-Length: 1",
            b"Content-Length: 00",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
            b"Connection: close",
            b"Connection: keep-alive, x",
            b"Upgrade: h2c",
            b"TE: trailers",
            b"Origin: http://page",
            b"Cookie: a=b",
            b"Cache-Control: no-cache",
            b"Pragma: no-cache",
            b"x-amz-request-payer: requester",
            b"x-amz-expected-bucket-owner: 1",
            b"x-amz-server-side-encryption-customer-key: k",
            b"X-AMZ-unheard-of: 1",
            b"Proxy-Authorization: Basic x",
            b"Range: bytes=0-1\r\nRange: bytes=0-1",
            b"If-Match: a\r\nIf-Match: b",
            b"If-None-Match: a\r\nIf-None-Match: b",
            b"Authorization: a\r\nAuthorization: b",
            b"x-amz-security-token: a\r\nx-amz-security-token: a",
        )
    ),
]


@pytest.mark.parametrize("head", NOT_PLAIN)
def test_what_may_change_the_answer_is_left_to_the_engine(head: bytes) -> None:
    assert both(head) == (None, None)


def test_more_fields_than_allowed_are_left_to_the_engine() -> None:
    limits = HeadLimits(fields=20)
    for count in (19, 20, 21, 22):
        mine, theirs = both(many_fields(count), limits)
        assert mine == theirs
        assert (mine is None) == (count > 20)


def test_more_fields_than_there_is_room_for_where_signatures_are_checked_are_left_to_the_engine() -> None:
    for count in (63, 64, 65, 66):
        assert recognised(many_fields(count)) is not None
        assert (recognised(many_fields(count), any_query=True) is None) == (count > 64)
    assert recognised(many_fields(3), 2, any_query=True) is None


def many_fields(count: int) -> bytes:
    return b"GET /b/k HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * (count - 1) + b"\r\n"


NAMES = [
    "Host", "host", "Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range",
    "x-amz-checksum-mode", "x-amz-date", "X-Amz-Content-Sha256", "x-amz-security-token", "x-amz-user-agent",
    "x-amz-api-version", "x-amz-meta-x", "x-amz-", "x-amz", "Authorization", "Connection", "Content-Length",
    "Content-Type", "Cookie", "Cache-Control", "Expect", "Upgrade", "TE", "Trailer", "Transfer-Encoding", "Pragma",
    "Origin", "Keep-Alive", "Proxy-X", "HTTP2-Settings", "User-Agent", "Accept", "amz-sdk-request", "A", "r@nge", "",
]  # fmt: skip
VALUES = [
    "", "a", "0", "00", "1", "bytes=0-1", "bytes=-5", "enabled", "ENABLED", "keep-alive", "Keep-Alive", "close",
    '"abc"', "*", "chunked", "identity", "100-continue", "127.0.0.1:3000", "no-cache", "  spaced  ", "t\tab", "x y",
    "Fri, 27 Nov 2026 12:00:00 GMT", "é", "\x7f",
]  # fmt: skip
LINES = ["GET /b/k", "HEAD /b/k", "GET /b/k%28x?x-id=GetObject", "GET /b/k?x-id=GetObject&a", "GET /", "PUT /b/k",
         "GET *", "GET b/k", "GET /b/k k", "get /b/k", "GET http://h/b", "GET /b/?x-id=GetObject"]  # fmt: skip


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    line = draw(st.sampled_from(LINES)) + draw(st.sampled_from([" HTTP/1.1"] * 8 + [" HTTP/1.0", " HTTP/2.0", ""]))
    fields = draw(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6))
    separator = draw(st.sampled_from([": "] * 6 + [":", ":  ", " : "]))
    end = draw(st.sampled_from(["\r\n"] * 12 + ["\n"]))
    host = draw(st.sampled_from([[("Host", "127.0.0.1:3000")]] * 6 + [[]]))
    text = line + "\r\n" + "".join(f"{name}{separator}{value}{end}" for name, value in [*host, *fields]) + "\r\n"
    raw = bytearray(text.encode("latin-1"))
    for _ in range(draw(st.sampled_from([0] * 6 + [1, 2]))):
        if raw:
            raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw)


@given(heads(), st.booleans())
def test_two_readers_that_know_nothing_of_each_other_agree(head: bytes, any_query: bool) -> None:
    assert agree(head, any_query=any_query)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_they_agree_on_millions_of_damaged_heads_of_real_clients() -> None:
    random_ = random.Random(7)
    for _ in range(2_000_000):
        raw = bytearray(random_.choice((BOTO3, CRT)))
        for _ in range(random_.randrange(1, 4)):
            at = random_.randrange(len(raw))
            choice = random_.randrange(4)
            if choice == 0:
                raw[at] = random_.randrange(256)
            elif choice == 1:
                del raw[at : at + random_.randrange(1, 30)]
            elif choice == 2:
                raw[at:at] = raw[random_.randrange(len(raw)) :][: random_.randrange(1, 40)]
            else:
                raw[at:at] = random_.choice((b"\r\n", b"\n", b"\t", b": ", b"Range: bytes=0-\r\n", b"\0"))
        assert agree(bytes(raw), any_query=random_.random() < 0.5), bytes(raw)
