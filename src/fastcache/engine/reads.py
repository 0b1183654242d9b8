"""GET and HEAD of objects: plan, ask, serve, fill.

One request takes these steps, each decided in ``policy``:

1. Look for a *basis*: a current-looking head with every byte of the answer at hand, in extents or in a fill.
2. Fresh by the operator's TTL (mode ``none``): serve the basis.
3. A basis that must be proven: send the client's own request with our If-None-Match. 304: serve. Anything else is the
   answer, or the start of a new fill.
4. No basis: wait for a leader that is asking for the same bytes, at most ``follow_wait``, and look again; else lead:
   send the client's request as it is and fill from the answer.

A follower in ``revalidate`` is authorised by its own request, never by the leader's.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from fastcache.engine.asking import Asked, ask_again, ask_origin
from fastcache.engine.basis import Basis, find_basis, prepared
from fastcache.engine.byteranges import ByterangesSource
from fastcache.engine.completing import complete_and_serve
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.filling import begin_fill
from fastcache.engine.flights import Leader
from fastcache.engine.forwarding import relay
from fastcache.engine.gaps import awaited_leader
from fastcache.engine.heads import handle_head
from fastcache.engine.judging import is_broken_part, judge_answer
from fastcache.engine.leasing import offer_to
from fastcache.engine.lessons import entry_freshness, forget_if_other, learn_from_refusal
from fastcache.engine.refresh import refresh_behind
from fastcache.engine.serving import FillSource, Source, send_body, send_stored
from fastcache.engine.spans import lead_with_gaps
from fastcache.engine.wide import ask_for_blocks, serve_out_of_blocks, wide_read
from fastcache.errors import UpstreamConnectError, UpstreamTimeoutError
from fastcache.model import Headers, HeadRecord, Interval, Result
from fastcache.policy.cache_status import cache_status_headers
from fastcache.policy.freshness import STALE_STATUSES, Freshness
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.revalidation import REFUSES_ADDITION, Verdict, judge_304, validator_to_add
from fastcache.policy.storable import NotStorable, Storable, merge_known
from fastcache.protocol.framing import BodyFraming, Framing
from fastcache.protocol.responses import forward_response_headers
from fastcache.storage.entry import Entry
from fastcache.storage.store import Store
from fastcache.upstream.response import Response

_log = logging.getLogger("fastcache.engine.reads")

_MAX_ATTEMPTS = 4
"""Looks at the index per request: a corrupt extent, a leader awaited, a fill that ended, each cost one."""


async def handle_read(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest) -> None:
    """Answer one GET or HEAD."""
    if read.method == b"HEAD":
        await handle_head(ctx, store, exchange, read)
        return
    deadline = ctx.clock.boot() + ctx.follow_wait
    for _ in range(_MAX_ATTEMPTS):
        entry = await store.lookup(read.object_id)
        basis = await find_basis(ctx, store, entry, read)
        try:
            if basis is not None:
                if await _serve_basis(ctx, store, exchange, read, entry, basis, deadline):
                    return
                continue
            if read.ranges is not None:  # not all of them are here: the whole object, as S3 answers
                read = replace(read, ranges=None)
                continue
            patience = deadline - ctx.clock.boot()
            leader = awaited_leader(ctx, store, entry, read) if patience > 0 else None
            if leader is not None:
                await leader.head_within(patience)
                continue
        finally:
            if basis is not None:
                basis.close()
        if await _lead(ctx, store, exchange, read):
            return
    await _ask_alone(ctx, store, exchange, read)


# ---- with a basis ----


async def _serve_basis(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, entry: Entry, basis: Basis, deadline: float
) -> bool:
    """Serve the basis, after proving it where the mode asks for that. False: look again, nothing was answered."""
    usable = entry_freshness(ctx, entry, read) if entry.head is basis.record else Freshness.EXPIRED
    if usable is Freshness.STALE_USABLE:
        refresh_behind(ctx, store, exchange, read)
    if usable in (Freshness.FRESH, Freshness.STALE_USABLE):
        return await _serve_unasked(ctx, exchange, read, entry, basis)
    if not ctx.authorization.has_ttl or read.must_ask:
        return await _prove_and_serve(ctx, store, exchange, read, entry, basis, usable)
    # N readers of an expired entry are one question to the origin: its answer is everybody's.
    prover = ctx.flights.prover_of(read.object_id)
    patience = deadline - ctx.clock.boot()
    if prover is not None and patience > 0:
        await prover.head_within(patience)
        return False
    prover = ctx.flights.prove(read)
    try:
        return await _prove_and_serve(ctx, store, exchange, read, entry, basis, usable, prover)
    finally:
        prover.land(followable=True)


async def _serve_unasked(ctx: Context, exchange: Exchange, read: ReadRequest, entry: Entry, basis: Basis) -> bool:
    if not await prepared(basis):
        return False
    result = Result.COALESCED if basis.followed else Result.HIT
    await _send_basis(ctx, exchange, read, entry, basis, result, None)
    return True


async def _prove_and_serve(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    entry: Entry,
    basis: Basis,
    usable: Freshness,
    prover: Leader | None = None,
) -> bool:
    if basis.answer.interval is None:
        # A 304, 412 or 416 of ours would rest on an unproven head: the origin gives those itself.
        await _lead(ctx, store, exchange, read)
        return True
    if await complete_and_serve(ctx, store, exchange, read, basis, prover):
        return True
    origin = read.object_id.origin
    unwelcome = ctx.refuses_additions(origin) or (read.part is not None and origin in ctx.additions_break_parts)
    validator = None if unwelcome else validator_to_add(read.conditions, basis.record)
    added: Headers = ((b"If-None-Match", validator),) if validator is not None else ()
    try:
        asked = await ask_origin(ctx, exchange, read, added)
    except (UpstreamConnectError, UpstreamTimeoutError) as error:
        if usable is not Freshness.STALE_ON_ERROR:
            raise
        _log.warning("served stale: %s", error)
        return await _serve_unasked(ctx, exchange, read, entry, basis)
    if usable is Freshness.STALE_ON_ERROR and asked.response.head.status in STALE_STATUSES:
        asked.response.abort()
        return await _serve_unasked(ctx, exchange, read, entry, basis)
    if asked.added and asked.response.head.status in REFUSES_ADDITION:
        asked = await ask_again(ctx, exchange, read, asked, remember=True)
    if asked.added and is_broken_part(ctx, store, read, asked):
        ctx.additions_break_parts.add(origin)
        _log.warning("the origin breaks answers about parts beside an If-None-Match; none is added to those any more")
        asked = await ask_again(ctx, exchange, read, asked, remember=False)
    if asked.added and asked.response.head.status == 304:
        verdict = judge_304(asked.response.head, basis.record, only_ours=read.conditions.if_modified_since is None)
        if verdict is Verdict.CURRENT:
            asked.response.abort()
            if entry.head is basis.record:  # it proves what it was asked about, not what came meanwhile
                store.validate(read.object_id, asked.token, asked.sent, asked.at)
            if prover is not None:
                prover.land(followable=True)
            if not await prepared(basis):
                return False
            result = Result.COALESCED if basis.followed else Result.REVALIDATED
            await _send_basis(ctx, exchange, read, entry, basis, result, asked.response.head.headers)
            return True
        asked = await ask_again(ctx, exchange, read, asked, remember=False)
    try:
        await _take_answer(ctx, store, exchange, read, asked, basis, prover)
    except BaseException:
        asked.response.abort()
        raise
    return True


async def _send_basis(
    ctx: Context,
    exchange: Exchange,
    read: ReadRequest,
    entry: Entry,
    basis: Basis,
    result: Result,
    validation: Headers | None,
) -> None:
    # Our validator made the origin ignore If-Modified-Since, which the basis was tested against: a 304 that proves the
    # head names no other Last-Modified.
    answer = basis.answer
    leasable = ctx.lessor is not None and not (read.part or read.overrides or read.ranges or basis.followed)
    if answer.ranges and isinstance(basis.source, ByterangesSource):
        read, answer = basis.source.framed(read)
    proof = entry.validation
    age = 0.0 if validation is not None or proof is None else max(0.0, ctx.clock.boot() - proof.at)
    ttl = ctx.ttls.of_object(basis.record).get if ctx.authorization.has_ttl else None
    await send_stored(
        ctx, exchange, read, basis.record, answer, basis.source, result, age=age, validation=validation, ttl=ttl
    )
    if leasable and ctx.lessor is not None:
        offer_to(ctx.lessor, exchange, entry, basis.record, answer.interval)


async def _lead(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest) -> bool:
    """Send the client's request as it is, or for what is missing, with others free to wait for its head. False: look
    again, all of it came meanwhile."""
    if read.overrides:
        await _ask_alone(ctx, store, exchange, read)
        return True
    blocks = wide_read(ctx, read)
    with ctx.flights.lead(read.object_id, blocks) as leader:
        if read.may_ask_for_part:
            answered = await lead_with_gaps(ctx, store, exchange, read, leader)
            if answered is not None:
                return answered
        leader.sent = True
        if blocks is read:
            asked = await ask_origin(ctx, exchange, read, ())
        else:
            asked = await ask_for_blocks(ctx, exchange, read, blocks)
            if asked.response.head.status == 206:
                if await serve_out_of_blocks(ctx, store, exchange, read, blocks, asked, leader):
                    return True
                asked = await ask_again(ctx, exchange, read, asked, remember=False)
        await _take_answer(ctx, store, exchange, read, asked, None, leader)
    return True


async def _ask_alone(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest) -> None:
    """Send the client's request as it is; nobody waits for its answer."""
    await _take_answer(ctx, store, exchange, read, await ask_origin(ctx, exchange, read, ()), None, None)


async def _take_answer(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    asked: Asked,
    basis: Basis | None,
    leader: Leader | None,
) -> None:
    """The origin answered something else than a 304 to our validator."""
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
) -> None:
    exchange.result = result
    head = response.head
    headers = forward_response_headers(head) + cache_status_headers(result, forward_status=head.status, stored=stored)
    try:
        await exchange.send_head(head.status, headers, BodyFraming(Framing.LENGTH, interval.length))
        await send_body(ctx, exchange, read, record, interval, source)
    finally:
        exchange.origin_bytes += response.bytes_received
