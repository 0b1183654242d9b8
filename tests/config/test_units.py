from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.lifecycle.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("17B", 17),
        ("64KiB", 65536),
        ("64 KiB", 65536),
        ("64Ki", 65536),
        ("10GiB", 10 * 2**30),
        ("10Gi", 10 * 2**30),
        ("1.5MiB", 3 * 2**19),
        ("2TiB", 2**41),
        ("5GB", 5 * 10**9),
        ("3kB", 3000),
        ("3KB", 3000),
        ("7MB", 7 * 10**6),
        ("1TB", 10**12),
    ],
)
def test_sizes_are_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GiB",
        "-1",
        "+1",
        "1e9",
        "0x10",
        "10 G",
        "10G",
        "5K",
        "1M",
        "5gb",
        "1_000",
        "٣",
        "1.",
        ".5KiB",
        "1s",
        "1  MiB",
    ]
    + ["9" * 19, "1\n", "1GiBs"],
)
def test_what_is_no_size_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write a whole number of bytes, or one with B, KiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0.5", "1.0001KiB", "0.1B"])
def test_a_part_of_a_byte_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a whole number of bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("100ms", 0.1), ("60s", 60), ("60", 60), ("0.5", 0.5), ("1.5m", 90), ("5m", 300), ("1h", 3600)]
    + [("2d", 172800), ("250 ms", 0.25)],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1:30", "1w", "5 min", "1M", "inf", "nan", "1e3", "1h30m", "5MiB"])
def test_what_is_no_duration_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write a number of seconds, or one with ms, s, m, h or d"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=2**59))
def test_a_formatted_size_reads_back_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.integers(min_value=0, max_value=10**12).map(lambda microseconds: microseconds / 1_000_000))
def test_a_formatted_duration_reads_back_exactly(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1023, "1023"), (65536, "64KiB"), (3 * 2**19, "1536KiB"), (2**40, "1TiB")]
)
def test_sizes_are_written_in_the_largest_exact_unit(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0s"), (0.1, "100ms"), (300.0, "300s"), (0.0005, "0.0005s")])
def test_durations_are_written_in_seconds_or_whole_milliseconds(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
