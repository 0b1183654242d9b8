"""What is told as a sentence: there is nothing to compare it with but its target."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """A case that is no contest, and what was found."""

    name: str
    what: str
    text: str
