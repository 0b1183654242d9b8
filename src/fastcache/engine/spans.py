"""The missing spans of an answer: asked for in order, several at a time, and sent in order behind what arrives.

The first one is asked for before the head goes out and decides whether the answer can be given at all. The others are
on their way meanwhile, at most AT_ONCE of them ahead of what the client has got; what they bring is stored as it comes,
and as much of it kept in memory as of any fill. One that brings another generation than the head has promised ends the
connection; one that fails is asked for once more, from where it stopped.
"""

from __future__ import annotations

from fastcache.engine.asking import Asked
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.flights import Leader
from fastcache.engine.forwarding import relay
from fastcache.engine.gaps import Gaps, Piece, find_gaps
from fastcache.engine.lessons import learn_from_refusal
from fastcache.engine.serving import send_stored
from fastcache.engine.sources import PartSource, PiecedSource
from fastcache.engine.span_source import Ask, Request, SpanSource, own_ask
from fastcache.model import Headers, Interval, Result
from fastcache.policy.read_request import ReadRequest
from fastcache.storage.store import Store

AT_ONCE = 4
"""Spans asked for and not sent yet. Each may have a window in memory and lead the reader as any fill may."""


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


async def lead_with_gaps(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, leader: Leader, *, only_first: bool
) -> bool | None:
    """True: answered. False: nothing is missing any more, or somebody else is asking for some of it and this is to be
    ``only_first``. None: the request has to go out as the client wrote it."""
    gaps = await find_gaps(ctx, store, await store.lookup(read.object_id), read)
    if gaps is None:
        return None
    try:
        if not gaps.spans or (only_first and ctx.flights.asked_for(read.object_id, gaps.spans) is not None):
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
        await send_stored(
            ctx, exchange, read, fill.record, answer, source, result, age=0.0, validation=proof, asked=True
        )
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
