"""When credentials are to be renewed. Times are seconds; ``chance`` is a random number in [0, 1)."""

from __future__ import annotations

ADVISORY_WINDOW = 900.0
"""Renewing begins at most so long before they expire: what AWS issues for hours is there again by then."""
FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 30.0
LONGEST_NAP = 10.0
"""Between two looks at the clock, because it may be set meanwhile."""


def renewal_time(now: float, expires: float, chance: float) -> float:
    """When to renew credentials obtained ``now``: within the window, or in the second half of a shorter life.

    Not all hosts at once. A service that goes on giving the same ones is asked again after half of what is left.
    """
    window = min(ADVISORY_WINDOW, max(0.0, expires - now) / 2)
    return expires - window * (1.0 - 0.2 * chance)


def back_off(failures: int, chance: float) -> float:
    """How long to wait after so many failures in a row."""
    longest = min(LONGEST_BACK_OFF, FIRST_BACK_OFF * 2.0 ** min(failures - 1, 16))
    return longest * (1.0 - 0.5 * chance)
