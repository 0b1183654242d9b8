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
from collections.abc import Awaitable
from dataclasses import replace

from fastcache.engine.asking import Asked, ask_again, ask_origin
from fastcache.engine.basis import Basis, find_basis, prepared
from fastcache.engine.byteranges import ByterangesSource
from fastcache.engine.completing import complete_and_serve
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.flights import Leader
from fastcache.engine.gaps import awaited_leader, is_first, lacking
from fastcache.engine.heads import handle_head
from fastcache.engine.judging import is_broken_part
from fastcache.engine.leasing import offer_to
from fastcache.engine.lessons import entry_freshness
from fastcache.engine.own_gaps import lead_with_own_gaps
from fastcache.engine.refresh import refresh_behind
from fastcache.engine.serving import send_stored
from fastcache.engine.sources import NotBegunError
from fastcache.engine.spans import lead_with_gaps
from fastcache.engine.taking import take_answer
from fastcache.engine.wide import ask_for_blocks, serve_out_of_blocks, wide_read
from fastcache.errors import UpstreamConnectError, UpstreamTimeoutError
from fastcache.model import Headers, Result
from fastcache.policy.freshness import STALE_STATUSES, Freshness
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.revalidation import REFUSES_ADDITION, Verdict, judge_304, validator_to_add
from fastcache.storage.entry import Entry, same_content
from fastcache.storage.store import Store

_log = logging.getLogger("fastcache.engine.reads")

_MAX_ATTEMPTS = 4
"""Looks at the index per request: a corrupt extent, a fill that ended, a worker that was there before, each cost one;
leaders are waited for as long as there is patience."""


async def handle_read(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest) -> None:
    """Answer one GET or HEAD."""
    if read.method == b"HEAD":
        await handle_head(ctx, store, exchange, read)
        return
    deadline = ctx.clock.boot() + ctx.follow_wait
    attempts = 0
    while attempts < _MAX_ATTEMPTS:
        entry = await store.lookup(read.object_id)
        basis = await find_basis(ctx, store, entry, read)
        try:
            if basis is not None:
                if await answered(_serve_basis(ctx, store, exchange, read, entry, basis, deadline)):
                    return
                attempts += 1
                continue
            if read.ranges is not None:  # not all of them are here: the whole object, as S3 answers
                read = replace(read, ranges=None)
                continue
            patience = deadline - ctx.clock.boot()
            leader = awaited_leader(ctx, store, entry, read) if patience > 0 else None
            if leader is not None:
                await leader.head_within(patience)
                attempts = max(0, attempts - 1)  # who gave way to it did not look in vain
                continue
        finally:
            if basis is not None:
                basis.close()
        if await answered(_lead(ctx, store, exchange, read)):
            return
        attempts += 1
    if not await answered(_lead(ctx, store, exchange, read, only_first=False)):
        await _ask_alone(ctx, store, exchange, read)


async def answered(attempt: Awaitable[bool]) -> bool:
    """Whether an attempt has answered; it has not if what it was to answer with was gone before the first byte."""
    try:
        return await attempt
    except NotBegunError as error:
        _log.info("an answer is made anew: %s", error)
        return False


# ---- with a basis ----


async def _serve_basis(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, entry: Entry, basis: Basis, deadline: float
) -> bool:
    """Serve the basis, after proving it where the mode asks for that. False: look again, nothing was answered."""
    # Another answer may have renewed the head since the basis was found; under one that says the same it holds.
    current = entry.head is basis.record or same_content(entry.head, basis.record)
    usable = entry_freshness(ctx, entry, read) if current else Freshness.EXPIRED
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
        return await _lead(ctx, store, exchange, read)
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
    return await settle(ctx, store, exchange, read, entry, basis, asked, prover)


async def settle(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    entry: Entry,
    basis: Basis,
    asked: Asked,
    prover: Leader | None = None,
) -> bool:
    """Answer as the origin's word about the basis allows. False: look again, nothing was answered."""
    if asked.added and asked.response.head.status in REFUSES_ADDITION:
        asked = await ask_again(ctx, exchange, read, asked, remember=True)
    if asked.added and is_broken_part(ctx, store, read, asked):
        ctx.additions_break_parts.add(read.object_id.origin)
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
        await take_answer(ctx, store, exchange, read, asked, basis, prover)
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


async def _lead(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, *, only_first: bool = True) -> bool:
    """Send the client's request as it is, or for what is missing, with others free to wait for its head. False: look
    again, all of it came meanwhile, or another worker brings it."""
    if read.overrides:
        await _ask_alone(ctx, store, exchange, read)
        return True
    blocks = wide_read(ctx, read)
    with ctx.flights.lead(read.object_id, blocks) as leader:
        missing = lacking(ctx, store, store.peek(read.object_id), read) if only_first else []
        if only_first and not await is_first(ctx, store, leader, missing):
            leader.land(followable=True)
            return False
        asked = None
        if read.may_ask_for_part:
            answered = await lead_with_gaps(ctx, store, exchange, read, leader, only_first=only_first)
            if answered is not None:
                return answered
        elif ctx.gap_signer is not None:
            outcome = await lead_with_own_gaps(ctx, store, exchange, read, leader)
            if isinstance(outcome, bool):
                return outcome
            asked = outcome
        leader.note_sent()
        if asked is None and blocks is read:
            asked = await ask_origin(ctx, exchange, read, ())
        elif asked is None:
            asked = await ask_for_blocks(ctx, exchange, read, blocks)
            if asked.response.head.status == 206:
                if await serve_out_of_blocks(ctx, store, exchange, read, blocks, asked, leader):
                    return True
                asked = await ask_again(ctx, exchange, read, asked, remember=False)
        await take_answer(ctx, store, exchange, read, asked, None, leader)
    return True


async def _ask_alone(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest) -> None:
    """Send the client's request as it is; nobody waits for its answer."""
    await take_answer(ctx, store, exchange, read, await ask_origin(ctx, exchange, read, ()), None, None)
