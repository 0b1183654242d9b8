"""When no origin is asked (SEMANTICS 7, 33)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.heads import record

from fastcache.policy.freshness import Authorization, Freshness, Ttls, freshness


def fresh(
    proved_at: float | None = 100.0,
    *,
    now: float = 105.0,
    ttl: float = 10.0,
    fences_current: bool = True,
    mode: Authorization = Authorization.NONE,
) -> bool:
    ttls = Ttls(ttl, ttl)
    found = freshness(proved_at, fences_current=fences_current, now=now, ttl=ttl, ttls=ttls, mode=mode)
    assert found in (Freshness.FRESH, Freshness.EXPIRED), "nothing is stale without a rule for it"
    return found is Freshness.FRESH


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e9))
def test_revalidate_consults_no_ttl(proved_at: float, now: float, ttl: float) -> None:
    """SEMANTICS 7; PITFALLS: a signature made for HEAD is not one for GET, one client's 304 is not another's."""
    assert not fresh(proved_at, now=now, ttl=ttl, mode=Authorization.REVALIDATE)


def test_a_raised_fence_or_another_epoch_voids_every_proof() -> None:
    """SEMANTICS 33: after an unclean stop every head must be proven again."""
    assert fresh()
    assert not fresh(fences_current=False)


def test_what_was_never_proven_is_not_fresh() -> None:
    assert not fresh(None, ttl=float("inf"))


@pytest.mark.parametrize(
    ("now", "ttl", "wanted"),
    [
        (100.0, 10.0, True),
        (109.999, 10.0, True),
        (110.0, 10.0, False),
        (111.0, 10.0, False),
        (100.0, 0.0, False),
        (99.9, 10.0, False),
        (105.0, float("nan"), False),
        (105.0, float("inf"), True),
    ],
)
def test_age_counts_from_the_proof_against_the_ttl_in_force_now(now: float, ttl: float, wanted: bool) -> None:
    """PITFALLS: a TTL baked in at write; P-45: a clock that stands before the proof makes nothing fresh."""
    assert fresh(now=now, ttl=ttl) is wanted


@given(
    st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from(Authorization),
    st.booleans(),
)  # fmt: skip
def test_stale_rules_reach_as_far_as_they_say_and_never_past_a_fence(
    now: float, ttl: float, revalidate: float, error: float, mode: Authorization, fences_current: bool
) -> None:
    ttls = Ttls(ttl, ttl, revalidate, error)
    found = freshness(0.0, fences_current=fences_current, now=now, ttl=ttl, ttls=ttls, mode=mode)
    if mode is Authorization.REVALIDATE or not fences_current:
        assert found is Freshness.EXPIRED
    elif now < ttl:
        assert found is Freshness.FRESH
    elif now < ttl + revalidate:
        assert found is Freshness.STALE_USABLE
    elif now < ttl + error:
        assert found is Freshness.STALE_ON_ERROR
    else:
        assert found is Freshness.EXPIRED


BY_OBJECT = Ttls(60.0, 30.0, stale_while_revalidate=5.0, stale_if_error=7.0, by_object=True)
NEVER_STALE = (0.0, 0.0)
AS_CONFIGURED = (5.0, 7.0)


@pytest.mark.parametrize(
    ("fields", "get", "head", "stale"),
    [
        ((), 60.0, 30.0, AS_CONFIGURED),
        ((b"public",), 60.0, 30.0, AS_CONFIGURED),
        ((b"public, max-age=3600",), 3600.0, 3600.0, AS_CONFIGURED),
        ((b"Max-Age=5",), 5.0, 5.0, AS_CONFIGURED),
        ((b'max-age="7"',), 7.0, 7.0, AS_CONFIGURED),
        ((b"max-age=3600, s-maxage=9",), 9.0, 9.0, NEVER_STALE),
        ((b"max-age=3600, no-cache",), 0.0, 0.0, NEVER_STALE),
        ((b"max-age=3600", b"no-cache"), 0.0, 0.0, NEVER_STALE),
        ((b"must-revalidate",), 60.0, 30.0, NEVER_STALE),
        ((b"max-age=20, max-age=10",), 10.0, 10.0, AS_CONFIGURED),
        ((b"max-age=-1",), 0.0, 0.0, AS_CONFIGURED),
        ((b"max-age=soon",), 0.0, 0.0, AS_CONFIGURED),
        ((b"max-age",), 0.0, 0.0, AS_CONFIGURED),
        ((b"max-age=99999999999999999999999",), 3650 * 86400.0, 3650 * 86400.0, AS_CONFIGURED),
    ],
)
def test_the_objects_own_words_decide_where_the_operator_lets_them(
    fields: tuple[bytes, ...], get: float, head: float, stale: tuple[float, float]
) -> None:
    """SEMANTICS 21; RFC 9111 sections 4.2.1 and 4.2.4. What makes no sense is not fresh."""
    stored = record(headers=tuple((b"Cache-Control", field) for field in fields))
    found = BY_OBJECT.of_object(stored)
    assert (found.of(b"GET"), found.of(b"HEAD")) == (get, head)
    assert (found.stale_while_revalidate, found.stale_if_error) == stale
    assert Ttls(60.0, 30.0).of_object(stored) == Ttls(60.0, 30.0), "by default they do not"
