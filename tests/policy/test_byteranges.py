"""``multipart/byteranges``: which ranges are answered so, and a body a parser of mail reads back (SEMANTICS 27)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.harness.multipart import body_parts
from tests.policy.heads import ETAG, OTHER_ETAG, classified, read_of, record

from fastcache.model import HeadRecord, Interval
from fastcache.policy.byteranges import multipart
from fastcache.policy.local_answer import LocalAnswer, answer_locally
from fastcache.policy.read_request import ReadRequest

SIZE = 1000
WHOLE = LocalAnswer(200, Interval(0, SIZE), ((b"Content-Length", b"1000"),))


def several(*fields: bytes) -> ReadRequest:
    found = classified(*fields, multi_range=True)
    assert isinstance(found, ReadRequest)
    return found


def answered(value: bytes, *fields: bytes, stored: HeadRecord | None = None) -> LocalAnswer:
    return answer_locally(several(b"Range: bytes=" + value, *fields), stored or record(SIZE))


@pytest.mark.parametrize(
    ("value", "intervals"),
    [
        (b"0-0,-1", [(0, 1), (999, 1000)]),
        (b"500-600,601-999", [(500, 601), (601, 1000)]),
        (b"500-700,601-900", [(500, 701), (601, 901)]),
        (b"900-,0-9", [(900, 1000), (0, 10)]),
        (b"0-9, 20-29 ,5000-6000,40-49", [(0, 10), (20, 30), (40, 50)]),
    ],
)
def test_satisfiable_ranges_are_answered_in_the_order_asked(value: bytes, intervals: list[tuple[int, int]]) -> None:
    found = answered(value)
    assert (found.status, list(found.ranges)) == (206, intervals)
    assert found.interval == Interval(min(first for first, _ in intervals), max(end for _, end in intervals))


def test_a_single_range_that_can_be_satisfied_is_a_plain_206() -> None:
    assert answered(b"0-9,5000-,-0") == answer_locally(read_of(b"Range: bytes=0-9"), record(SIZE))


def test_no_range_that_can_be_satisfied_is_416() -> None:
    assert answered(b"1000-,5000-6000,-0") == LocalAnswer(416, None, ((b"Content-Range", b"bytes */1000"),))
    assert answered(b"0-0,1-1", stored=record(0)) == LocalAnswer(416, None, ((b"Content-Range", b"bytes */0"),))


@pytest.mark.parametrize(
    "value",
    [
        b"0-99,50-149,100-199",
        b"0-,0-,0-",
        b"0-,-1000",
        b"0-499,500-999",
        b",".join(b"%d-%d" % (n, n) for n in range(40, 0, -2)),
        b",".join(b"%d-%d" % (n * 2, n * 2) for n in range(101)),
        b"5-4,0-1",
    ],
    ids=["three overlap", "all three times", "all twice", "nothing saved", "many backwards", "too many", "invalid"],
)
def test_what_gains_nothing_or_is_absurd_gets_the_full_200(value: bytes) -> None:
    """RFC 9110 section 14.2."""
    assert answered(value) == WHOLE


def test_as_many_as_allowed_in_order_are_answered() -> None:
    assert len(answered(b",".join(b"%d-%d" % (n * 2, n * 2) for n in range(100))).ranges) == 100


def test_a_coded_object_is_not_divided() -> None:
    """Content-Encoding in the head would be taken for the coding of the parts and their delimiters together."""
    assert answered(b"0-0,5-5", stored=record(SIZE, headers=((b"Content-Encoding", b"gzip"),))) == WHOLE


def test_conditions_come_first() -> None:
    assert answered(b"0-0,5-5", b"If-Match: " + OTHER_ETAG).status == 412
    assert answered(b"0-0,5-5", b"If-None-Match: " + ETAG).status == 304
    assert answered(b"0-0,5-5", b"If-Range: " + OTHER_ETAG) == WHOLE
    assert answered(b"0-0,5-5", b"If-Range: " + ETAG).status == 206


def test_without_the_option_several_ranges_mean_the_whole_object() -> None:
    assert read_of(b"Range: bytes=0-0,5-5").ranges is None
    assert several(b"Range: bytes=0-0").ranges is None


@given(
    st.binary(min_size=200, max_size=400),
    st.lists(st.tuples(st.integers(0, 450), st.integers(0, 60)), min_size=2, max_size=6),
    st.sampled_from([b"application/octet-stream", b"text/plain; charset=utf-8", None]),
)
def test_a_parser_of_mail_finds_every_range_and_no_other_byte(
    data: bytes, spans: list[tuple[int, int]], content_type: bytes | None
) -> None:
    value = b",".join(b"%d-%d" % (first, first + more) for first, more in spans)
    ranges = answered(value, stored=record(len(data))).ranges
    if not ranges:
        return
    frame = multipart(ranges, len(data), content_type, b"0123456789abcdef")
    pieces = [head + data[start:end] for head, (start, end) in zip(frame.heads, ranges, strict=True)]
    body = b"".join(pieces) + frame.closing
    assert len(body) == frame.length
    assert body_parts(frame.content_type, body) == [
        (content_type and content_type.decode(), f"bytes {start}-{end - 1}/{len(data)}", data[start:end])
        for start, end in ranges
    ]
