"""When what is stored may be used without asking the origin (SEMANTICS 7, 33; DESIGN section 8)."""

from __future__ import annotations

import enum
import itertools
from dataclasses import dataclass, replace

from fastcache.model import HeadRecord


class Authorization(enum.StrEnum):
    """What a cached byte needs before it leaves."""

    REVALIDATE = "revalidate"
    """The client's own signed request, with our If-None-Match, answered 304 by the origin."""
    VERIFY = "verify"
    """A signature and a permission that are checked here, and the TTL."""
    NONE = "none"
    """Nothing but the TTL: whoever reaches the port reads what is cached."""

    @property
    def has_ttl(self) -> bool:
        """Whether what was proved lately may be served without asking the origin."""
        return self is not Authorization.REVALIDATE


@dataclass(frozen=True, slots=True)
class Ttls:
    """Seconds, by the operator's rule in force now: a changed rule applies to what is stored already."""

    get: float
    head: float
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    by_object: bool = False
    """Whether an object's own Cache-Control decides where it says something (SEMANTICS 21)."""

    def of(self, method: bytes) -> float:
        """The TTL of a request's method."""
        return self.head if method == b"HEAD" else self.get

    def of_object(self, record: HeadRecord) -> Ttls:
        """Those that hold for one object. Where its own Cache-Control counts: s-maxage, else max-age, and nothing stale
        where it forbids that (RFC 9111 sections 4.2.1 and 4.2.4)."""
        directives = _directives(record) if self.by_object else {}
        if not directives:
            return self
        own = next((directives[name] for name in _LIFETIMES if name in directives), None)
        strict = not _NOTHING_STALE.isdisjoint(directives)
        return replace(
            self,
            get=self.get if own is None else own,
            head=self.head if own is None else own,
            stale_while_revalidate=0.0 if strict else self.stale_while_revalidate,
            stale_if_error=0.0 if strict else self.stale_if_error,
        )


_LIFETIMES = (b"no-cache", b"s-maxage", b"max-age")
_NOTHING_STALE = frozenset({b"no-cache", b"must-revalidate", b"proxy-revalidate", b"s-maxage"})
_LONGEST = 3650 * 86400.0


def _directives(record: HeadRecord) -> dict[bytes, float]:
    """The members of the object's Cache-Control, with their seconds; 0 for what has none, or none that make sense, and
    the least of several."""
    fields = (value for name, value in record.headers if name.lower() == b"cache-control")
    found: dict[bytes, float] = {}
    for member in itertools.chain.from_iterable(field.split(b",") for field in fields):
        name, _, argument = member.partition(b"=")
        name, argument = name.strip().lower(), argument.strip().strip(b'"')
        seconds = min(_LONGEST, float(argument)) if argument.isdigit() else 0.0
        found[name] = min(seconds, found.get(name, seconds))
    return found


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
    if not mode.has_ttl or proved_at is None or not fences_current:
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
