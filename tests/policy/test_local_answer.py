"""Status, interval and fields of an answer from the cache: RFC 9110 sections 13.2.2 and 14, against a plain model."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.policy.heads import EARLIER, ETAG, LATER, MODIFIED, OTHER_ETAG, read_of, record

from fastcache.model import HeadRecord, Interval
from fastcache.policy.local_answer import LocalAnswer, answer_locally

DATES = {EARLIER: 1, MODIFIED: 2, LATER: 3}


def answered(*fields: bytes, size: int = 1000, method: bytes = b"GET") -> LocalAnswer:
    return answer_locally(read_of(*fields, method=method), record(size))


def test_a_plain_get_is_the_whole_object() -> None:
    assert answered() == LocalAnswer(200, Interval(0, 1000), ((b"Content-Length", b"1000"),))
    assert answered().whole_object
    assert answered(method=b"HEAD") == answered()


@pytest.mark.parametrize(
    ("value", "interval"),
    [
        (b"bytes=0-0", Interval(0, 1)),
        (b"bytes=100-199", Interval(100, 200)),
        (b"bytes=100-", Interval(100, 1000)),
        (b"bytes=-10", Interval(990, 1000)),
        (b"bytes=-2000", Interval(0, 1000)),
        (b"bytes=0-8388607", Interval(0, 1000)),
        (b"bytes=999-99999999999999999999999", Interval(999, 1000)),
        (b"bytes=0-999", Interval(0, 1000)),
    ],
)
def test_a_range_is_a_206_with_its_place_in_the_object(value: bytes, interval: Interval) -> None:
    """RFC 9110 section 14; the whole object as a range is a 206 all the same, so it carries no checksum."""
    found = answered(b"Range: " + value)
    assert found == LocalAnswer(
        206,
        interval,
        (
            (b"Content-Range", b"bytes %d-%d/1000" % (interval.start, interval.end - 1)),
            (b"Content-Length", b"%d" % interval.length),
        ),
    )
    assert not found.whole_object


@pytest.mark.parametrize("value", [b"bytes=1000-", b"bytes=1000-2000", b"bytes=-0", b"bytes=18446744073709551616-"])
def test_a_range_outside_the_object_is_416_with_its_size(value: bytes) -> None:
    assert answered(b"Range: " + value) == LocalAnswer(416, None, ((b"Content-Range", b"bytes */1000"),))


@pytest.mark.parametrize("value", [b"bytes=0-", b"bytes=0-0", b"bytes=-5", b"bytes=-0", b"bytes=5-"])
def test_every_range_of_a_zero_byte_object_is_416(value: bytes) -> None:
    """PITFALLS: zero-byte objects."""
    assert answered(b"Range: " + value, size=0) == LocalAnswer(416, None, ((b"Content-Range", b"bytes */0"),))
    assert answered(size=0) == LocalAnswer(200, Interval(0, 0), ((b"Content-Length", b"0"),))


@pytest.mark.parametrize("value", [b"bytes=0-1,5-6", b"bytes=5-4", b"items=0-5", b"bytes=,", b"nonsense"])
def test_several_ranges_or_an_invalid_one_get_the_full_200(value: bytes) -> None:
    """SEMANTICS 27; PITFALLS: multi-range requests were answered wrongly."""
    assert answered(b"Range: " + value) == answered()


@pytest.mark.parametrize("value", [OTHER_ETAG, b"W/" + ETAG, EARLIER, LATER, b"*", ETAG + b", " + OTHER_ETAG])
def test_an_if_range_that_does_not_match_gets_the_full_200(value: bytes) -> None:
    """PITFALLS: not a sliced 206; not a 416 either."""
    for wanted in (b"bytes=5-9", b"bytes=5000-"):
        assert answered(b"Range: " + wanted, b"If-Range: " + value) == answered()


@pytest.mark.parametrize("value", [ETAG, ETAG.strip(b'"'), MODIFIED])
def test_an_if_range_that_matches_gets_its_range(value: bytes) -> None:
    assert answered(b"Range: bytes=5-9", b"If-Range: " + value).interval == Interval(5, 10)


@pytest.mark.parametrize("field", [b"If-Match: " + OTHER_ETAG, b"If-Unmodified-Since: " + EARLIER])
@pytest.mark.parametrize("wanted", [b"bytes=5-9", b"bytes=5000-"])
def test_a_failed_precondition_comes_before_the_range(field: bytes, wanted: bytes) -> None:
    """RFC 9110 section 13.2.2: Range is looked at last."""
    assert answered(field, b"Range: " + wanted) == LocalAnswer(412, None)


def test_not_modified_comes_before_the_range_and_carries_no_bytes() -> None:
    assert answered(b"If-None-Match: " + ETAG, b"Range: bytes=5-9") == LocalAnswer(304, None)
    assert answered(b"If-None-Match: *", method=b"HEAD") == LocalAnswer(304, None)


def test_the_last_modified_of_a_304_decides_about_if_modified_since() -> None:
    """SEMANTICS 12: our validator made the origin ignore it; an old one after an overwrite must be 200."""
    read = read_of(b"If-Modified-Since: " + MODIFIED)
    assert answer_locally(read, record()).status == 304
    assert answer_locally(read, record(), last_modified=LATER).status == 200
    assert answer_locally(read, record(modified=None)).status == 200


# ---- the model ----

_TAGS = re.compile(rb'(W/)?"([^"]*)"')


def listed(value: bytes, *, strong: bool) -> bool:
    if value == b"*":
        return True
    return any(b'"' + tag + b'"' == ETAG and not (strong and weak) for weak, tag in _TAGS.findall(value))


def expected_status(fields: dict[bytes, bytes], modified: bytes | None) -> int:
    """RFC 9110 section 13.2.2, word for word, for GET and HEAD."""
    changed = DATES[modified] if modified is not None else None
    if b"If-Match" in fields:
        if not listed(fields[b"If-Match"], strong=True):
            return 412
    elif b"If-Unmodified-Since" in fields:
        since = DATES.get(fields[b"If-Unmodified-Since"])
        if since is not None and changed is not None and changed > since:
            return 412
    if b"If-None-Match" in fields:
        if listed(fields[b"If-None-Match"], strong=False):
            return 304
    elif b"If-Modified-Since" in fields:
        since = DATES.get(fields[b"If-Modified-Since"])
        if since is not None and changed is not None and changed <= since:
            return 304
    return 200


def expected(fields: dict[bytes, bytes], size: int, modified: bytes | None) -> tuple[int, bytes | None]:
    """Status and content of an object whose byte n is n, modulo 251."""
    content = bytes(n % 251 for n in range(size))
    status = expected_status(fields, modified)
    if status != 200:
        return status, None
    wanted = re.fullmatch(rb"bytes=(\d*)-(\d*)", fields.get(b"Range", b""))
    if wanted is None or wanted.groups() == (b"", b""):
        return 200, content
    if b"If-Range" in fields:
        validator = fields[b"If-Range"]
        if validator != ETAG and (modified is None or validator != modified):
            return 200, content
    first, last = wanted.groups()
    if first and last and int(last) < int(first):
        return 200, content
    piece = content[int(first) : int(last) + 1 if last else None] if first else content[max(0, size - int(last)) :]
    return (206, piece) if piece else (416, None)


tags = st.sampled_from([b"*", ETAG, OTHER_ETAG, b"W/" + ETAG, OTHER_ETAG + b", " + ETAG, OTHER_ETAG + b",W/" + ETAG])
dates = st.sampled_from([*DATES, b"yesterday"])
ends = st.integers(0, 12).map(lambda n: b"%d" % n) | st.just(b"")
requests = st.fixed_dictionaries(
    {},
    optional={
        b"If-Match": tags,
        b"If-None-Match": tags,
        b"If-Modified-Since": dates,
        b"If-Unmodified-Since": dates,
        b"If-Range": st.sampled_from([ETAG, OTHER_ETAG, b"W/" + ETAG, *DATES]),
        b"Range": st.builds(lambda first, last: b"bytes=%s-%s" % (first, last), ends, ends)
        | st.sampled_from([b"bytes=0-1,3-4", b"items=0-1"]),
    },
)


@given(requests, st.integers(0, 10), st.sampled_from([*DATES, None]))
@example({b"If-Match": ETAG, b"If-Unmodified-Since": EARLIER, b"If-None-Match": OTHER_ETAG}, 5, LATER)
@example({b"Range": b"bytes=0-"}, 0, None)
def test_every_answer_is_that_of_the_rfc(fields: dict[bytes, bytes], size: int, modified: bytes | None) -> None:
    """RFC 9110 sections 13.2.2, 13.1.5 and 14; the stored Last-Modified or that of a 304, whichever is newer news."""
    lines = [name + b": " + value for name, value in fields.items()]
    status, content = expected(fields, size, modified)
    stored: HeadRecord = record(size, modified=modified)
    found = answer_locally(read_of(*lines), stored)
    assert found.status == status
    if modified is not None:
        assert answer_locally(read_of(*lines), record(size, modified=LATER), last_modified=modified) == found
    if content is None:
        assert found.interval is None
        return
    assert found.interval is not None
    whole = bytes(n % 251 for n in range(size))
    assert whole[found.interval.start : found.interval.end] == content
    assert dict(found.headers)[b"Content-Length"] == b"%d" % len(content)
    assert (b"Content-Range" in dict(found.headers)) is (status == 206)
