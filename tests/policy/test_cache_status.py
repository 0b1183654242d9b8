"""Every answer says how it was made: Cache-Status (RFC 9211) and X-Cache."""

from __future__ import annotations

import re

import pytest

from fastcache.model import Result
from fastcache.policy.cache_status import cache_status_headers

# RFC 9211 section 2 as a structured-field list of one token with parameters (RFC 8941).
_ITEM = re.compile(rb"fastcache(?:; (?:hit|stored|collapsed|fwd=[a-z-]+|fwd-status=\d{3}|ttl=-?\d+|detail=[a-z-]+))+")


@pytest.mark.parametrize(
    ("result", "wanted"),
    [
        (Result.HIT, b"fastcache; hit"),
        (Result.REVALIDATED, b"fastcache; fwd=stale; fwd-status=304"),
        (Result.MISS, b"fastcache; fwd=uri-miss; fwd-status=304"),
        (Result.PARTIAL, b"fastcache; fwd=partial; fwd-status=304"),
        (Result.COALESCED, b"fastcache; fwd=uri-miss; fwd-status=304; collapsed"),
        (Result.PASS, b"fastcache; fwd=bypass; fwd-status=304"),
        (Result.ERROR, b"fastcache; fwd=bypass; fwd-status=304"),
    ],
)
def test_each_result_has_its_words(result: Result, wanted: bytes) -> None:
    """RFC 9211 section 2.1: a hit is not forwarded, so it has neither fwd nor fwd-status."""
    found = dict(cache_status_headers(result, forward_status=304))
    assert found == {b"Cache-Status": wanted, b"X-Cache": result.value.encode()}


@pytest.mark.parametrize("result", list(Result))
def test_every_combination_is_one_well_formed_member(result: Result) -> None:
    for stored in (False, True):
        for collapsed in (False, True):
            found = cache_status_headers(
                result, forward_reason=b"request", forward_status=200, stored=stored, collapsed=collapsed, ttl=5,
                detail=b"length-unknown",
            )  # fmt: skip
            value = dict(found)[b"Cache-Status"]
            assert _ITEM.fullmatch(value), value
            assert (b"hit" in value) is (result is Result.HIT)
            assert (b"fwd=" in value) is (result is not Result.HIT)
            assert value.count(b"; ") == len(set(value.split(b"; "))) - 1


def test_remaining_freshness_and_the_reason_for_not_storing_are_shown() -> None:
    """SEMANTICS 24: the reason shows in Cache-Status."""
    assert dict(cache_status_headers(Result.HIT, ttl=0))[b"Cache-Status"] == b"fastcache; hit; ttl=0"
    found = dict(cache_status_headers(Result.MISS, forward_status=200, detail=b"kms"))
    assert found[b"Cache-Status"] == b"fastcache; fwd=uri-miss; fwd-status=200; detail=kms"
    kept = dict(cache_status_headers(Result.MISS, forward_status=200, stored=True))
    assert kept[b"Cache-Status"] == b"fastcache; fwd=uri-miss; fwd-status=200; stored"
