"""When what is stored may be used without asking the origin (SEMANTICS 7, 33; DESIGN section 8)."""

from __future__ import annotations

import enum


class Authorization(enum.StrEnum):
    """What a cached byte needs before it leaves."""

    REVALIDATE = "revalidate"
    """The client's own signed request, with our If-None-Match, answered 304 by the origin."""
    NONE = "none"
    """Nothing but the TTL: whoever reaches the port reads what is cached."""


def is_fresh(proved_at: float | None, *, fences_current: bool, now: float, ttl: float, mode: Authorization) -> bool:
    """Whether the current head may answer without a round trip. Unknown is never fresh.

    ``proved_at`` and ``now`` are CLOCK_BOOTTIME seconds; age counts from when the proving request was *sent*, so it is
    never understated. ``revalidate`` consults no TTL at all; a raised fence or another epoch voids every proof.
    """
    if mode is not Authorization.NONE or proved_at is None or not fences_current:
        return False
    return 0.0 <= now - proved_at < ttl
