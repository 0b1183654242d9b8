"""A read whose bytes are partly here: what is at hand of it, what others are fetching, and what has to be asked for.

Possible where a Range and an If-Match of ours may go to the origin (SEMANTICS 28): each missing span is then asked for
under the stored ETag, several at a time. A 206 of that generation proves that the generation is current, and in the
client's own name that it may read; it brings the missing bytes. A 412 says that the generation is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fastcache.engine.context import Context
from fastcache.engine.elsewhere import NeighbourLeader
from fastcache.engine.fill import Fill
from fastcache.engine.flights import Leader
from fastcache.engine.sources import VERIFY_AHEAD, ExtentSource, FillSource, NeighbourSource, follow
from fastcache.errors import StorageError
from fastcache.model import HeadRecord, Interval
from fastcache.policy.local_answer import LocalAnswer, answer_locally, can_answer
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.widening import merged, remaining, widened
from fastcache.storage.entry import Entry
from fastcache.storage.neighbour_fill import NeighbourFill
from fastcache.storage.store import Store


@dataclass(slots=True)
class Piece:
    """A stretch of an answer: at hand in ``source``, or to be had out of ``span``."""

    interval: Interval
    source: ExtentSource | FillSource | NeighbourSource | None = None
    span: Interval | None = None


@dataclass(slots=True)
class Gaps:
    """An answer in pieces, in order. What is at hand is opened, pinned and joined; spans may reach beyond the answer,
    where small reads are widened."""

    record: HeadRecord
    answer: LocalAnswer
    pieces: list[Piece] = field(default_factory=list)
    followed: tuple[Fill | NeighbourFill, ...] = ()
    """Fills of others that bring some of it."""

    @property
    def spans(self) -> list[Interval]:
        """What has to be asked for, ascending."""
        return [piece.span for piece in self.pieces if piece.span is not None]

    @property
    def has_some(self) -> bool:
        """Whether any of it is at hand: what lies between gaps that are asked for together is not."""
        return any(piece.source is not None for piece in self.pieces)

    def take(self) -> list[Piece]:
        """The pieces, whose sources are the caller's to close from now on."""
        pieces, self.pieces = self.pieces, []
        return pieces

    def close(self) -> None:
        for piece in self.take():
            if piece.source is not None:
                piece.source.close()


async def find_gaps(ctx: Context, store: Store, entry: Entry, read: ReadRequest) -> Gaps | None:
    """The pieces of the answer under the stored head; None when nothing of it is here, or nothing can be told."""
    record = entry.head
    if record is None or not can_answer(read, record, allow_kms=ctx.allow_kms):
        return None
    answer = answer_locally(read, record)
    if answer.interval is None or answer.ranges or not answer.interval.length:
        return None
    for fill in ctx.flights.fills_of(read.object_id):
        if fill.interval.start < answer.interval.end and answer.interval.start < fill.window_start:
            await fill.commit_so_far(ctx.follow_wait)  # it left our beginning behind: from extents, then
    if entry.head is not record:
        return None
    gaps = _lay_out(ctx, store, entry, read, record, answer, answer.interval)
    try:
        if _is_all_missing(ctx, gaps, answer.interval) or not await _open(store, entry, gaps):
            gaps.close()
            return None
    except BaseException:
        gaps.close()
        raise
    return gaps


def _is_all_missing(ctx: Context, gaps: Gaps, wanted: Interval) -> bool:
    """Whether asking for the gaps would be asking for the whole answer as it is. Not where that would be widened: then
    the rest of its block is here, and is not to be fetched again."""
    return gaps.spans == [wanted] and widened(wanted, gaps.record.generation.size, ctx.widening) == wanted


def awaited_leader(ctx: Context, store: Store, entry: Entry, read: ReadRequest) -> Leader | NeighbourLeader | None:
    """Somebody who is asking for all of the answer or, where only what is missing would be asked for, for some of
    that."""
    leader = ctx.flights.leader_for(read)
    if leader is not None:
        return leader
    return ctx.flights.asked_for(read.object_id, lacking(ctx, store, entry, read), unsent=True)


def lacking(ctx: Context, store: Store, entry: Entry | None, read: ReadRequest) -> list[Interval]:
    """What is not stored of the answer, where only that would be asked for; empty where that cannot be told."""
    record = None if entry is None else entry.head
    if entry is None or record is None or not read.may_ask_for_part:
        return []
    if not can_answer(read, record, allow_kms=ctx.allow_kms):
        return []
    interval = answer_locally(read, record).interval
    return [] if interval is None else store.missing(entry, interval)


async def is_first(ctx: Context, store: Store, leader: Leader, lacking: list[Interval]) -> bool:
    """Whether no other worker is about to bring what ``leader`` asks for, or some of what is ``lacking``, nor has done
    so since we looked."""
    if not ctx.flights.is_first(leader, lacking):
        return False
    entry = store.peek(leader.object_id)
    return entry is None or not await store.refresh_if_changed(entry)


def _lay_out(
    ctx: Context,
    store: Store,
    entry: Entry,
    read: ReadRequest,
    record: HeadRecord,
    answer: LocalAnswer,
    wanted: Interval,
) -> Gaps:
    """Who brings what. Fills are joined here and now, because they go on while extents are opened."""
    wide = widened(wanted, record.generation.size, ctx.widening)
    missing = store.missing(entry, wide)
    shares = _shared_out(missing, usable_fills(ctx, read, record), ctx.follow_wait)
    gaps = _left(missing, shares)
    spans = merged(gap for gap in gaps if clipped(gap, wanted).length > 0)
    pieces = [Piece(interval) for stored in remaining(wanted, missing) for interval in remaining(stored, spans)]
    pieces += [Piece(clipped(span, wanted), span=span) for span in spans]
    followed = []
    for share, fill in shares:
        for interval in remaining(clipped(share, wanted), spans):
            pieces.append(Piece(interval, follow(ctx, read.object_id, fill, interval)))
            followed.append(fill)
    pieces.sort(key=lambda piece: piece.interval)
    return Gaps(record, answer, pieces, tuple(followed))


def clipped(span: Interval, wanted: Interval) -> Interval:
    """What of ``span`` lies in ``wanted``."""
    return Interval(max(span.start, wanted.start), min(span.end, wanted.end))


def usable_fills(ctx: Context, read: ReadRequest, record: HeadRecord) -> list[Fill | NeighbourFill]:
    """Fills of this very generation that no write has overtaken, oldest first."""
    return [
        fill
        for fill in ctx.flights.fills_of(read.object_id)
        if fill.record.generation == record.generation and ctx.fences.is_current(read.object_id, fill.token)
    ]


def _shared_out(
    missing: list[Interval], fills: Iterable[Fill | NeighbourFill], within: float
) -> list[tuple[Interval, Fill | NeighbourFill]]:
    """What of ``missing`` each fill brings, the next byte of it within so many seconds."""
    shares: list[tuple[Interval, Fill | NeighbourFill]] = []
    for fill in fills:
        left: list[Interval] = []
        for gap in missing:
            share = clipped(Interval(fill.window_start, fill.reach), gap)
            if share.length > 0 and fill.brings(share, within):
                shares.append((share, fill))
                left += remaining(gap, [share])
            else:
                left.append(gap)
        missing = left
    return shares


def _left(missing: list[Interval], shares: list[tuple[Interval, Fill | NeighbourFill]]) -> list[Interval]:
    brought = [interval for interval, _ in shares]
    return [gap for part in missing for gap in remaining(part, brought)]


def not_under_way(ctx: Context, read: ReadRequest, record: HeadRecord, missing: list[Interval]) -> list[Interval]:
    """What of ``missing`` nobody is fetching."""
    return _left(missing, _shared_out(missing, usable_fills(ctx, read, record), ctx.follow_wait))


async def _open(store: Store, entry: Entry, gaps: Gaps) -> bool:
    """Open the extents of every piece that is stored; False when one of them is not usable."""
    unchecked = VERIFY_AHEAD
    for piece in gaps.pieces:
        if piece.source is not None or piece.span is not None:
            continue
        try:
            piece.source = await open_extents(store, entry, gaps.record, piece.interval, check=unchecked)
        except StorageError:
            return False
        unchecked = max(0, unchecked - piece.interval.length)
    return True


async def open_extents(
    store: Store, entry: Entry, record: HeadRecord, interval: Interval, *, check: int = VERIFY_AHEAD
) -> ExtentSource:
    """Extents of exactly this generation that cover the interval, the first ``check`` bytes of them checked. Raises
    StorageError when they do not."""
    reader = await store.open_range(entry, interval)
    if reader is None:
        raise StorageError("an extent went away while it was opened")
    if reader.head.generation != record.generation:
        reader.close()
        raise StorageError("a new generation came while the old one was opened")
    source = ExtentSource(reader)
    try:
        await source.prepare(Interval(interval.start, min(interval.end, interval.start + check)))
    except BaseException:
        source.close()
        raise
    return source
