"""Field values that decide what a hit sends: ranges, dates, entity tags, preconditions."""

from __future__ import annotations

from tests.fuzz.target import Target
from tests.harness import oracles

from fastcache._core.conditions import (
    evaluate,
    http_date,
    if_range_matches,
    is_strong_etag,
    matches_any,
    parse_http_date,
    strong_match,
    weak_match,
)
from fastcache._core.ranges import (
    UNSATISFIABLE,
    ContentRange,
    format_content_range,
    parse,
    parse_content_range,
)

SIZES = (0, 1, 5, 1000, 2**32, 2**63 - 1)


def range_field(data: bytes) -> None:
    """Ignored and resolved exactly as RFC 9110 says, for objects of every size."""
    spec = parse(data)
    for size in SIZES:
        expected = oracles.ranges(data, size)
        if spec is None:
            assert expected is None
            continue
        resolved = spec.resolve_all(size)
        assert ([] if resolved is UNSATISFIABLE else list(resolved)) == expected
        if not spec.is_multi:
            assert spec.resolve(size) == (expected[0] if expected else UNSATISFIABLE)


def content_range(data: bytes) -> None:
    """Read as RFC 9110 says, and written again as what it was."""
    ours = parse_content_range(data)
    expected = oracles.content_range(data)
    if ours is None:
        assert expected is None
    elif isinstance(ours, ContentRange):
        assert tuple(ours) == expected
        if ours.total is not None:
            assert parse_content_range(format_content_range(*ours)) == ours
    else:
        assert expected == (None, None, ours.total)


def date(data: bytes) -> None:
    """One of the three forms and nothing else; a date that was read is written as the same second."""
    ours = parse_http_date(data)
    assert ours == oracles.http_date(data)
    if ours is not None and -62167219200 <= ours <= 253402300799:
        assert parse_http_date(http_date(ours)) == ours


def conditions(data: bytes) -> None:
    """Lines: method, ETag, Last-Modified, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range;
    a line ``-`` is a field that is not there."""
    lines = [None if line == b"-" else line for line in data.split(b"\n", 7)]
    method, etag, modified, match, none_match, modified_since, unmodified_since, if_range = lines + [None] * (
        8 - len(lines)
    )
    asked = evaluate(method or b"", etag, modified, match, none_match, modified_since, unmodified_since)
    dates = [
        None if value is None else oracles.http_date(value) for value in (modified, modified_since, unmodified_since)
    ]
    assert asked == oracles.precondition_steps(
        method in (b"GET", b"HEAD"),
        None if match is None else oracles.names_current(match, etag, strong=True),
        None if none_match is None else oracles.names_current(none_match, etag, strong=False),
        *dates,
    )
    if if_range is not None:
        assert if_range_matches(if_range, etag, modified) == oracles.if_range_holds(if_range, etag, modified)
    for listed in (match, none_match):
        if listed is not None:
            for strong in (True, False):
                assert matches_any(listed, etag, strong=strong) == oracles.names_current(listed, etag, strong=strong)
            if etag is not None:
                left, right = oracles.entity_tag(listed), oracles.entity_tag(etag)
                same = left is not None and right is not None and left[1] == right[1]
                assert weak_match(listed, etag) == same
                assert strong_match(listed, etag) == (same and not left[0] and not right[0])
    if etag is not None and is_strong_etag(etag):
        assert strong_match(etag, etag)


_RANGE_TOKENS = (
    *(
        b"bytes=",
        b"bytes ",
        b"-",
        b",",
        b", ",
        b"/",
        b"*",
        b"=",
        b"\t",
        b"0",
        b"1",
        b"499",
        b"999",
        b"0-0",
        b"-1",
        b"5-4",
    ),
    *(b"9223372036854775806", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"0-0," * 50),
)
_DATE_TOKENS = (
    *(
        b"Sun, ",
        b"Sunday, ",
        b"Wednesday",
        b"Mon",
        b"Nov",
        b"Feb",
        b" GMT",
        b"29",
        b"60",
        b"24",
        b"0000",
        b"9999",
        b"-",
        b":",
    ),
    *(b"29 Feb 2000", b"29 Feb 1900", b"23:59:60", b"  ", b" 6"),
)

TARGETS = {
    "range": Target(
        range_field, (b"bytes=0-499", b"bytes=-500", b"bytes=9500-", b"bytes=0-0 , 500-,\t-1,2000-3000"), _RANGE_TOKENS
    ),
    "content_range": Target(
        content_range, (b"bytes 0-499/1234", b"bytes 500-999/*", b"bytes */1234", b"BYTES 0-0/1"), _RANGE_TOKENS
    ),
    "date": Target(
        date,
        (
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"Sunday, 06-Nov-94 08:49:37 GMT",
            b"Sun Nov  6 08:49:37 1994",
            b"Tue, 29 Feb 2000 23:59:60 GMT",
            b"Sat, 01 Jan 0000 00:00:00 GMT",
        ),
        _DATE_TOKENS,
    ),
    "conditions": Target(
        conditions,
        (
            b'GET\n"a"\nSun, 06 Nov 1994 08:49:37 GMT\n"b", "a"\n-\n-\n-\n"a"',
            b'HEAD\n"a"\nSun, 06 Nov 1994 08:49:37 GMT\n-\nW/"a"\nSun, 06 Nov 1994 08:49:37 GMT\n-\nW/"a"',
            b"PUT\n-\n-\n*\n*\n-\nSun, 06 Nov 1994 08:49:36 GMT\nSun, 06 Nov 1994 08:49:37 GMT",
            b"GET\na\nSun, 06 Nov 1994 08:49:37 GMT\n-\n-\n-\nSunday, 06-Nov-94 08:49:36 GMT\na",
        ),
        (*_DATE_TOKENS, b'"', b"W/", b",", b"*", b"\n", b"-\n", b'"a"', b"a", b'""', b" ", b"\t", b"GET", b"PUT"),
    ),
}
