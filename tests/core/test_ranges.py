"""Range and Content-Range arithmetic against the RFC's examples and a plain Python model."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.harness.oracles import ranges

from fastcache._core.ranges import (
    UNSATISFIABLE,
    ContentRange,
    UnsatisfiedRange,
    format_content_range,
    format_unsatisfied_range,
    parse,
    parse_content_range,
)
from fastcache.model import Interval

SATURATED = 2**63 - 1

# Spec, size, expected interval (None: 416).
RESOLVED = [
    (b"bytes=0-499", 10_000, (0, 500)),
    (b"bytes=500-999", 10_000, (500, 1000)),
    (b"bytes=-500", 10_000, (9500, 10_000)),
    (b"bytes=9500-", 10_000, (9500, 10_000)),
    (b"bytes=0-8388607", 1_000, (0, 1_000)),
    (b"bytes=52428800-104857599", 1_000, None),
    (b"bytes=-262144", 100, (0, 100)),
    (b"bytes=0-0", 1, (0, 1)),
    (b"bytes=-1", 1, (0, 1)),
    (b"bytes=999-", 1_000, (999, 1_000)),
    (b"bytes=1000-", 1_000, None),
    (b"bytes=1000-1000", 1_000, None),
    (b"bytes=-0", 1_000, None),
    (b"bytes=0-", 0, None),
    (b"bytes=0-0", 0, None),
    (b"bytes=-1", 0, None),
    (b"bytes=-0", 0, None),
    (b"BYTES=1-2", 10, (1, 3)),
    (b"bytes=0001-0002", 10, (1, 3)),
    (b"bytes=,,1-2,", 10, (1, 3)),
    (b"bytes=0-18446744073709551615", 10, (0, 10)),
    (b"bytes=0-18446744073709551616", 10, (0, 10)),
    (b"bytes=0-9223372036854775807", 10, (0, 10)),
    (b"bytes=18446744073709551616-", 10, None),
    (b"bytes=-18446744073709551616", 10, (0, 10)),
    (b"bytes=18446744073709551615-18446744073709551616", SATURATED, None),
    (b"bytes=9223372036854775806-", SATURATED, (SATURATED - 1, SATURATED)),
    (b"bytes=9223372036854775807-", SATURATED, None),
    (b"bytes=0-" + b"9" * 5000, 10, (0, 10)),
]


@pytest.mark.parametrize(("value", "size", "expected"), RESOLVED)
def test_a_single_range_resolves_as_rfc_9110_says(value: bytes, size: int, expected: tuple[int, int] | None) -> None:
    spec = parse(value)
    assert spec is not None
    assert not spec.is_multi
    assert spec.resolve(size) == (UNSATISFIABLE if expected is None else Interval(*expected))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"bytes",
        b"bytes=",
        b"bytes=,",
        b"bytes= ,",
        b"bytes=-",
        b"bytes=--1",
        b"bytes=5-4",
        b"bytes=0-1-2",
        b"bytes=0-1;2-3",
        b"bytes=0-1 2-3",
        b"bytes=1",
        b"bytes=a-b",
        b"bytes=0x1-0x2",
        b"bytes=+1-2",
        b"bytes=1 -2",
        b"bytes=1- 2",
        b"bytes= 0-5",
        b" bytes=0-5",
        b"bytes =0-5",
        b"bytes:0-5",
        b"bytes=0-5\x00",
        b"bytes=0-5,x",
        b"bytes=0-5,9-8",
        b"items=0-5",
        b"byte=0-5",
        b"bytes=18446744073709551617-18446744073709551616",
        b"bytes=" + b",".join([b"0-0"] * 101),
    ],
)
def test_an_invalid_or_foreign_range_is_ignored(value: bytes) -> None:
    assert parse(value) is None


def test_a_multi_range_keeps_every_part_in_order() -> None:
    spec = parse(b"bytes=0-0 , 500-,\t-1,2000-3000")
    assert spec is not None
    assert spec.is_multi
    assert (spec.first, spec.last, spec.suffix) == (0, 0, None)
    assert spec.resolve_all(1000) == (Interval(0, 1), Interval(500, 1000), Interval(999, 1000))
    assert spec.resolve_all(0) is UNSATISFIABLE
    with pytest.raises(ValueError, match="multi-range"):
        spec.resolve(1000)


def test_as_many_ranges_as_allowed_are_a_multi_range() -> None:
    spec = parse(b"bytes=" + b",".join([b"0-0"] * 100))
    assert spec is not None
    assert len(spec.parts) == 100


@pytest.mark.parametrize("size", [-1, 2**63])
def test_a_size_that_no_object_has_is_refused(size: int) -> None:
    spec = parse(b"bytes=0-")
    assert spec is not None
    with pytest.raises(ValueError, match="size"):
        spec.resolve(size)


near_the_edges = st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**63 - 2, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30])
numbers = st.one_of(st.integers(0, 40), near_the_edges, st.integers(0, 2**70)).map(lambda n: b"%d" % n)
specs = st.one_of(
    st.builds(lambda a, b: a + b"-" + b, numbers, numbers),
    st.builds(lambda a: a + b"-", numbers),
    st.builds(lambda a: b"-" + a, numbers),
    st.text("0123456789-, \t;x=", max_size=8).map(str.encode),
)
separators = st.sampled_from([b",", b", ", b" ,", b",,", b"\t,\t"])
values = st.builds(
    lambda unit, separator, members, tail: unit + separator.join(members) + tail,
    st.sampled_from([b"bytes=", b"Bytes=", b"bytes= ", b"bytes", b"x="]),
    separators,
    st.lists(specs, min_size=1, max_size=4),
    st.sampled_from([b"", b"", b",", b" ", b"x"]),
)


@given(values, st.one_of(st.integers(0, 50), st.sampled_from([2**32, 2**62, 2**63 - 1])))
@example(b"bytes=9223372036854775807-9223372036854775806", 5)
@example(b"bytes=00000000000000000000000000000001-1", 5)
def test_parsing_and_resolving_agree_with_the_model(value: bytes, size: int) -> None:
    spec = parse(value)
    expected = ranges(value, size)
    if spec is None:
        assert expected is None
    else:
        resolved = spec.resolve_all(size)
        assert ([] if resolved is UNSATISFIABLE else list(resolved)) == expected
        assert spec.is_multi or (spec.resolve(size) is UNSATISFIABLE) == (not expected)


@given(st.binary(max_size=40))
def test_arbitrary_bytes_agree_with_the_model(junk: bytes) -> None:
    value = b"bytes=" + junk
    assert (parse(value) is None) == (ranges(value, 10) is None)


@given(st.data())
def test_content_range_round_trips(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 2**63 - 2))
    start = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(start + 1, size))
    assert parse_content_range(format_content_range(start, end, size)) == ContentRange(start, end, size)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"bytes 0-5/10", ContentRange(0, 6, 10)),
        (b"bytes 0-5/*", ContentRange(0, 6, None)),
        (b"bytes 9-9/10", ContentRange(9, 10, 10)),
        (b"bytes */10", UnsatisfiedRange(10)),
        (b"bytes */0", UnsatisfiedRange(0)),
        (b"bytes 0-10/10", None),
        (b"bytes 5-4/10", None),
        (b"bytes */*", None),
        (b"bytes 0-5", None),
        (b"bytes 0-5/", None),
        (b"bytes 0-/10", None),
        (b"bytes -5/10", None),
        (b"bytes=0-5/10", None),
        (b"bytes  0-5/10", None),
        (b"bytes 0-5/10 ", None),
        (b"bytes 0-5/*x", None),
        (b"bytes 0 -5/10", None),
        (b"bytes 0-5/+10", None),
        (b"bytes 0-5/10,6-7/10", None),
        (b"items 0-5/10", None),
        (b"", None),
        (b"bytes 0-5/18446744073709551626", None),
        (b"bytes 18446744073709551616-18446744073709551617/18446744073709551618", None),
        (b"bytes 0-9223372036854775806/9223372036854775807", None),
        (b"bytes 0-9223372036854775805/9223372036854775806", ContentRange(0, 2**63 - 2, 2**63 - 2)),
    ],
)
def test_content_range_is_read_strictly(value: bytes, expected: ContentRange | UnsatisfiedRange | None) -> None:
    assert parse_content_range(value) == expected


@pytest.mark.parametrize(("start", "end", "size"), [(0, 0, 10), (5, 4, 10), (0, 11, 10), (-1, 5, 10)])
def test_a_content_range_outside_the_object_cannot_be_written(start: int, end: int, size: int) -> None:
    with pytest.raises(ValueError, match="interval"):
        format_content_range(start, end, size)


def test_the_content_range_of_a_416_names_the_size() -> None:
    assert format_unsatisfied_range(0) == b"bytes */0"
    with pytest.raises(ValueError, match="negative"):
        format_unsatisfied_range(-1)
