"""What becomes of the origin's answer to a read: passed on, stored on its way, or cut because its bytes are here."""

from __future__ import annotations

from fastcache.engine.asking import Asked
from fastcache.engine.basis import Basis, find_basis, prepared
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.filling import begin_fill
from fastcache.engine.flights import Leader
from fastcache.engine.forwarding import relay
from fastcache.engine.judging import judge_answer
from fastcache.engine.lessons import forget_if_other, learn_from_refusal
from fastcache.engine.serving import send_body
from fastcache.engine.sources import FillSource, Source
from fastcache.model import HeadRecord, Interval, Result
from fastcache.policy.cache_status import cache_status_headers
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, Storable, merge_known
from fastcache.protocol.framing import BodyFraming, Framing
from fastcache.protocol.responses import forward_response_headers
from fastcache.storage.store import Store
from fastcache.upstream.response import Response


async def take_answer(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    asked: Asked,
    basis: Basis | None,
    leader: Leader | None,
) -> None:
    """Pass on what the origin answered, and keep what may be kept. Not for a 304 to a validator of ours."""
    response = asked.response
    head = response.head
    if head.status not in (200, 206):
        learn_from_refusal(ctx, store, read, asked)
        _release(leader)
        await relay(exchange, response, Result.MISS if head.status != 304 else Result.REVALIDATED)
        return
    judged = judge_answer(ctx, store, read, asked)
    if isinstance(judged, NotStorable):
        forget_if_other(ctx, store, read, head.get(b"etag"))
        _release(leader)
        await relay(exchange, response, Result.MISS, detail=judged.reason)
        return
    if read.overrides:
        # The header set is not the object's: whatever becomes of the body, this head is for this client alone.
        forget_if_other(ctx, store, read, head.get(b"etag"))
        if not await _serve_at_hand(ctx, exchange, read, judged, asked, basis, leader):
            await relay(exchange, response, Result.MISS, detail=b"override")
        return
    present = store.peek(read.object_id)
    record = merge_known(judged.record, present.head if present is not None else None)
    published = store.publish_head(read.object_id, record, asked.token, asked.sent)
    if published is None:
        # Overtaken by a write or a newer answer: right for this client, not to be kept.
        _release(leader)
        await relay(exchange, response, Result.MISS, detail=b"overtaken")
        return
    asked.token = published
    store.validate(read.object_id, asked.token, asked.sent, asked.at)
    storable = Storable(record, judged.interval)
    if await _serve_at_hand(ctx, exchange, read, storable, asked, basis, leader):
        return
    if (
        read.part is not None
        and basis is None
        and await _serve_part(ctx, store, exchange, read, storable, asked, leader)
    ):
        return
    await _fill(ctx, store, exchange, read, storable, asked, leader)


async def _serve_at_hand(
    ctx: Context,
    exchange: Exchange,
    read: ReadRequest,
    storable: Storable,
    asked: Asked,
    basis: Basis | None,
    leader: Leader | None,
) -> bool:
    """The origin sends bytes that are here already: cut it and serve ours, under its head. False: they are not here."""
    if (
        basis is None
        or basis.source is None
        or basis.answer.ranges
        or basis.record.generation != storable.record.generation
        or basis.answer.interval != storable.interval
        or not await prepared(basis)
    ):
        return False
    asked.response.abort()
    if leader is not None:
        leader.land(followable=True)
    result = Result.COALESCED if basis.followed else Result.REVALIDATED
    await _send_under_origins_head(
        ctx, exchange, read, storable.record, asked.response, storable.interval, basis.source, result
    )
    return True


async def _serve_part(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    storable: Storable,
    asked: Asked,
    leader: Leader | None,
) -> bool:
    """Only the answer told where the part lies: its bytes may be here, from a range or a read of the whole object."""
    basis = await find_basis(ctx, store, await store.lookup(read.object_id), read)
    if basis is None:
        return False
    try:
        return await _serve_at_hand(ctx, exchange, read, storable, asked, basis, leader)
    finally:
        basis.close()


def _release(leader: Leader | None) -> None:
    """Nobody can follow this answer: who waits goes on now, not when its body is through."""
    if leader is not None:
        leader.land(followable=False)


async def _fill(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    storable: Storable,
    asked: Asked,
    leader: Leader | None,
) -> None:
    """Store the body and serve it from behind its own watermark. From here on the fill owns the response."""
    record, interval = storable.record, storable.interval
    fill = begin_fill(ctx, store, read, storable, asked)
    source = FillSource(ctx, read.object_id, fill, interval)
    try:
        if leader is not None:
            leader.land(followable=True)
        await _send_under_origins_head(
            ctx,
            exchange,
            read,
            record,
            asked.response,
            interval,
            source,
            Result.MISS,
            stored=fill.is_stored,
            asked=True,
        )
    finally:
        source.close()


async def _send_under_origins_head(
    ctx: Context,
    exchange: Exchange,
    read: ReadRequest,
    record: HeadRecord,
    response: Response,
    interval: Interval,
    source: Source,
    result: Result,
    *,
    stored: bool = False,
    asked: bool = False,
) -> None:
    exchange.result = result
    head = response.head
    headers = forward_response_headers(head) + cache_status_headers(result, forward_status=head.status, stored=stored)
    try:
        await exchange.send_head(head.status, headers, BodyFraming(Framing.LENGTH, interval.length), hold=True)
        await send_body(ctx, exchange, read, record, interval, source, asked=asked)
    finally:
        exchange.origin_bytes += response.bytes_received
