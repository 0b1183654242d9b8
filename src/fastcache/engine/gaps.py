"""A read whose bytes are partly here: ask the origin for what is missing only (DESIGN section 8, SEMANTICS 28).

Possible where the client's signature covers neither Range nor If-Match: its own request then goes out with both added,
asking for the span of the gaps under the stored ETag. A 206 of that generation proves in one answer that the client may
read and that the generation is current, and brings the missing bytes. A 412 says that the generation is gone. Anything
else means that the origin does not play along, and the request is sent as the client wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastcache.engine.asking import Asked, ask_origin
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.fill import Fill
from fastcache.engine.flights import Leader
from fastcache.engine.lessons import forget
from fastcache.engine.serving import ExtentSource, FillSource, PiecedSource, send_stored
from fastcache.errors import StorageError
from fastcache.model import Headers, HeadRecord, Interval, ObjectId, Result
from fastcache.policy.local_answer import LocalAnswer, answer_locally, can_answer
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, judge_body, merge_known
from fastcache.storage.entry import Entry
from fastcache.storage.store import Store

_RANGE = frozenset({b"range"})


@dataclass(slots=True)
class Gaps:
    """What is here of an answer, opened and pinned, and the span that is not."""

    record: HeadRecord
    answer: LocalAnswer
    before: ExtentSource | None
    span: Interval
    after: ExtentSource | None

    def with_fill(self, ctx: Context, object_id: ObjectId, fill: Fill) -> PiecedSource:
        """The whole answer, the span from ``fill``. The opened extents are the pieces' to close from now on."""
        assert self.answer.interval is not None
        pieces = PiecedSource()
        if self.before is not None:
            pieces.add(self.before, Interval(self.answer.interval.start, self.span.start))
        pieces.add(FillSource(ctx, object_id, fill, self.span), self.span)
        if self.after is not None:
            pieces.add(self.after, Interval(self.span.end, self.answer.interval.end))
        self.before = self.after = None
        return pieces

    def close(self) -> None:
        for source in (self.before, self.after):
            if source is not None:
                source.close()
        self.before = self.after = None


async def find_gaps(ctx: Context, store: Store, entry: Entry, read: ReadRequest) -> Gaps | None:
    """The span to ask for, when at least one end of the answer is here and usable; else None."""
    record = entry.head
    if record is None or not can_answer(read, record, allow_kms=ctx.allow_kms):
        return None
    answer = answer_locally(read, record)
    if answer.interval is None:
        return None
    missing = store.missing(entry, answer.interval)
    if not missing:
        return None
    span = Interval(missing[0].start, missing[-1].end)
    if span == answer.interval:
        return None
    gaps = Gaps(record, answer, None, span, None)
    try:
        before = Interval(answer.interval.start, span.start)
        after = Interval(span.end, answer.interval.end)
        gaps.before = await open_extents(store, entry, record, before) if before.length else None
        gaps.after = await open_extents(store, entry, record, after) if after.length else None
    except StorageError:
        gaps.close()
        return None
    except BaseException:
        gaps.close()
        raise
    return gaps


async def open_extents(store: Store, entry: Entry, record: HeadRecord, interval: Interval) -> ExtentSource:
    """Extents of exactly this generation that cover the interval, checked. Raises StorageError when they do not."""
    reader = await store.open_range(entry, interval)
    if reader is None:
        raise StorageError("an extent went away while it was opened")
    if reader.head.generation != record.generation:
        reader.close()
        raise StorageError("a new generation came while the old one was opened")
    source = ExtentSource(reader)
    try:
        await source.prepare(interval)
    except BaseException:
        source.close()
        raise
    return source


async def serve_with_gaps(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, gaps: Gaps, leader: Leader
) -> bool:
    """Ask for the span and serve. False: nothing was answered, send the request as the client wrote it."""
    span = gaps.span
    added: Headers = (
        (b"Range", b"bytes=%d-%d" % (span.start, span.end - 1)),
        (b"If-Match", gaps.record.generation.etag),
    )
    asked = await ask_origin(ctx, exchange, read, added, without=_RANGE)
    fill = _fill_of(ctx, store, read, gaps, asked)
    if fill is None:
        asked.response.abort()
        if asked.response.head.status == 412:
            store.drop(read.object_id)
        return False
    pieces = gaps.with_fill(ctx, read.object_id, fill)
    try:
        ctx.flights.add(fill)
        fill.start()
        leader.land(followable=True)
        headers = asked.response.head.headers
        await send_stored(
            ctx, exchange, read, fill.record, gaps.answer, pieces, Result.PARTIAL, age=0.0, validation=headers
        )
    finally:
        exchange.origin_bytes += asked.response.bytes_received
        pieces.close()
    return True


def _fill_of(ctx: Context, store: Store, read: ReadRequest, gaps: Gaps, asked: Asked) -> Fill | None:
    """The fill of the span, when the answer is exactly that span of exactly that generation."""
    response = asked.response
    if response.head.status != 206:
        return None
    judged = judge_body(
        response.head,
        requested=gaps.span,
        range_asked=True,
        checksum_mode=read.checksum_mode,
        at=ctx.clock.wall(),
        honour_no_store=ctx.authorization.has_ttl,
        allow_kms=ctx.allow_kms,
    )
    if isinstance(judged, NotStorable):
        return None
    if judged.interval != gaps.span or judged.record.generation != gaps.record.generation:
        return None
    record = merge_known(judged.record, gaps.record)
    published = store.publish_head(read.object_id, record, asked.token, asked.sent)
    if published is None:
        return None
    asked.token = published
    store.validate(read.object_id, asked.token, asked.sent, asked.at)
    writer = store.begin_fill(read.object_id, record, asked.token, asked.sent, gaps.span)
    return Fill(
        read.object_id,
        record,
        gaps.span,
        asked.token,
        response,
        writer,
        ctx.fill_limits,
        ctx.window_budget,
        ctx.metrics,
        lambda: forget(ctx, store, read),
    )
