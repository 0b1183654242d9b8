"""Prove a stale head while readers are served from it (stale-while-revalidate, RFC 5861 section 3)."""

from __future__ import annotations

import logging

from fastcache.engine.asking import Asked
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.flights import Leader
from fastcache.engine.forwarding import ask_again_alone
from fastcache.engine.lessons import forget_if_other, learn_from_refusal
from fastcache.errors import UpstreamError
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.revalidation import Verdict, judge_304, validator_to_add
from fastcache.storage.store import Store

_log = logging.getLogger("fastcache.engine.refresh")


def refresh_behind(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest) -> None:
    """Ask the origin with the request of a client that is served at once; one at a time for each object.

    The request is that client's own and goes out while it is being answered, so its signature is used for nothing else.
    """
    if ctx.flights.prover_of(read.object_id) is None:
        ctx.flights.spawn(_refresh(ctx, store, exchange, read, ctx.flights.prove(read)))


async def _refresh(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, leader: Leader) -> None:
    try:
        entry = await store.lookup(read.object_id)
        record = entry.head
        if record is None:
            return
        validator = None if ctx.refuses_additions(read.object_id.origin) else validator_to_add(read.conditions, record)
        token, sent, at = ctx.fences.token(read.object_id), ctx.next_sent(), ctx.clock.boot()
        response = await ask_again_alone(ctx, exchange, () if validator is None else ((b"If-None-Match", validator),))
        try:
            answer = response.head
            asked = Asked(response, token, sent, at, validator is not None)
            if answer.status in (200, 206) or (answer.status == 304 and asked.added):
                # An answer with a body speaks of the present content as a 304 does; the body is the next reader's.
                # Without an ETag only a 304 to nothing but our validator says so.
                alone = answer.status == 304 and read.conditions.if_modified_since is None
                if judge_304(answer, record, only_ours=alone) is Verdict.CURRENT:
                    if entry.head is record:
                        store.validate(read.object_id, token, sent, at)
                else:
                    forget_if_other(ctx, store, read, answer.get(b"etag"))
                    store.unvalidate(read.object_id)
            else:
                learn_from_refusal(ctx, store, read, asked)
        finally:
            response.abort()
    except UpstreamError as error:
        _log.info("a stale object could not be proved: %s", error)
    finally:
        leader.land(followable=True)
