"""What a read lacks, fetched with credentials of our own after its client has proved that it may have it (DESIGN 8).

For a read whose signature covers its Range, so that its own request cannot ask for just the gaps. It goes out as it is
with our If-None-Match; only a 304 to it, which is the origin's word on this client, this object and this generation, is
followed by requests of ours: for the missing spans, under the ETag that the 304 has proved. Any other answer is the
client's answer. Where ours get anything but those bytes, the client's request is sent again as it came.
"""

from __future__ import annotations

import logging
from urllib.parse import quote_from_bytes

from fastcache.engine.asking import Asked, ask_again, ask_origin
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.flights import Leader
from fastcache.engine.forwarding import ask_in_our_name_alone
from fastcache.engine.gaps import Gaps, find_gaps
from fastcache.engine.signing import Signer
from fastcache.engine.span_source import Ask, span_fields
from fastcache.engine.spans import serve_with_gaps
from fastcache.errors import RequestError, UpstreamError
from fastcache.model import HeadRecord, Interval, ObjectId
from fastcache.policy.admission import Admission
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.revalidation import REFUSES_ADDITION, Verdict, judge_304, validator_to_add
from fastcache.protocol.framing import NO_BODY
from fastcache.protocol.query import classify_query
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.targets import AddressStyle, S3Target
from fastcache.storage.store import Store

_log = logging.getLogger("fastcache.engine.own_gaps")


async def lead_with_own_gaps(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, leader: Leader
) -> Asked | bool | None:
    """True: answered. False: nothing is missing any more. None: the request has to go out as the client wrote it; an
    Asked: it did."""
    signer = ctx.gap_signer
    if signer is None or read.part is not None or ctx.refuses_additions(read.object_id.origin):
        return None
    gaps = await find_gaps(ctx, store, await store.lookup(read.object_id), read)
    if gaps is None:
        return None
    try:
        if not gaps.spans:
            leader.land(followable=True)
            return False
        if all(piece.source is None for piece in gaps.pieces):
            return None  # all of it is missing: a proof beforehand would save nothing
        return await _prove_and_serve(ctx, store, exchange, read, gaps, leader, signer)
    finally:
        gaps.close()


async def _prove_and_serve(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, gaps: Gaps, leader: Leader, signer: Signer
) -> Asked | bool | None:
    validator = validator_to_add(read.conditions, gaps.record)
    if validator is None:
        return None
    asked = await ask_origin(ctx, exchange, read, ((b"If-None-Match", validator),))
    answer = asked.response.head
    if answer.status in REFUSES_ADDITION:
        return await ask_again(ctx, exchange, read, asked, remember=True)
    if answer.status != 304:
        return asked
    if judge_304(answer, gaps.record, only_ours=read.conditions.if_modified_since is None) is not Verdict.CURRENT:
        return await ask_again(ctx, exchange, read, asked, remember=False)
    asked.response.abort()
    entry = store.peek(read.object_id)
    if entry is not None and entry.head is gaps.record:
        store.validate(read.object_id, asked.token, asked.sent, asked.at)
    proof = answer.headers
    try:
        ask = _asker(ctx, read, signer)
        return await serve_with_gaps(ctx, store, exchange, read, gaps, leader, ask=ask, validation=proof) or None
    except UpstreamError as error:
        if exchange.head_sent:
            raise
        ctx.metrics.origin_error(error.kind)
        _log.info("request %s: what is missing cannot be had in our own name: %s", exchange.request_id, error)
        return None


def _asker(ctx: Context, read: ReadRequest, signer: Signer) -> Ask:
    """GET of the object itself, with nothing of the client's request, for a span."""
    admission = Admission(_PLAIN_GET, _target_of(read.object_id), trusted=True)

    async def ask(span: Interval, record: HeadRecord) -> Asked:
        token, sent, at = ctx.fences.token(read.object_id), ctx.next_sent(), ctx.clock.boot()
        try:
            response = await ask_in_our_name_alone(ctx, signer, admission, span_fields(span, record))
        except RequestError as error:
            raise UpstreamError(str(error)) from None  # what is said of us is not for the client
        return Asked(response, token, sent, at, added=True)

    return ask


_PLAIN_GET = RequestHead(
    method=b"GET",
    target=b"/",
    http_10=False,
    headers=(),
    framing=NO_BODY,
    keep_alive=True,
    expect_continue=False,
    host=b"",
)


def _target_of(object_id: ObjectId) -> S3Target:
    query = b"" if object_id.version is None else b"versionId=" + quote_from_bytes(object_id.version, safe="").encode()
    return S3Target(
        bucket=object_id.bucket,
        key=object_id.key,
        raw_path=b"",
        raw_query=query,
        query=classify_query(query),
        cacheable_identity=True,
        alternative_keys=(object_id.key,),
        style=AddressStyle.PATH,
    )
