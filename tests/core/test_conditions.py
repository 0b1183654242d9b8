"""Entity tags, HTTP dates and preconditions: every order and combination the RFC and AWS document."""

from __future__ import annotations

import calendar
import datetime
import email.utils
import itertools
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.harness.oracles import precondition_steps

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

ETAG = b'"9b2cf535f27731c974343645a3985328"'
MODIFIED = b"Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
LATER = b"Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    ("left", "right", "strong", "weak"),
    [
        (b'W/"1"', b'W/"1"', False, True),  # The four lines of RFC 9110 section 8.8.3.2, table 3.
        (b'W/"1"', b'W/"2"', False, False),
        (b'W/"1"', b'"1"', False, True),
        (b'"1"', b'"1"', True, True),
        (b"1", b'"1"', True, True),
        (b'"1"', b"1", True, True),
        (b"1", b"1", True, True),
        (b"W/1", b'"1"', False, True),
        (b'w/"1"', b'"1"', False, False),
        (b'"1"x', b'"1"', False, False),
        (b'"1', b'"1"', True, True),
        (b'"a"', b'"A"', False, False),
        (b'""', b'""', True, True),
        (b"", b'""', False, False),
        (b'"1", "2"', b'"1"', False, False),
    ],
)
def test_tags_compare_as_rfc_9110_but_without_quotes(left: bytes, right: bytes, strong: bool, weak: bool) -> None:
    assert strong_match(left, right) is strong
    assert weak_match(left, right) is weak
    assert strong_match(right, left) is strong
    assert weak_match(right, left) is weak


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ETAG, True),
        (b"abc", True),
        (b'W/"1"', False),
        (b"", False),
        (b'""', False),
        (b'"1", "2"', False),
        (b'"1', False),
        (b'1"', False),
    ],
)
def test_only_a_single_strong_tag_names_a_generation(value: bytes, expected: bool) -> None:
    assert is_strong_etag(value) is expected


@pytest.mark.parametrize(
    ("listed", "strong", "weak"),
    [
        (b"*", True, True),
        (b'"b"', True, True),
        (b"b", True, True),
        (b'"a", "b"', True, True),
        (b'"a","b"', True, True),
        (b'"a" , "b" , "c"', True, True),
        (b",, ,\t,b", True, True),
        (b"a, b, c", True, True),
        (b'W/"b"', False, True),
        (b'"a", W/"b"', False, True),
        (b'"a,b"', False, False),
        (b'"a, b, c"', False, False),
        (b'"a"', False, False),
        (b"", False, False),
        (b" ", False, False),
        (b",", False, False),
        (b"bb", False, False),
        (b'"*"', False, False),
    ],
)
def test_a_list_of_tags_names_the_current_one(listed: bytes, strong: bool, weak: bool) -> None:
    assert matches_any(listed, b'"b"', strong=True) is strong
    assert matches_any(listed, b'"b"', strong=False) is weak


def test_nothing_matches_what_does_not_exist() -> None:
    assert not matches_any(b"*", None, strong=True)
    assert not matches_any(b'"a"', None, strong=False)


tags = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='",'), min_size=1, max_size=6)


@given(st.lists(st.tuples(tags, st.booleans(), st.booleans()), max_size=5), tags)
def test_a_list_matches_exactly_when_a_member_does(members: list[tuple[str, bool, bool]], current: str) -> None:
    # An unquoted tag that begins like a weak one is a weak one.
    members = [(tag, weak, quoted or tag.startswith("W/")) for tag, weak, quoted in members]
    text = ", ".join(("W/" if weak else "") + (f'"{tag}"' if quoted else tag) for tag, weak, quoted in members)
    if text == "*":
        return
    have = f'"{current}"'.encode()
    assert matches_any(text.encode(), have, strong=False) == any(tag == current for tag, _, _ in members)
    assert matches_any(text.encode(), have, strong=True) == any(tag == current and not weak for tag, weak, _ in members)


@given(st.binary(max_size=30), st.binary(max_size=10))
def test_arbitrary_tags_never_crash_and_are_reflexive_when_sane(listed: bytes, current: bytes) -> None:
    assert matches_any(listed, current, strong=True) <= matches_any(listed, current, strong=False)


# --- dates


@pytest.mark.parametrize(
    "value",
    [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_the_three_date_forms_of_rfc_9110_are_read(value: bytes) -> None:
    assert parse_http_date(value) == 784111777


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
        (b"Wed, 31 Dec 1969 23:59:59 GMT", -1),
        (b"Tue, 29 Feb 2000 00:00:00 GMT", 951782400),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        (b"Tue, 30 Jun 2015 23:59:60 GMT", 1435708800),
        (b"Wed Nov 16 08:49:37 1994", 784975777),
    ],
)
def test_dates_at_the_edges_are_read(value: bytes, expected: int) -> None:
    assert parse_http_date(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"784111777",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 08:49:37 +0000",
        b"Sun, 06 Nov 1994 08:49:37 GMT ",
        b" Sun, 06 Nov 1994 08:49:37 GMT",
        b"sun, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 06 nov 1994 08:49:37 GMT",
        b"Son, 06 Nov 1994 08:49:37 GMT",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 31 Nov 1994 08:49:37 GMT",
        b"Mon, 29 Feb 1900 08:49:37 GMT",
        b"Sun, 06 Foo 1994 08:49:37 GMT",
        b"Sun, 06 Nov -994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:60:37 GMT",
        b"Sun, 06 Nov 1994 08:49:61 GMT",
        b"Sun, 06 Nov 1994 08-49-37 GMT",
        b"Sun, 06 Nov 1994 08:49:3\x00 GMT",
        b"Sunday, 06-Nov-1994 08:49:37 GMT",
        b"Sun, 06-Nov-94 08:49:37 GMT",
        b"Sunday, 06 Nov 94 08:49:37 GMT",
        b"Sun Nov 06 08:49:37 94",
        b"Sun Nov 6 08:49:37 1994",
        b"1994-11-06T08:49:37Z",
    ],
)
def test_what_is_no_http_date_is_none(value: bytes) -> None:
    assert parse_http_date(value) is None


@given(st.integers(-62135596800, 253402300799))
@example(951782399)
@example(-62135596800)
def test_dates_round_trip_and_agree_with_the_standard_library(epoch: int) -> None:
    written = http_date(epoch)
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=epoch)
    assert written.decode() == email.utils.format_datetime(moment, usegmt=True)
    assert parse_http_date(written) == epoch
    assert parse_http_date(time.asctime(moment.timetuple()).encode()) == epoch or moment.year < 1000


@given(st.integers(calendar.timegm((1969, 1, 1, 0, 0, 0)), calendar.timegm((2068, 12, 31, 23, 59, 59))))
def test_an_rfc_850_date_without_a_clock_lies_between_1969_and_2068(epoch: int) -> None:
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=epoch)
    assert parse_http_date(moment.strftime("%A, %d-%b-%y %H:%M:%S GMT").encode()) == epoch


@pytest.mark.parametrize(("two_digits", "year"), [(b"26", 2026), (b"76", 2076), (b"77", 1977), (b"99", 1999)])
def test_an_rfc_850_date_is_at_most_fifty_years_ahead_of_now(two_digits: bytes, year: int) -> None:
    now = calendar.timegm((2026, 11, 20, 0, 0, 0))
    found = parse_http_date(b"Sunday, 06-Nov-" + two_digits + b" 08:49:37 GMT", now)
    assert found == calendar.timegm((year, 11, 6, 8, 49, 37))


@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_a_date_or_none(junk: bytes) -> None:
    found = parse_http_date(junk)
    assert found is None or -62167219200 <= found <= 253402300800


@pytest.mark.parametrize("epoch", [-62167219201, 253402300800, 10**30])
def test_a_year_without_four_digits_cannot_be_written(epoch: int) -> None:
    with pytest.raises(ValueError, match="four digits"):
        http_date(epoch)


# --- preconditions

# If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since -> status of GET. The first block is each field alone,
# the second AWS's documented pairs (S3 API reference, GetObject), then what RFC 9110 section 13.2.2 adds.
CONDITIONS = [
    (None, None, None, None, 0),
    (ETAG, None, None, None, 0),
    (b'"x"', None, None, None, 412),
    (b"*", None, None, None, 0),
    (b"W/" + ETAG, None, None, None, 412),
    (ETAG.strip(b'"'), None, None, None, 0),
    (None, LATER, None, None, 0),
    (None, MODIFIED, None, None, 0),
    (None, EARLIER, None, None, 412),
    (None, b"yesterday", None, None, 0),
    (None, None, ETAG, None, 304),
    (None, None, b"W/" + ETAG, None, 304),
    (None, None, b'"x"', None, 0),
    (None, None, b"*", None, 304),
    (None, None, None, EARLIER, 0),
    (None, None, None, MODIFIED, 304),
    (None, None, None, LATER, 304),
    (None, None, None, b"yesterday", 0),
    (ETAG, EARLIER, None, None, 0),  # "If-Match true and If-Unmodified-Since false: 200 OK"
    (None, None, ETAG, EARLIER, 304),  # "If-None-Match false and If-Modified-Since true: 304 Not Modified"
    (b'"x"', LATER, None, None, 412),
    (None, None, b'"x"', LATER, 0),
    (ETAG, None, ETAG, None, 304),
    (b'"x"', None, ETAG, None, 412),
    (None, EARLIER, ETAG, None, 412),
    (ETAG, None, None, LATER, 304),
    (ETAG, EARLIER, b'"x"', LATER, 0),
]


@pytest.mark.parametrize(("if_match", "unmodified", "if_none_match", "modified", "expected"), CONDITIONS)
def test_preconditions_of_a_read(
    if_match: bytes | None,
    unmodified: bytes | None,
    if_none_match: bytes | None,
    modified: bytes | None,
    expected: int,
) -> None:
    for method in (b"GET", b"HEAD"):
        assert evaluate(method, ETAG, MODIFIED, if_match, if_none_match, modified, unmodified) == expected


@pytest.mark.parametrize(("if_match", "unmodified", "if_none_match", "modified", "expected"), CONDITIONS)
def test_a_write_is_never_answered_with_not_modified(
    if_match: bytes | None,
    unmodified: bytes | None,
    if_none_match: bytes | None,
    modified: bytes | None,
    expected: int,
) -> None:
    status = evaluate(b"PUT", ETAG, MODIFIED, if_match, if_none_match, modified, unmodified)
    if expected == 304:
        assert status == (412 if if_none_match is not None else 0)
    else:
        assert status == expected


def test_a_create_only_put_meets_an_object_or_none() -> None:
    assert evaluate(b"PUT", ETAG, MODIFIED, None, b"*", None, None) == 412
    assert evaluate(b"PUT", None, None, None, b"*", None, None) == 0
    assert evaluate(b"PUT", None, None, b"*", None, None, None) == 412


def test_dates_without_a_last_modified_decide_nothing() -> None:
    for date in (EARLIER, LATER):
        assert evaluate(b"GET", ETAG, None, None, None, date, date) == 0


def test_every_combination_agrees_with_the_steps_of_rfc_9110() -> None:
    lists: list[list[bytes] | None] = [None, [], [b'"a"'], [b'"b"'], [b'"b"', b'"a"']]
    dates: list[int | None] = [None, 99, 100, 101]
    for method, match, none_match, ims, ius in itertools.product((b"GET", b"PUT"), lists, lists, dates, dates):
        got = evaluate(
            method,
            b'"a"',
            http_date(100),
            None if match is None else b", ".join(match),
            None if none_match is None else b", ".join(none_match),
            None if ims is None else http_date(ims),
            None if ius is None else http_date(ius),
        )
        named = [None if listed is None else b'"a"' in listed for listed in (match, none_match)]
        assert got == precondition_steps(method == b"GET", *named, 100, ims, ius)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (ETAG, True),
        (ETAG.strip(b'"'), True),
        (b"W/" + ETAG, False),
        (b'"x"', False),
        (b"*", False),
        (ETAG + b', "x"', False),
        (b"", False),
        (MODIFIED, True),
        (b"Sun Nov  6 08:49:37 1994", True),
        (EARLIER, False),
        (LATER, False),
        (b"yesterday", False),
    ],
)
def test_if_range_holds_only_for_this_very_generation(value: bytes, expected: bool) -> None:
    assert if_range_matches(value, ETAG, MODIFIED) is expected


def test_if_range_holds_for_nothing_unknown() -> None:
    assert not if_range_matches(ETAG, None, MODIFIED)
    assert not if_range_matches(MODIFIED, ETAG, None)
    assert not if_range_matches(ETAG, b"W/" + ETAG, MODIFIED)


@pytest.mark.parametrize("now", [-(1 << 63), 1 - (1 << 63), (1 << 63) - 1, -62167219201, 253402300800])
def test_a_clock_outside_of_the_years_a_date_can_name_is_refused(now: int) -> None:
    with pytest.raises(ValueError, match="four digits"):
        parse_http_date(b"Sunday, 06-Nov-94 08:49:37 GMT", now)
