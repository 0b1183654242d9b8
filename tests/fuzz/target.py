"""What a fuzz target is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_INPUT = 4096
"""Bytes; every format here has all its states within this."""


@dataclass(frozen=True)
class Target:
    """``run`` raises for an input that is handled wrongly, and for nothing else."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    tokens: tuple[bytes, ...]
    """What the format is made of: pieces that random bytes would not hit upon."""
