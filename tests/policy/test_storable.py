"""What may be stored and where its bytes belong: nothing that is odd, and only what Content-Range says."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.policy.heads import ETAG, MODIFIED, answer, names, read_of, record

from fastcache._core.ranges import ContentRange, parse_content_range
from fastcache.errors import UpstreamProtocolError
from fastcache.model import ChecksumState, Generation, Headers, HeadRecord, Interval
from fastcache.policy.storable import NotStorable, Storable, judge_body, judge_head, merge_known
from fastcache.protocol.responses import ResponseHead

TAG = b"ETag: " + ETAG
TEN = b"Content-Length: 10"


def judged(
    response: ResponseHead,
    *,
    requested: Interval | None = None,
    range_asked: bool = False,
    checksum_mode: bool = False,
    honour: bool = False,
) -> Storable | NotStorable:
    return judge_body(
        response,
        requested=requested,
        range_asked=range_asked,
        checksum_mode=checksum_mode,
        at=5.0,
        honour_no_store=honour,
    )


def refused(response: ResponseHead, *, range_asked: bool = False, honour: bool = False) -> bytes:
    found = judged(response, range_asked=range_asked, honour=honour)
    assert isinstance(found, NotStorable), found
    return found.reason


def judged_range(value: bytes, content_range: bytes, length: int) -> Storable | NotStorable:
    """The answer to a GET with ``Range: value``."""
    read = read_of(b"Range: " + value)
    response = answer(TAG, b"Content-Length: %d" % length, b"Content-Range: " + content_range, status=206)
    return judged(response, requested=read.absolute_interval(), range_asked=read.range_field_sent)


# ---- 200 ----


def test_a_200_with_length_and_strong_etag_is_the_whole_object() -> None:
    """SEMANTICS 23."""
    found = judged(answer(TAG, TEN, b"Last-Modified: " + MODIFIED, b"Content-Type: text/plain"))
    assert isinstance(found, Storable)
    assert found.interval == Interval(0, 10)
    assert found.record.generation == Generation(ETAG, 10)
    assert found.record.last_modified == MODIFIED
    assert found.record.stored_at == 5.0


def test_a_zero_byte_object_is_storable() -> None:
    """PITFALLS: zero-byte objects never hit."""
    found = judged(answer(TAG, b"Content-Length: 0"))
    assert isinstance(found, Storable)
    assert found.interval == Interval(0, 0)
    assert found.record.generation.size == 0


def test_a_200_to_a_range_is_a_full_body() -> None:
    """PITFALLS: a server that ignores Range answers 200, and an If-Range that does not match asks for it."""
    found = judged(answer(TAG, TEN), requested=Interval(5, 8), range_asked=True)
    assert isinstance(found, Storable)
    assert found.interval == Interval(0, 10)


@pytest.mark.parametrize("status", [201, 203, 204, 301, 304, 307, 400, 403, 404, 405, 412, 416, 500, 503])
def test_no_other_status_is_ever_stored(status: int) -> None:
    """PITFALLS: 403 and 500 bodies were cached as objects and served as 200 later."""
    response = answer(TAG, TEN, b"Content-Range: bytes 0-9/10", status=status)
    assert refused(response, range_asked=True) == b"status"
    assert judge_head(response, checksum_mode=False, at=0.0, honour_no_store=False) == NotStorable(b"status")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((TAG,), b"length-unknown"),
        ((TAG, b"Transfer-Encoding: chunked"), b"length-unknown"),
        ((TEN,), b"etag"),
        ((TEN, b"ETag: W/" + ETAG), b"etag"),
        ((TEN, b'ETag: ""'), b"etag"),
        ((TEN, b'ETag: "cut'), b"etag"),
        ((TEN, TAG, b'ETag: "other"'), b"etag"),
        ((TEN, TAG, b"Content-Range: bytes 0-9/20"), b"content-range"),
        ((TEN, TAG, b"Content-Range: bytes 0-9/10"), b"content-range"),
        ((TEN, TAG, b"Vary: *"), b"vary"),
        ((TEN, TAG, b"Vary: Origin, User-Agent"), b"vary"),
        ((TEN, TAG, b"Vary: Origin", b"Vary: Accept-Language"), b"vary"),
        ((TEN, TAG, b"Vary: Accept-Encoding", b"Content-Encoding: gzip"), b"vary"),
        ((TEN, TAG, b"x-amz-server-side-encryption: aws:kms"), b"kms"),
        ((TEN, TAG, b"x-amz-server-side-encryption: aws:kms:dsse"), b"kms"),
        ((TEN, TAG, b"X-Amz-Server-Side-Encryption: AWS:KMS"), b"kms"),
        ((TEN, TAG, b"x-amz-server-side-encryption-customer-algorithm: AES256"), b"sse-c"),
        ((TEN, TAG, b"x-amz-mp-parts-count: 3"), b"part"),
    ],
)
def test_what_is_odd_or_needs_more_than_a_304_is_not_stored(fields: tuple[bytes, ...], reason: bytes) -> None:
    """SEMANTICS 19, 23, 24, 26."""
    assert refused(answer(*fields)) == reason


@pytest.mark.parametrize(
    "field",
    [
        b"Vary: Origin",
        b"Vary: Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
        b"Vary: Origin,Accept-Encoding",
        b"x-amz-server-side-encryption: AES256",
        b"ETag-Like: W/x",
        b"Content-Encoding: gzip",
        b"Cache-Control: no-store",
    ],
)
def test_what_ordinary_origins_send_does_not_keep_an_object_out(field: bytes) -> None:
    """SEMANTICS 19, 21: in ``revalidate`` every use is proven, so the object's Cache-Control needs no obeying."""
    assert isinstance(judged(answer(TAG, TEN, field)), Storable)


@pytest.mark.parametrize("value", [b"no-store", b"Private", b'max-age=5, private="x"', b"max-age=3, NO-STORE"])
def test_the_objects_cache_control_is_honoured_where_a_ttl_decides(value: bytes) -> None:
    """SEMANTICS 21."""
    response = answer(TAG, TEN, b"Cache-Control: " + value)
    assert refused(response, honour=True) == b"cache-control"
    assert judge_head(response, checksum_mode=False, at=0.0, honour_no_store=True) == NotStorable(b"cache-control")


@pytest.mark.parametrize("value", [b"max-age=0", b"no-cache", b"public, max-age=60", b"must-revalidate"])
def test_the_objects_max_age_does_not_decide_by_itself(value: bytes) -> None:
    """SEMANTICS 21: only by rule."""
    assert isinstance(judged(answer(TAG, TEN, b"Cache-Control: " + value), honour=True), Storable)


def test_an_unquoted_etag_is_one_too() -> None:
    """SEMANTICS 23."""
    found = judged(answer(b"ETag: " + ETAG.strip(b'"'), TEN))
    assert isinstance(found, Storable)
    assert found.record.generation.tag == Generation(ETAG, 10).tag


# ---- 206 ----


@pytest.mark.parametrize(
    ("asked", "content_range", "length", "interval"),
    [
        (b"bytes=100-", b"bytes 100-999/1000", 900, Interval(100, 1000)),
        (b"bytes=-10", b"bytes 990-999/1000", 10, Interval(990, 1000)),
        (b"bytes=0-8388607", b"bytes 0-999/1000", 1000, Interval(0, 1000)),
        (b"bytes=5-9", b"bytes 5-9/1000", 5, Interval(5, 10)),
        (b"bytes=0-0", b"bytes 0-0/1", 1, Interval(0, 1)),
    ],
)
def test_a_206_is_placed_by_its_content_range(
    asked: bytes, content_range: bytes, length: int, interval: Interval
) -> None:
    """PITFALLS: the answer to bytes=100- or bytes=-N on a cold object was stored as if it began at 0."""
    found = judged_range(asked, content_range, length)
    assert isinstance(found, Storable)
    assert found.interval == interval
    assert found.record.generation.size == int(content_range.rpartition(b"/")[2])


@pytest.mark.parametrize(
    ("asked", "content_range", "length"),
    [
        (b"bytes=100-", b"bytes 0-899/1000", 900),
        (b"bytes=5-9", b"bytes 5-8/1000", 4),
        (b"bytes=5-9", b"bytes 4-9/1000", 6),
        (b"bytes=5-9", b"bytes 5-10/1000", 6),
        (b"bytes=5-9", b"bytes 5-9/1000", 4),
        (b"bytes=5-9", b"bytes 5-9/1000", 1000),
        (b"bytes=5-9", b"bytes 5-9/*", 5),
        (b"bytes=5-9", b"bytes */1000", 5),
        (b"bytes=5-9", b"bytes 9-5/1000", 5),
        (b"bytes=5-9", b"bytes 5-9/9", 5),
        (b"bytes=5-9", b"items 5-9/1000", 5),
        (b"bytes=5-9", b"bytes 5-9/18446744073709551621", 5),
        (b"bytes=5-9", b"", 5),
        (b"bytes=0-", b"bytes 0-999/2000", 1000),
    ],
)
def test_a_206_that_does_not_fit_its_request_or_itself_is_not_stored(
    asked: bytes, content_range: bytes, length: int
) -> None:
    """SEMANTICS 23: consistent lengths, a known total; PITFALLS: sizes near 2^64."""
    assert judged_range(asked, content_range, length) == NotStorable(b"content-range")


@pytest.mark.parametrize("fields", [(), (b"Content-Range: bytes 0-9/20", b"Content-Range: bytes 0-9/30")])
def test_a_206_needs_exactly_one_content_range(fields: tuple[bytes, ...]) -> None:
    assert refused(answer(TAG, TEN, *fields, status=206), range_asked=True) == b"content-range"


def test_a_206_that_nobody_asked_for_is_not_stored() -> None:
    assert refused(answer(TAG, TEN, b"Content-Range: bytes 0-9/10", status=206)) == b"range-not-asked"


def test_multipart_byteranges_are_not_stored() -> None:
    """PITFALLS: multi-range answers; SEMANTICS 27."""
    response = answer(TAG, TEN, b"Content-Type: multipart/byteranges; boundary=x", status=206)
    assert refused(response, range_asked=True) == b"multipart"


def test_a_206_with_a_part_count_is_not_stored() -> None:
    """SEMANTICS 26."""
    response = answer(TAG, TEN, b"Content-Range: bytes 0-9/20", b"x-amz-mp-parts-count: 2", status=206)
    assert refused(response, range_asked=True) == b"part"


numbers = st.integers(0, 30) | st.sampled_from([2**31, 2**63 - 2, 2**63 - 1, 2**63, 2**64 - 1, 2**64])
content_ranges = (
    st.builds(
        lambda unit, first, last, total: b"%s %d-%d/%s" % (unit, first, last, total),
        st.sampled_from([b"bytes", b"Bytes", b"items", b""]),
        numbers,
        numbers,
        st.just(b"*") | numbers.map(lambda n: b"%d" % n),
    )
    | st.just(b"bytes */20")
    | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.encode)
)
noise = st.sampled_from(
    [b"x-amz-mp-parts-count: 2", b"Vary: *", b"Age: 3", b"Content-Type: multipart/byteranges", b"X: y", b"ETag: W/x"]
)


@given(
    st.lists(content_ranges, max_size=2),
    numbers,
    st.lists(noise, max_size=2),
    st.none() | st.tuples(st.integers(0, 30), st.integers(1, 30)).map(lambda p: Interval(p[0], p[0] + p[1])),
    st.booleans(),
)
@example([b"bytes 5-9/20"], 5, [], Interval(5, 10), True)
@example([b"bytes 5-9/7"], 5, [], None, True)
@example([b"bytes 5-18446744073709551615/18446744073709551616"], 18446744073709551611, [], None, True)
def test_whatever_a_206_carries_no_byte_is_placed_outside_its_content_range(
    ranges: list[bytes], length: int, fields: list[bytes], requested: Interval | None, range_asked: bool
) -> None:
    """PITFALLS, wrong bytes: placement by Content-Range alone, checked against the request."""
    try:
        response = answer(
            TAG, b"Content-Length: %d" % length, *(b"Content-Range: " + value for value in ranges), *fields, status=206
        )
    except UpstreamProtocolError:
        return  # refused before anybody could store it
    found = judged(response, requested=requested, range_asked=range_asked)
    if isinstance(found, NotStorable):
        return
    assert range_asked
    assert len(ranges) == 1
    said = parse_content_range(ranges[0].strip())
    assert isinstance(said, ContentRange)
    assert found.interval == Interval(said.start, said.end)
    assert found.interval.length == length > 0
    assert found.interval.end <= found.record.generation.size == said.total
    if requested is not None:
        assert requested.contains(found.interval)
        assert found.interval.start == requested.start
        assert found.interval.end in (requested.end, said.total)


# ---- what is kept of the head ----


def test_nothing_that_belongs_to_one_answer_alone_is_kept() -> None:
    """SEMANTICS 17."""
    found = judged(
        answer(
            TAG, TEN, b"Set-Cookie: a=b", b"Alt-Svc: h2", b"Strict-Transport-Security: max-age=1", b"Via: 1.1 x",
            b"Age: 5", b"Date: " + MODIFIED, b"Connection: keep-alive, X-Hop", b"X-Hop: 1", b"Keep-Alive: timeout=5",
            b"x-amz-request-charged: requester", b"Access-Control-Allow-Origin: https://a", b"x-amz-request-id: A",
            b"x-amz-id-2: B", b"X-Cache: HIT", b"Cache-Status: x; hit", b"x-amz-meta-a: 1", b"Content-Type: text/plain",
            b"Cache-Control: max-age=5",
        )
    )  # fmt: skip
    assert isinstance(found, Storable)
    assert names(found.record.headers) == {b"etag", b"x-amz-meta-a", b"content-type", b"cache-control"}


def test_content_range_and_length_of_a_piece_never_describe_the_object() -> None:
    found = judged_range(b"bytes=5-9", b"bytes 5-9/1000", 5)
    assert isinstance(found, Storable)
    assert names(found.record.headers) == {b"etag"}


# ---- checksums ----

CRC = b"x-amz-checksum-crc32: AAAAAA=="


def checksums(response: ResponseHead, *, mode: bool) -> tuple[ChecksumState, Headers]:
    found = judged(response, requested=None, range_asked=response.status == 206, checksum_mode=mode)
    assert isinstance(found, Storable)
    assert not any(name.startswith(b"x-amz-checksum") for name in names(found.record.headers))
    return found.record.checksum_state, found.record.checksums


@pytest.mark.parametrize("mode", [True, False])
def test_a_206_never_tells_the_objects_checksum(mode: bool) -> None:
    """SEMANTICS 18; PITFALLS: S3 returns part checksums on part-aligned ranges."""
    for piece in (b"bytes 0-9/20", b"bytes 0-9/10"):
        response = answer(TAG, TEN, CRC, b"Content-MD5: x", b"Content-Range: " + piece, status=206)
        assert checksums(response, mode=mode) == (ChecksumState.UNKNOWN, ())


def test_a_200_tells_the_checksum_or_that_there_is_none_only_when_asked_for_it() -> None:
    """SEMANTICS 18: unknown, none, known."""
    known = (b"x-amz-checksum-crc32", b"AAAAAA==")
    assert checksums(answer(TAG, TEN, CRC), mode=True) == (ChecksumState.KNOWN, (known,))
    assert checksums(answer(TAG, TEN), mode=True) == (ChecksumState.NONE, ())
    assert checksums(answer(TAG, TEN), mode=False) == (ChecksumState.UNKNOWN, ())


KNOWN = HeadRecord(Generation(ETAG, 10), record(10).headers, ChecksumState.KNOWN, ((b"x-amz-checksum-crc32", b"A"),))


def test_a_later_answer_that_cannot_tell_keeps_what_is_known() -> None:
    """SEMANTICS 6, 18: partNumber or a range in between must not lose, nor invent, a checksum."""
    fresh = record(10, headers=((b"Content-Type", b"new"),))
    merged = merge_known(fresh, KNOWN)
    assert merged.headers == fresh.headers
    assert (merged.checksum_state, merged.checksums) == (KNOWN.checksum_state, KNOWN.checksums)


@pytest.mark.parametrize(
    "fresh",
    [
        record(11),
        record(10, etag=b'"other"'),
        record(10, modified=None),
        record(10, modified=b"Fri, 13 Nov 2026 10:00:01 GMT"),
        record(10, version=b"v2"),
        HeadRecord(Generation(ETAG, 10), KNOWN.headers, ChecksumState.NONE),
    ],
)
def test_a_checksum_is_never_carried_over_to_another_content_or_put(fresh: HeadRecord) -> None:
    """SEMANTICS 6: the header set belongs to (ETag, size, Last-Modified, version-id)."""
    assert merge_known(fresh, KNOWN) is fresh
    assert merge_known(fresh, None) is fresh


# ---- HEAD ----


def head_judged(*fields: bytes, mode: bool = False) -> HeadRecord | NotStorable:
    return judge_head(answer(*fields, method=b"HEAD"), checksum_mode=mode, at=7.0, honour_no_store=False)


def test_a_head_describes_the_whole_object() -> None:
    """SEMANTICS 11, 18."""
    found = head_judged(TAG, TEN, CRC, b"x-amz-request-id: A", mode=True)
    assert isinstance(found, HeadRecord)
    assert found.generation == Generation(ETAG, 10)
    assert found.checksum_state is ChecksumState.KNOWN
    assert names(found.headers) == {b"etag"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((TAG,), b"length-unknown"),
        ((TEN,), b"etag"),
        ((TEN, b"ETag: W/" + ETAG), b"etag"),
        ((TEN, TAG, TAG), b"etag"),
        ((TEN, TAG, b"x-amz-mp-parts-count: 2"), b"part"),
        ((TEN, TAG, b"Content-Range: bytes 0-9/10"), b"content-range"),
        ((TEN, TAG, b"Vary: *"), b"vary"),
        ((TEN, TAG, b"x-amz-server-side-encryption: aws:kms"), b"kms"),
        ((TEN, TAG, b"x-amz-server-side-encryption-customer-key-MD5: x"), b"sse-c"),
    ],
)
def test_an_odd_head_is_not_stored(fields: tuple[bytes, ...], reason: bytes) -> None:
    """SEMANTICS 23, 24, 26."""
    assert head_judged(*fields) == NotStorable(reason)
