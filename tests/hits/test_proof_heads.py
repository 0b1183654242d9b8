"""What the hit branch sends to the origin, and what it takes for consent, is what ``protocol`` and ``policy`` say."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hits.test_recogniser import BOTO3, CRT

from fastcache._core.not_modified import fields_of_proof
from fastcache._core.proof_request import proof_request
from fastcache._core.recogniser import recognised
from fastcache.errors import UpstreamProtocolError
from fastcache.model import Generation, Headers, HeadRecord
from fastcache.policy.revalidation import Verdict, judge_304
from fastcache.policy.stored_headers import replayed_headers
from fastcache.protocol.requests import forward_headers, parse_request_head, render_request_head
from fastcache.protocol.responses import parse_response_head

ETAG = b'"0cbd412c2672ae147b4f4792900cd8c0-3"'
MODIFIED = b"Fri, 27 Nov 2026 16:17:10 GMT"
VERSION = b"v1.x"
LINE = b"HTTP/1.1 304 Not Modified"
PLAIN = (b"ETag: " + ETAG, b"Last-Modified: " + MODIFIED, b"Date: " + MODIFIED)


def head_of(*fields: bytes, line: bytes = LINE) -> bytes:
    return b"".join(part + b"\r\n" for part in (line, *fields, b""))


def record(last_modified: bytes | None = MODIFIED, version: bytes | None = VERSION) -> HeadRecord:
    validators = ((b"Last-Modified", last_modified), (b"x-amz-version-id", version))
    stored = ((b"Vary", b"Accept"), (b"x-amz-meta-a", b"b"))
    return HeadRecord(Generation(ETAG, 10), (*stored, *((n, v) for n, v in validators if v is not None)))


# ---- requests


def by_protocol(head: bytes, etag: bytes) -> bytes:
    parsed = parse_request_head(head)
    return render_request_head(parsed.method, parsed.target, (*forward_headers(parsed), (b"If-None-Match", etag)))


def test_requests_of_real_clients_go_on_as_the_engine_renders_them() -> None:
    for head in (BOTO3, CRT):
        assert proof_request(head, ETAG) == by_protocol(head, ETAG)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Connection", b"connection", b"Range", b"A", b"x-amz-date", b"Content-Length"]),
            st.sampled_from([b"", b" ", b"   "]),
            st.sampled_from([b"", b"keep-alive", b"Keep-Alive", b"0", b"bytes=0-1", b"a  b", b"a:b"]),
            st.sampled_from([b"", b" ", b"  "]),
        ),
        max_size=6,
    ),
    st.sampled_from([b"/b/k", b"/b/k?x-id=GetObject", b"/b/%28//+"]),
)  # fmt: skip
def test_a_plain_request_of_any_shape_goes_on_as_the_engine_renders_it(
    fields: list[tuple[bytes, bytes, bytes, bytes]], target: bytes
) -> None:
    lines = b"".join(b"%b:%b%b%b\r\n" % field for field in fields)
    head = b"GET %b HTTP/1.1\r\nhOsT:h:1\r\n%b\r\n" % (target, lines)
    rendered = proof_request(head, ETAG)
    assert (rendered is None) == (recognised(head) is None)
    assert rendered is None or rendered == by_protocol(head, ETAG)


def test_a_request_that_is_not_plain_is_not_sent() -> None:
    assert proof_request(BOTO3.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n"), ETAG) is None
    assert proof_request(BOTO3 + b"x", ETAG) is None
    assert proof_request(b"", ETAG) is None


# ---- answers


def agree(head: bytes, last_modified: bytes | None = MODIFIED, version: bytes | None = VERSION) -> bool:
    """Whether what is taken for a proof is one, and brings what it should."""
    taken = fields_of_proof(head, ETAG, last_modified, version)
    if taken is None:
        return True
    try:
        parsed = parse_response_head(head, b"GET")
    except UpstreamProtocolError:
        return False
    stored = record(last_modified, version)
    return (
        parsed.status == 304
        and parsed.keep_alive
        and judge_304(parsed, stored, only_ours=True) is Verdict.CURRENT
        and replayed_headers(stored, age=0.0, whole_object=True, checksum_mode=False, validation=parsed.headers)
        == _replayed(stored, taken)
    )


def _replayed(stored: HeadRecord, taken: Headers) -> Headers:
    names_vary = any(name.lower() == b"vary" for name, _ in taken)
    return tuple(field for field in stored.headers if field[0] != b"Vary" or not names_vary) + taken


CURRENT = {
    "plain": head_of(*PLAIN),
    "no field at all": head_of(),
    "etag without quotes": head_of(b"etag:" + ETAG[1:-1]),
    "two etags": head_of(b"ETag: " + ETAG, b"ETag: " + ETAG),
    "version": head_of(*PLAIN, b"x-amz-version-id: " + VERSION),
    "kept alive": head_of(*PLAIN, b"Connection: keep-alive", b"Keep-Alive: timeout=5"),
    "a length": head_of(*PLAIN, b"Content-Length: 4096"),
    "nonsense": head_of(*PLAIN, b"Content-Type: application/xml", b"Set-Cookie: a=b", b"Content-MD5: x"),
    "no reason": head_of(*PLAIN, line=b"HTTP/1.1 304 "),
}


@pytest.mark.parametrize("head", CURRENT.values(), ids=CURRENT)
def test_such_a_304_is_consent(head: bytes) -> None:
    assert fields_of_proof(head, ETAG, MODIFIED, VERSION) == ()
    assert agree(head)


def test_what_is_the_requests_own_goes_on_to_the_client_in_order() -> None:
    own = (
        b"X-Amz-Request-Id: 1", b"x-amz-id-2: 2 ", b"Vary:  Origin", b"x-amz-request-charged: requester",
        b"Access-Control-Allow-Origin: *", b"x-trans-id: t", b"X-Openstack-Request-Id: u", b"vary: Accept",
    )  # fmt: skip
    head = head_of(*PLAIN, *own, b"x-amz-meta-a: other")
    taken = fields_of_proof(head, ETAG, MODIFIED, VERSION)
    assert taken == tuple((n, v.strip()) for n, _, v in (field.partition(b":") for field in own))
    assert agree(head)


OTHER = {
    "another etag": head_of(b'ETag: "other"'),
    "a weak etag": head_of(b"ETag: W/" + ETAG),
    "one of two etags": head_of(*PLAIN, b'ETag: "other"'),
    "an empty etag": head_of(b"ETag:"),
    "a later date": head_of(PLAIN[0], b"Last-Modified: Sat, 28 Nov 2026 16:17:10 GMT"),
    "another version": head_of(*PLAIN, b"x-amz-version-id: null"),
    "a body": head_of(*PLAIN) + b"x",
    "two answers": head_of(*PLAIN) * 2,
    "200": head_of(*PLAIN, line=b"HTTP/1.1 200 OK"),
    "HTTP/1.0": head_of(*PLAIN, line=b"HTTP/1.0 304 Not Modified"),
    "3040": head_of(*PLAIN, line=b"HTTP/1.1 3040 x"),
    "it ends": head_of(*PLAIN, b"Connection: close"),
    "it ends, said differently": head_of(*PLAIN, b"Connection: keep-alive, close"),
    "chunked": head_of(*PLAIN, b"Transfer-Encoding: chunked"),
    "no length": head_of(*PLAIN, b"Content-Length: x"),
    "two lengths": head_of(*PLAIN, b"Content-Length: 0", b"Content-Length: 0"),
    "upgrade": head_of(*PLAIN, b"Upgrade: h2c"),
    "no field": head_of(*PLAIN, b"no field"),
    "a blank before the colon": head_of(*PLAIN, b"A : b"),
    "a folded line": head_of(*PLAIN, b"A: b", b" c"),
    "a tab": head_of(*PLAIN, b"A: b\tc"),
    "a NUL": head_of(*PLAIN, b"A: b\0c"),
    "not ASCII": head_of(*PLAIN, b"A: \xe4"),
    "LF alone": head_of(*PLAIN).replace(b"\r\n", b"\n"),
    "one LF alone": head_of(*PLAIN, b"A: b\nC: d\r\r"),
    "cut": head_of(*PLAIN)[:-1],
    "too many fields": head_of(*[b"A: b"] * 101),
    "too much to pass on": head_of(*PLAIN, b"Access-Control-A: " + b"a" * 5000),
}


@pytest.mark.parametrize("head", OTHER.values(), ids=OTHER)
def test_anything_else_is_left_to_the_engine(head: bytes) -> None:
    assert fields_of_proof(head, ETAG, MODIFIED, VERSION) is None


def test_nothing_that_is_not_stored_can_be_the_same() -> None:
    assert fields_of_proof(head_of(*PLAIN), ETAG, None, None) is None
    assert fields_of_proof(head_of(b"x-amz-version-id: a"), ETAG, MODIFIED, None) is None
    assert fields_of_proof(head_of(PLAIN[0]), ETAG, None, None) == ()


NAMES = [
    b"ETag", b"last-modified", b"x-amz-version-id", b"Connection", b"Content-Length", b"Vary", b"x-amz-request-id",
    b"X-Amz-Id-2", b"Access-Control-A", b"Keep-Alive", b"Transfer-Encoding", b"A", b"Upgrade", b"Set-Cookie",
    b"A ", b"",
]  # fmt: skip
VALUES = [
    ETAG, ETAG[1:-1], b'"other"', b"W/" + ETAG, MODIFIED, VERSION, b"keep-alive", b"close", b"Keep-Alive, A", b"0",
    b"10", b"10, 10", b"chunked", b"", b" a ", b"a\tb", b"a\xe4", b"*", b"-1", b"a\0",
]  # fmt: skip


def test_no_damaged_304_is_taken_for_a_proof_that_is_none() -> None:
    dice = random.Random(21)
    taken = 0
    for _ in range(20_000):
        fields = [b"%b:%b" % (dice.choice(NAMES), dice.choice(VALUES)) for _ in range(dice.randrange(5))]
        if dice.random() < 0.7:
            fields.append(PLAIN[0])
        head = head_of(
            *fields, line=dice.choice([LINE, LINE, LINE, b"HTTP/1.1 304 ", b"HTTP/1.1 304", b"HTTP/1.0 304 x"])
        )
        for _ in range(dice.choice([0, 0, 1, 2])):
            at = dice.randrange(len(head))
            head = (
                head[:at]
                + dice.choice([b"", b"\r", b"\n", b"\r\n", b":", b" ", b"\0", b"a"])
                + head[at + dice.randrange(2) :]
            )
        assert agree(head), head
        taken += fields_of_proof(head, ETAG, MODIFIED, VERSION) is not None
    assert taken > 500
