"""When what is stored may be used without asking the origin (SEMANTICS 7, 33; DESIGN section 8)."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Authorization(enum.StrEnum):
    """What a cached byte needs before it leaves."""

    REVALIDATE = "revalidate"
    """The client's own signed request, with our If-None-Match, answered 304 by the origin."""
    NONE = "none"
    """Nothing but the TTL: whoever reaches the port reads what is cached."""


@dataclass(frozen=True, slots=True)
class Ttls:
    """Seconds, by the operator's rule in force now: a changed rule applies to what is stored already."""

    get: float
    head: float
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0

    def of(self, method: bytes) -> float:
        """The TTL of a request's method."""
        return self.head if method == b"HEAD" else self.get


class Freshness(enum.Enum):
    """What the age of the last proof allows."""

    FRESH = "fresh"
    STALE_USABLE = "stale-usable"
    """May be served at once, while the origin is asked (RFC 5861 section 3)."""
    STALE_ON_ERROR = "stale-on-error"
    """Only if the origin cannot be asked (RFC 5861 section 4)."""
    EXPIRED = "expired"


def freshness(
    proved_at: float | None, *, fences_current: bool, now: float, ttl: float, ttls: Ttls, mode: Authorization
) -> Freshness:
    """How fresh the current head is. Unknown is never fresh, nor stale: it is expired.

    ``proved_at`` and ``now`` are CLOCK_BOOTTIME seconds; age counts from when the proving request was *sent*, so it is
    never understated. ``revalidate`` consults no TTL at all; a raised fence or another epoch voids every proof.
    """
    if mode is not Authorization.NONE or proved_at is None or not fences_current:
        return Freshness.EXPIRED
    age = now - proved_at
    if age < 0.0:
        return Freshness.EXPIRED
    if age < ttl:
        return Freshness.FRESH
    if age < ttl + ttls.stale_while_revalidate:
        return Freshness.STALE_USABLE
    if age < ttl + ttls.stale_if_error:
        return Freshness.STALE_ON_ERROR
    return Freshness.EXPIRED


STALE_STATUSES = frozenset({500, 502, 503, 504})
"""The answers for which stale-if-error may stand in; a 403 is an answer, not an error."""
