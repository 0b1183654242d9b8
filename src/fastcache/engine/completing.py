"""The header set of an upload that was kept: its bytes are here, what describes them is not (SEMANTICS 32).

Where requests are ours to make, a HEAD asks for it behind the upload's answer. Else the first read brings it, in its
client's own request: as it is, the origin begins to send what is here already and is cut; where its signature covers
neither Range nor If-Match, it asks for one byte instead of all of them.
"""

from __future__ import annotations

import logging

from fastcache.engine.asking import Asked, ask_origin
from fastcache.engine.basis import Basis
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.flights import Leader
from fastcache.engine.forwarding import ask_in_our_name_alone, relay
from fastcache.engine.judging import judge_answer
from fastcache.engine.lessons import learn_from_refusal
from fastcache.engine.serving import send_stored
from fastcache.engine.signing import bare_head
from fastcache.errors import FastcacheError, UpstreamError
from fastcache.model import ChecksumState, HeadRecord, Interval, ObjectId, Result
from fastcache.policy.admission import Admission
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.revalidation import REFUSES_ADDITION
from fastcache.policy.storable import NotStorable, Storable, judge_head, merge_known
from fastcache.storage.store import Store

_log = logging.getLogger("fastcache.engine.completing")

_FIRST = Interval(0, 1)
_RANGE = frozenset({b"range"})
_WITH_CHECKSUMS = ((b"x-amz-checksum-mode", b"ENABLED"),)
_MOST_BEHIND = 32
"""Requests behind uploads at a time: enough for 1,000 uploads a second to an origin that is 30 ms away, and a sixteenth
of the connections to it, which are there for clients."""


async def complete_and_serve(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, basis: Basis, prover: Leader | None
) -> bool:
    """Ask for the first byte under the stored ETag, take the header set from the answer, and serve what is here. False:
    nothing was answered, send the request as the client wrote it."""
    known = basis.record
    whole = basis.answer.status == 200
    if (
        not known.is_headerless
        or not read.may_ask_for_part
        or basis.answer.interval is None
        or basis.source is None
        # An answer to a range tells no checksum of the whole object; the put's own answer may have.
        or (read.checksum_mode and whole and known.checksum_state is not ChecksumState.KNOWN)
    ):
        return False
    added = ((b"Range", b"bytes=0-0"), (b"If-Match", known.generation.etag))
    asked = await ask_origin(ctx, exchange, read, added, without=_RANGE)
    status = asked.response.head.status
    if status == 404 or (status >= 500 and status not in REFUSES_ADDITION):
        # It would say so to the client's own request, too; an origin that is overloaded is not asked again.
        learn_from_refusal(ctx, store, read, asked)
        await relay(exchange, asked.response, Result.MISS)
        return True
    try:
        record = await _complete_record(ctx, store, read, asked, known)
    except UpstreamError as error:
        _log.info("the first byte of an upload did not come: %s", error)
        record = None
    finally:
        exchange.origin_bytes += asked.response.bytes_received
        asked.response.abort()
    if record is None:
        return False
    if prover is not None:
        prover.land(followable=True)
    headers = asked.response.head.headers
    await send_stored(
        ctx, exchange, read, record, basis.answer, basis.source, Result.REVALIDATED, age=0.0, validation=headers
    )
    return True


async def _complete_record(
    ctx: Context, store: Store, read: ReadRequest, asked: Asked, known: HeadRecord
) -> HeadRecord | None:
    """The record with the header set of the answer, proved; None when that is not about the stored bytes."""
    if asked.response.head.status == 412:
        store.drop(read.object_id)
    judged = judge_answer(ctx, store, read, asked, requested=_FIRST)
    if not isinstance(judged, Storable) or judged.interval != _FIRST or judged.record.generation != known.generation:
        return None
    while await asked.response.read():
        pass  # to its end, so that the connection can be used again
    record = merge_known(judged.record, known)
    published = store.publish_head(read.object_id, record, asked.token, asked.sent)
    if published is None:
        return None
    asked.token = published
    store.validate(read.object_id, asked.token, asked.sent, asked.at)
    return record


async def complete_behind(
    ctx: Context, store: Store, admission: Admission | None, object_id: ObjectId, known: HeadRecord
) -> None:
    """Ask for the header set of what was just stored, and prove it, if that can be done in our name; never raises.
    ``admission`` is the upload's own. Where many ask at once, the first read brings what this would have."""
    gateway = ctx.gateway
    if gateway is None or gateway.signer is None or admission is None or admission.unsigned:
        return
    if ctx.heads_behind >= _MOST_BEHIND:
        return
    signer, there = gateway.way(admission)
    token, sent, at = ctx.fences.token(object_id), ctx.next_sent(), ctx.clock.boot()
    ctx.heads_behind += 1
    try:
        response = await ask_in_our_name_alone(ctx, signer, bare_head(there), _WITH_CHECKSUMS)
    except FastcacheError as error:
        _log.info("what describes an upload was not told: %s", error)
        return
    finally:
        ctx.heads_behind -= 1
    answer = response.head
    response.abort()
    judged = judge_head(
        answer,
        checksum_mode=True,
        at=ctx.clock.wall(),
        honour_no_store=ctx.authorization.has_ttl,
        allow_kms=ctx.allow_kms,
    )
    if isinstance(judged, NotStorable) or judged.generation != known.generation:
        return  # the first read learns what that means
    published = store.publish_head(object_id, merge_known(judged, known), token, sent)
    if published is not None:
        store.validate(object_id, published, sent, at)
