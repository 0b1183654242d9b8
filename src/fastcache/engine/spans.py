"""The missing spans of an answer: asked for in order, several at a time, and sent in order behind what arrives.

The first one is asked for before the head goes out and decides whether the answer can be given at all. The others are
on their way meanwhile, at most AT_ONCE of them ahead of what the client has got; what they bring is stored as it comes,
and as much of it kept in memory as of any fill. One that brings another generation than the head has promised ends the
connection; one that fails is asked for once more, from where it stopped.
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
from fastcache.engine.flights import Leader
from fastcache.engine.forwarding import relay
from fastcache.engine.gaps import Gaps, Piece, find_gaps, open_extents, usable_fills
from fastcache.engine.lessons import forget, learn_from_refusal
from fastcache.engine.serving import ExtentSource, FillSource, PartSource, PiecedSource, send_stored
from fastcache.errors import FastcacheError, StorageError, UpstreamError
from fastcache.model import Headers, HeadRecord, Interval, Result
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, Storable, judge_body, merge_known
from fastcache.storage.store import Store

AT_ONCE = 4
"""Spans asked for and not sent yet. Each may have a window in memory and lead the reader as any fill may."""
_LOOKS = 4
"""Times that a span is looked for at hand while others ask for its bytes."""
_RANGE = frozenset({b"range"})
_SPEAKS_OF_OBJECT = frozenset({200, 206, 404, 412, 416})
"""Statuses that say something of the object when they are not the answer that was asked for."""

Ask = Callable[[Interval, HeadRecord], Awaitable[Asked]]
"""Sends a request for one span under the record's ETag."""


_log = logging.getLogger("fastcache.engine.spans")


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
    """The part of one span that a client gets. ``begin`` first; ``close`` ends the asking too."""

    __slots__ = ("_asked", "_interval", "_request", "_source", "_task", "span")

    def __init__(self, request: Request, span: Interval, interval: Interval) -> None:
        self._request = request
        self.span = span
        self._interval = interval
        self._task: asyncio.Task[None] | None = None
        self._source: ExtentSource | FillSource | None = None
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
            self.begin()
            await self._send(exchange)
        self.close()

    async def _send(self, exchange: Exchange) -> None:
        if self._task is not None:
            await self._task
        assert self._source is not None, "begun before it is sent"
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
            if other is None:
                break
            await other.head_within(request.ctx.follow_wait)
        await self._ask()

    async def _find(self) -> bool:
        """Whether the part has come here since the answer was laid out, or is being brought."""
        request = self._request
        ctx, store, object_id = request.ctx, request.store, request.read.object_id
        for fill in usable_fills(ctx, request.read, request.record):
            if fill.interval.contains(self._interval) and fill.brings(self._interval, ctx.follow_wait):
                self._source = FillSource(ctx, object_id, fill, self._interval)
                return True
        entry = await store.lookup(object_id)
        if store.missing(entry, self._interval):
            return False
        try:
            self._source = await open_extents(store, entry, request.record, self._interval)
        except StorageError:
            return False
        return True

    async def _ask(self) -> None:
        request = self._request
        ctx, read = request.ctx, request.read
        with ctx.flights.lead(read.object_id, read.of(self.span), sent=True) as leader:
            asked = await request.ask(self.span, request.record)
            fill = request.fill_of(self.span, asked, begun=True)
            if fill is not None:
                self.fill(fill, asked)
                leader.land(followable=True)
                return
        asked.response.abort()
        status = asked.response.head.status
        if status in _SPEAKS_OF_OBJECT:
            forget(ctx, request.store, read)
            raise OtherGenerationError(f"the origin answered {status} for the rest of an answer")
        raise UpstreamError(f"the origin answered {status} for the rest of an answer")


class GappedSource(PiecedSource):
    """Pieces at hand and spans on their way, in order."""

    __slots__ = ("_spans",)

    def __init__(self, request: Request, pieces: list[Piece]) -> None:
        super().__init__()
        self._spans: list[SpanSource] = []
        for piece in pieces:
            source: PartSource | None = piece.source
            if source is None:
                assert piece.span is not None
                source = span = SpanSource(request, piece.span, piece.interval)
                self._spans.append(span)
            self.add(source, piece.interval)

    @property
    def first(self) -> SpanSource:
        return self._spans[0]

    @property
    def asked(self) -> list[Interval]:
        return [span.span for span in self._spans]

    def begin_others(self) -> None:
        """Ask for the spans behind the first."""
        for span in self._spans[1:AT_ONCE]:
            span.begin()

    async def send(self, exchange: Exchange, interval: Interval) -> None:
        sent = 0
        for source, part in self._parts:
            await source.send(exchange, part)
            if isinstance(source, SpanSource):
                sent += 1
                for span in self._spans[sent : sent + AT_ONCE]:
                    span.begin()


def span_fields(span: Interval, record: HeadRecord) -> Headers:
    """What asks for a span of the record's generation and nothing else."""
    return (b"Range", b"bytes=%d-%d" % (span.start, span.end - 1)), (b"If-Match", record.generation.etag)


def own_ask(ctx: Context, exchange: Exchange, read: ReadRequest) -> Ask:
    """The request of the exchange itself, for a span."""

    async def ask(span: Interval, record: HeadRecord) -> Asked:
        return await ask_origin(ctx, exchange, read, span_fields(span, record), without=_RANGE)

    return ask


async def lead_with_gaps(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, leader: Leader
) -> bool | None:
    """True: answered. False: nothing is missing any more. None: the request has to go out as the client wrote it."""
    gaps = await find_gaps(ctx, store, await store.lookup(read.object_id), read)
    if gaps is None:
        return None
    try:
        if not gaps.spans:
            leader.land(followable=True)
            return False
        return await serve_with_gaps(ctx, store, exchange, read, gaps, leader) or None
    finally:
        gaps.close()


async def serve_with_gaps(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    gaps: Gaps,
    leader: Leader,
    *,
    ask: Ask | None = None,
    validation: Headers | None = None,
) -> bool:
    """Ask for the spans and serve. False: nothing was answered, send the request as the client wrote it.

    ``ask`` sends each span's request; the client's own by default. ``validation`` holds the headers of an answer that
    has proved the generation already, and that this client may read it; by default the first span's does.
    """
    request = Request(ctx, store, exchange, read, gaps.record, ask or own_ask(ctx, exchange, read))
    answer, span = gaps.answer, gaps.spans[0]
    result = Result.MISS if all(piece.source is None for piece in gaps.pieces) else Result.PARTIAL
    source = GappedSource(request, gaps.take())
    try:
        source.begin_others()
        with ctx.flights.lead(read.object_id, read.of(span), sent=True) as first:
            asked = await request.ask(span, request.record)
            fill = request.fill_of(span, asked, begun=False)
            if fill is not None:
                source.first.fill(fill, asked)
                first.land(followable=True)
                leader.land(followable=True)
        if fill is None:
            source.close()
            return await _refused(ctx, store, exchange, read, asked, leader, in_its_name=ask is None)
        proof = validation if validation is not None else asked.response.head.headers
        await send_stored(ctx, exchange, read, fill.record, answer, source, result, age=0.0, validation=proof)
    finally:
        source.close()
    return True


async def _refused(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    asked: Asked,
    leader: Leader,
    *,
    in_its_name: bool,
) -> bool:
    """The origin's answer is not the span: whether that is all there is to say to the client, as whose request it was
    asked or not."""
    status = asked.response.head.status
    if in_its_name and (status == 404 or (status >= 500 and status != 501)):
        # It would say the same to the request as the client wrote it.
        learn_from_refusal(ctx, store, read, asked)
        leader.land(followable=False)
        await relay(exchange, asked.response, Result.MISS)
        return True
    asked.response.abort()
    if status == 412:
        store.drop(read.object_id)
    return False
