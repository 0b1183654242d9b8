"""What is at hand for a read before anybody is asked: a head, and every byte of the answer it makes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from fastcache.engine.byteranges import open_ranges
from fastcache.engine.context import Context
from fastcache.engine.fill import Fill
from fastcache.engine.follower import FillEndedError
from fastcache.engine.gaps import find_gaps, usable_fills
from fastcache.engine.sources import ExtentSource, PiecedSource, Source, follow
from fastcache.errors import StorageError
from fastcache.model import HeadRecord, Interval
from fastcache.policy.local_answer import LocalAnswer, answer_locally, can_answer
from fastcache.policy.read_request import ReadRequest
from fastcache.storage.entry import Entry
from fastcache.storage.neighbour_fill import NeighbourFill
from fastcache.storage.store import Store

_log = logging.getLogger("fastcache.engine.basis")

_MAX_LOOKS = 4
"""A head that is renewed during each of them does not keep a request from being sent."""


@dataclass(slots=True)
class Basis:
    """Everything needed to answer without a body from the origin, if the head turns out to be current."""

    record: HeadRecord
    answer: LocalAnswer
    source: Source | None
    followed: bool

    def close(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source = None


async def find_basis(ctx: Context, store: Store, entry: Entry, read: ReadRequest) -> Basis | None:
    """A head with all bytes of its answer at hand; the extents are opened, and checked, before anybody is asked."""
    for _ in range(_MAX_LOOKS):
        record = entry.head
        if record is None or not can_answer(read, record, allow_kms=ctx.allow_kms):
            return None
        basis = await _look(ctx, store, entry, read, record)
        if basis is not None or entry.head is record:
            return basis
        # Another answer renewed the head meanwhile, perhaps that of a HEAD, under which the same bytes are here.
    return None


async def _look(ctx: Context, store: Store, entry: Entry, read: ReadRequest, record: HeadRecord) -> Basis | None:
    """The basis under ``record``, if that stays the entry's head."""
    answer = answer_locally(read, record)
    interval = answer.interval
    if answer.ranges:
        return await _open_several(ctx, store, entry, read, record, answer)
    if interval is None or interval.length == 0:
        return Basis(record, answer, None, followed=False)
    source = await _open(store, entry, interval)
    if source is None:
        under_way = ctx.flights.is_storing(read.object_id, interval)
        basis = await _follow(ctx, store, entry, read, record, answer, interval)
        if basis is not None or not under_way:
            return basis
        # What has arrived but is not committed yet is not worth another transfer: wait for it and look again, also when
        # the fill was through and forgotten in the meantime.
        await ctx.flights.settled(read.object_id, interval, ctx.follow_wait)
        if entry.head is not record:
            return None
        source = await _open(store, entry, interval)
    return None if source is None else Basis(record, answer, source, followed=False)


async def _open_several(
    ctx: Context, store: Store, entry: Entry, read: ReadRequest, record: HeadRecord, answer: LocalAnswer
) -> Basis | None:
    """Several ranges, each from extents; what has arrived and is not committed yet is waited for."""
    assert answer.interval is not None, "it is what lies around the ranges"
    under_way = ctx.flights.is_storing(read.object_id, answer.interval)
    ranges = await open_ranges(store, entry, record, read, answer.ranges)
    if ranges is None and under_way:
        await ctx.flights.settled(read.object_id, answer.interval, ctx.follow_wait)
        ranges = await open_ranges(store, entry, record, read, answer.ranges)
    return None if ranges is None else Basis(record, answer, ranges, followed=False)


async def _open(store: Store, entry: Entry, interval: Interval) -> ExtentSource | None:
    reader = await store.open_range(entry, interval)
    if reader is None:
        return None
    source = ExtentSource(reader)
    try:
        await source.prepare(interval)
    except StorageError as error:
        source.close()
        _log.warning("a cached range could not be used: %s", error)
        return None
    except BaseException:
        source.close()
        raise
    return source


async def _follow(
    ctx: Context,
    store: Store,
    entry: Entry,
    read: ReadRequest,
    record: HeadRecord,
    answer: LocalAnswer,
    interval: Interval,
) -> Basis | None:
    """A fill under way that brings the whole answer, or fills that bring what the extents lack of it."""
    if not ctx.flights.fills_of(read.object_id):
        return None
    for fill in usable_fills(ctx, read, record):
        if fill.interval.contains(interval) and fill.brings(interval, ctx.follow_wait):
            return Basis(record, answer, follow(ctx, read.object_id, fill, interval), followed=_joined(ctx, fill))
    gaps = await find_gaps(ctx, store, entry, read)
    if gaps is None:
        return None
    if gaps.record is not record or gaps.spans:
        gaps.close()
        return None
    followed = [_joined(ctx, fill) for fill in gaps.followed]
    source = PiecedSource()
    for piece in gaps.take():
        assert piece.source is not None
        source.add(piece.source, piece.interval)
    return Basis(record, answer, source, followed=any(followed))


def _joined(ctx: Context, fill: Fill | NeighbourFill) -> bool:
    """Count a follower. One of a fill whose bytes are all here, and only not committed yet, is a hit like any other."""
    if fill.complete:
        return False
    ctx.metrics.follower_joined()
    return True


async def prepared(basis: Basis) -> bool:
    """A followed fill has its first byte; one that ended early is no basis."""
    if basis.answer.interval is None or basis.source is None or isinstance(basis.source, ExtentSource):
        return True
    try:
        await basis.source.prepare(basis.answer.interval)
    except FillEndedError:
        return False
    return True
