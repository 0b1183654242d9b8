"""Sizes and durations as people write them.

Every function raises ``ValueError`` with a text that says what is accepted; the caller adds the place.
"""

from __future__ import annotations

import re
from decimal import Decimal

SIZE_ACCEPTS = "a whole number of bytes, or one with B, KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as 64KiB or 5GB"
DURATION_ACCEPTS = "a number of seconds, or one with ms, s, m, h or d, such as 100ms, 60s or 5m"

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

_SIZE_UNITS = {
    "": 1,
    "B": 1,
    "KiB": KIB,
    "MiB": MIB,
    "GiB": GIB,
    "TiB": TIB,
    # Kubernetes writes binary quantities without the B.
    "Ki": KIB,
    "Mi": MIB,
    "Gi": GIB,
    "Ti": TIB,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_DURATION_UNITS = {
    "ms": Decimal("0.001"),
    "": Decimal(1),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
# The number of digits is bounded so that no text can ask for an endless conversion.
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,3})")


def _quantity(text: str) -> tuple[Decimal, str] | None:
    match = _QUANTITY.fullmatch(text)
    return None if match is None else (Decimal(match[1]), match[2])


def parse_size(text: str) -> int:
    """Bytes. A lone ``K``, ``M`` or ``G`` is refused, because half of its readers take it for the other kind."""
    quantity = _quantity(text)
    if quantity is None or quantity[1] not in _SIZE_UNITS:
        raise ValueError(f"{text!r} is not a size; write {SIZE_ACCEPTS}")
    size = quantity[0] * _SIZE_UNITS[quantity[1]]
    if size != int(size):
        raise ValueError(f"{text!r} is not a whole number of bytes; write {SIZE_ACCEPTS}")
    return int(size)


def parse_duration(text: str) -> float:
    """Seconds."""
    quantity = _quantity(text)
    if quantity is None or quantity[1] not in _DURATION_UNITS:
        raise ValueError(f"{text!r} is not a duration; write {DURATION_ACCEPTS}")
    return float(quantity[0] * _DURATION_UNITS[quantity[1]])


def format_size(size: int) -> str:
    """The shortest exact form: ``parse_size(format_size(n)) == n``."""
    for unit, factor in (("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def format_duration(seconds: float) -> str:
    """In whole seconds or milliseconds where that is exact, else decimal seconds."""
    if seconds == int(seconds):
        return f"{int(seconds)}s"
    milliseconds = Decimal(repr(seconds)) * 1000
    if milliseconds == int(milliseconds):
        return f"{int(milliseconds)}ms"
    return f"{Decimal(repr(seconds)):f}s"
