"""One missing stretch of an answer: asked for under the stored ETag in a request of its own, stored as it comes.

Whoever else asks for its bytes, here or in another worker, is joined instead. A request that fails is sent once more,
for what did not come. One that brings another generation than the answer's head has promised ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastcache.engine.asking import Asked, ask_origin
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.fill import Fill
from fastcache.engine.filling import begin_fill
from fastcache.engine.gaps import find_gaps, is_first, open_extents, usable_fills
from fastcache.engine.lessons import forget
from fastcache.engine.sources import FillSource, PartSource, PiecedSource, Source, follow
from fastcache.errors import FastcacheError, StorageError, UpstreamError
from fastcache.model import Headers, HeadRecord, Interval
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, Storable, judge_body, merge_known
from fastcache.storage.entry import Entry
from fastcache.storage.store import Store

_LOOKS = 4
"""Times that a span is looked for at hand while others ask for its bytes."""
_RANGE = frozenset({b"range"})
_SPEAKS_OF_OBJECT = frozenset({200, 206, 404, 412, 416})
"""Statuses that say something of the object when they are not the answer that was asked for."""

Ask = Callable[[Interval, HeadRecord], Awaitable[Asked]]
"""Sends a request for one span under the record's ETag."""


_log = logging.getLogger("fastcache.engine.span_source")


class OtherGenerationError(FastcacheError):
    """The object was overwritten while an answer was under way: its rest does not exist any more."""

    log_level = logging.WARNING


@dataclass(frozen=True, slots=True)
class Request:
    """What all spans of one answer have in common."""

    ctx: Context
    store: Store
    exchange: Exchange
    read: ReadRequest
    record: HeadRecord
    ask: Ask

    def fill_of(self, span: Interval, asked: Asked, *, begun: bool) -> Fill | None:
        """The fill of the span, when the answer is exactly that span of exactly that generation. Once the answer to
        the client is ``begun`` also one that must not be kept, because a write has overtaken it."""
        ctx, response = self.ctx, asked.response
        if response.head.status != 206:
            return None
        judged = judge_body(
            response.head,
            requested=span,
            range_asked=True,
            checksum_mode=self.read.checksum_mode,
            at=ctx.clock.wall(),
            honour_no_store=ctx.authorization.has_ttl,
            allow_kms=ctx.allow_kms,
        )
        if isinstance(judged, NotStorable):
            return None
        if judged.record.generation != self.record.generation:  # of whose size the span is a part
            return None
        object_id = self.read.object_id
        record = merge_known(judged.record, self.record)
        published = self.store.publish_head(object_id, record, asked.token, asked.sent)
        if published is not None:
            asked.token = published
            self.store.validate(object_id, asked.token, asked.sent, asked.at)
        elif not begun:
            return None
        return begin_fill(ctx, self.store, self.read, Storable(record, span), asked, keep=published is not None)


class SpanSource:
    """The part of one span that a client gets. It ``begin``s when it is sent, if not before; ``close`` ends the asking
    too."""

    __slots__ = ("_asked", "_interval", "_request", "_source", "_task", "span")

    def __init__(self, request: Request, span: Interval, interval: Interval) -> None:
        self._request = request
        self.span = span
        self._interval = interval
        self._task: asyncio.Task[None] | None = None
        self._source: Source | None = None
        self._asked: Asked | None = None

    def begin(self) -> None:
        """Ask, or join whoever has asked."""
        if self._task is None and self._source is None:
            self._task = asyncio.get_running_loop().create_task(self._obtain())

    def fill(self, fill: Fill, asked: Asked) -> None:
        """Somebody has asked already."""
        self._asked = asked
        self._source = FillSource(self._request.ctx, self._request.read.object_id, fill, self._interval)

    async def send(self, exchange: Exchange, interval: Interval) -> None:
        """Send the part, asking once more for what did not come. Raises OtherGenerationError, or UpstreamError when it
        cannot be completed."""
        before = exchange.body_sent()
        try:
            await self._send(exchange)
        except UpstreamError as error:
            start = interval.start + exchange.body_sent() - before
            _log.warning("the rest of a span is asked for once more at %d: %s", start, error)
            self.close()
            self.span = Interval(start, self.span.end)
            self._interval = Interval(start, interval.end)
            await self._send(exchange)
        self.close()

    async def _send(self, exchange: Exchange) -> None:
        self.begin()
        if self._task is not None:
            await self._task
        assert self._source is not None, "what has begun ends with one"
        await self._source.send(exchange, self._interval)

    def close(self) -> None:
        task, self._task = self._task, None
        if task is not None and not task.cancel() and not task.cancelled():
            task.exception()  # the answer has ended already: nobody is left to be told
        if self._asked is not None:
            self._request.exchange.origin_bytes += self._asked.response.bytes_received
            self._asked = None
        if self._source is not None:
            self._source.close()
            self._source = None

    async def _obtain(self) -> None:
        request = self._request
        for _ in range(_LOOKS):
            if await self._find():
                return
            other = request.ctx.flights.asked_for(request.read.object_id, [self.span])
            if other is not None:
                await other.head_within(request.ctx.follow_wait)
            elif await self._ask(only_first=True):
                return
        await self._ask(only_first=False)

    async def _find(self) -> bool:
        """Whether the part has come here since the answer was laid out, or is being brought."""
        request = self._request
        ctx, store, object_id = request.ctx, request.store, request.read.object_id
        for fill in usable_fills(ctx, request.read, request.record):
            if fill.interval.contains(self._interval) and fill.brings(self._interval, ctx.follow_wait):
                self._source = follow(ctx, object_id, fill, self._interval)
                return True
        entry = await store.lookup(object_id)
        if store.missing(entry, self._interval):
            await store.refresh_if_changed(entry)  # a fill elsewhere that has ended is stored
        if store.missing(entry, self._interval):
            return await self._find_pieces(entry)
        try:
            self._source = await open_extents(store, entry, request.record, self._interval)
        except StorageError:
            return False
        return True

    async def _find_pieces(self, entry: Entry) -> bool:
        """Whether extents and fills have some of it: who comes late finds the beginning of a fill committed, and asks
        for no more than the rest."""
        request = self._request
        gaps = await find_gaps(request.ctx, request.store, entry, request.read.of(self._interval))
        if gaps is None:
            return False
        if gaps.record.generation != request.record.generation or not gaps.has_some:
            gaps.close()
            return False
        self._source = pieced = PiecedSource()
        asked = False
        for piece in gaps.take():
            source: PartSource | None = piece.source
            if source is None:
                assert piece.span is not None
                source = span = SpanSource(request, piece.span, piece.interval)
                if not asked:
                    span.begin()
                    asked = True
            pieced.add(source, piece.interval)
        return True

    async def _ask(self, *, only_first: bool) -> bool:
        """Ask the origin. False: another worker was there before, which is found out by telling of ours."""
        request = self._request
        ctx, read = request.ctx, request.read
        with ctx.flights.lead(read.object_id, read.of(self.span), sent=True) as leader:
            if only_first and not await is_first(ctx, request.store, leader, [self.span]):
                leader.land(followable=True)
                return False
            asked = await request.ask(self.span, request.record)
            fill = request.fill_of(self.span, asked, begun=True)
            if fill is not None:
                self.fill(fill, asked)
                leader.land(followable=True)
                return True
        asked.response.abort()
        status = asked.response.head.status
        if status in _SPEAKS_OF_OBJECT:
            forget(ctx, request.store, read)
            raise OtherGenerationError(f"the origin answered {status} for the rest of an answer")
        raise UpstreamError(f"the origin answered {status} for the rest of an answer")


def span_fields(span: Interval, record: HeadRecord) -> Headers:
    """What asks for a span of the record's generation and nothing else."""
    return (b"Range", b"bytes=%d-%d" % (span.start, span.end - 1)), (b"If-Match", record.generation.etag)


def own_ask(ctx: Context, exchange: Exchange, read: ReadRequest) -> Ask:
    """The request of the exchange itself, for a span."""

    async def ask(span: Interval, record: HeadRecord) -> Asked:
        return await ask_origin(ctx, exchange, read, span_fields(span, record), without=_RANGE)

    return ask
