"""What to ask an origin for when the request is signed here: not only what a client wants, and not in its pieces.

A request costs a round trip and a price, so a small read is widened to whole blocks (its neighbours are asked for next:
a Parquet footer, then the pages beside each other), what lies close together is asked for at once, and what is long in
several requests side by side, because one connection is slower than the origin.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastcache.model import Interval

CLOSE = 1024 * 1024
"""Gaps closer together than this are one request: at 100 MB/s the bytes between take about as long as a round trip."""


@dataclass(frozen=True, slots=True)
class Widening:
    """A rule: reads of at most ``up_to`` bytes are widened to blocks of ``block`` bytes."""

    block: int
    up_to: int

    def __post_init__(self) -> None:
        if self.block < 1 or self.up_to < 0:
            raise ValueError("a block has at least one byte, a limit none at least")


def widened(wanted: Interval, size: int, rule: Widening | None) -> Interval:
    """The blocks of an object of ``size`` bytes that ``wanted``, which lies in it, touches; itself when it is long."""
    if rule is None or not 0 < wanted.length <= rule.up_to:
        return wanted
    start = wanted.start - wanted.start % rule.block
    end = -(-wanted.end // rule.block) * rule.block
    return Interval(start, min(end, size))


def merged(gaps: Iterable[Interval], closer_than: int = CLOSE) -> list[Interval]:
    """``gaps`` (ascending, apart), those less than ``closer_than`` bytes apart as one with what is between them."""
    spans: list[Interval] = []
    for gap in gaps:
        if spans and gap.start - spans[-1].end < closer_than:
            spans[-1] = Interval(spans[-1].start, gap.end)
        else:
            spans.append(gap)
    return spans


def divided(spans: Iterable[Interval], requests: int, least: int) -> list[Interval]:
    """``spans`` in up to ``requests`` pieces of at least ``least`` bytes, in order; never fewer than there are spans.

    The longest pieces are divided first, in halves as equal as multiples of ``least`` allow, so that all take about
    equally long.
    """
    if requests < 1 or least < 1:
        raise ValueError("at least one request of at least one byte")
    pieces = list(spans)
    while len(pieces) < requests:
        longest = max(range(len(pieces)), key=lambda index: pieces[index].length, default=None)
        if longest is None or pieces[longest].length < 2 * least:
            break
        piece = pieces[longest]
        middle = piece.start + piece.length // 2 // least * least
        pieces[longest : longest + 1] = [Interval(piece.start, middle), Interval(middle, piece.end)]
    return pieces


def remaining(interval: Interval, taken: Iterable[Interval]) -> list[Interval]:
    """What of ``interval`` lies outside of ``taken``, ascending; those may overlap and come in any order."""
    left = []
    position = interval.start
    for start, end in sorted(taken):
        if start >= interval.end:
            break
        if start > position:
            left.append(Interval(position, start))
        position = max(position, end)
    if position < interval.end:
        left.append(Interval(position, interval.end))
    return left
