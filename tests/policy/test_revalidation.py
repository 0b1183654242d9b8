"""What is asked beside the client's own conditions, and what a 304 proves (SEMANTICS 6, 10-14)."""

from __future__ import annotations

import pytest
from tests.policy.heads import EARLIER, ETAG, LATER, MODIFIED, OTHER_ETAG, answer, record

from fastcache.model import HeadRecord
from fastcache.policy.read_request import Conditions
from fastcache.policy.revalidation import REFUSES_ADDITION, Verdict, judge_304, validator_to_add

VERSIONED = record(version=b"v1")


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(),
        Conditions(if_match=ETAG),
        Conditions(if_match=ETAG.strip(b'"')),
        Conditions(if_range=ETAG),
        Conditions(if_modified_since=MODIFIED),
        Conditions(if_unmodified_since=MODIFIED),
        Conditions(if_match=ETAG, if_modified_since=MODIFIED, if_range=ETAG),
    ],
)
def test_our_validator_joins_conditions_that_agree_with_it(conditions: Conditions) -> None:
    """SEMANTICS 12; PITFALLS: the CRT client adds If-Match to every part after the first."""
    assert validator_to_add(conditions, record()) == ETAG


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(if_none_match=ETAG),
        Conditions(if_none_match=OTHER_ETAG),
        Conditions(if_none_match=b"*"),
        Conditions(if_none_match=b""),
        Conditions(if_none_match=ETAG, if_match=ETAG),
        Conditions(if_none_match=ETAG, if_modified_since=MODIFIED),
        Conditions(if_match=OTHER_ETAG),
        Conditions(if_match=b"*"),
        Conditions(if_match=OTHER_ETAG + b", " + ETAG),
        Conditions(if_match=b"W/" + ETAG),
        Conditions(if_range=OTHER_ETAG),
        Conditions(if_range=b"W/" + ETAG),
        Conditions(if_range=MODIFIED),
        Conditions(if_match=ETAG, if_range=OTHER_ETAG),
    ],
)
def test_other_requests_go_out_unmodified(conditions: Conditions) -> None:
    """SEMANTICS 12: what the origin says to those is the client's answer; PITFALLS: a 412 of our own making."""
    assert validator_to_add(conditions, record()) is None


@pytest.mark.parametrize("stored", [record(), VERSIONED])
@pytest.mark.parametrize(
    "fields",
    [
        (b"ETag: " + ETAG,),
        (b"ETag: " + ETAG.strip(b'"'),),
        (b"ETag: " + ETAG, b"Last-Modified: " + MODIFIED),
        (b"ETag: " + ETAG, b"Content-Type: application/xml", b"Content-Length: 0", b"Set-Cookie: a=b"),
    ],
)
def test_a_304_with_our_etag_proves_what_is_stored(stored: HeadRecord, fields: tuple[bytes, ...]) -> None:
    """SEMANTICS 14: AWS sends little more than ETag and Last-Modified."""
    assert judge_304(answer(*fields, status=304), stored) is Verdict.CURRENT


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ((b"ETag: " + ETAG, b"Last-Modified: " + LATER), record()),
        ((b"ETag: " + ETAG, b"Last-Modified: " + EARLIER), record()),
        ((b"ETag: " + ETAG, b"Last-Modified: " + MODIFIED), record(modified=None)),
        ((b"ETag: " + ETAG, b"x-amz-version-id: v2"), VERSIONED),
        ((b"ETag: " + ETAG, b"x-amz-version-id: v1"), record()),
    ],
)
def test_a_304_of_a_later_put_of_the_same_bytes_voids_the_header_set(
    fields: tuple[bytes, ...], stored: HeadRecord
) -> None:
    """SEMANTICS 6: re-put with a new Content-Type an object keeps its ETag."""
    assert judge_304(answer(*fields, status=304), stored) is Verdict.HEADERS_CHANGED
    assert judge_304(answer(*fields, status=304), stored, only_ours=True) is Verdict.HEADERS_CHANGED


@pytest.mark.parametrize(
    "fields",
    [(b"ETag: " + OTHER_ETAG,), (b"ETag: W/" + ETAG,), (b"ETag: " + ETAG, b"ETag: " + OTHER_ETAG), (b"ETag: ",)],
)
@pytest.mark.parametrize("only_ours", [True, False])
def test_a_304_with_a_foreign_etag_is_unusable(fields: tuple[bytes, ...], only_ours: bool) -> None:
    """SEMANTICS 14."""
    assert judge_304(answer(*fields, status=304), record(), only_ours=only_ours) is Verdict.FOREIGN


@pytest.mark.parametrize("fields", [(), (b"Last-Modified: " + MODIFIED,)])
def test_a_304_without_etag_proves_something_only_if_nothing_else_can_have_caused_it(fields: tuple[bytes, ...]) -> None:
    """PITFALLS: revalidation by Last-Modified gave a false 304 within the same second. Swift evaluates the client's
    If-Modified-Since although our If-None-Match did not match."""
    assert judge_304(answer(*fields, status=304), record()) is Verdict.FOREIGN
    assert judge_304(answer(*fields, status=304), record(), only_ours=True) is Verdict.CURRENT


def test_only_refusals_of_the_addition_itself_are_asked_again() -> None:
    """SEMANTICS 13; PITFALLS: 403 and 404 are the client's own answers."""
    assert {400, 501} == REFUSES_ADDITION
