"""HEAD of objects: forwarded as it is, unless a TTL says that the stored head may answer (SEMANTICS 11)."""

from __future__ import annotations

from fastcache.engine.asking import ask_origin
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.forwarding import relay
from fastcache.engine.leasing import offer_to
from fastcache.engine.lessons import entry_freshness, forget_if_other, learn_from_refusal
from fastcache.engine.refresh import refresh_behind
from fastcache.engine.serving import send_stored
from fastcache.errors import UpstreamConnectError, UpstreamTimeoutError
from fastcache.model import ChecksumState, HeadRecord, Result
from fastcache.policy.freshness import STALE_STATUSES, Freshness
from fastcache.policy.local_answer import answer_locally, can_answer
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, judge_head, merge_known
from fastcache.storage.entry import Entry
from fastcache.storage.store import Store


async def handle_head(ctx: Context, store: Store, exchange: Exchange, read: ReadRequest) -> None:
    entry = await store.lookup(read.object_id)
    record = entry.head
    usable = Freshness.EXPIRED
    if record is not None and can_answer(read, record, allow_kms=ctx.allow_kms) and _head_is_complete(read, record):
        usable = entry_freshness(ctx, entry, read)
        if usable is Freshness.STALE_USABLE:
            refresh_behind(ctx, store, exchange, read)
        if usable in (Freshness.FRESH, Freshness.STALE_USABLE):
            await _send_head(ctx, exchange, read, entry, record)
            return
    try:
        asked = await ask_origin(ctx, exchange, read, ())
    except (UpstreamConnectError, UpstreamTimeoutError):
        if usable is not Freshness.STALE_ON_ERROR or record is None:
            raise
        await _send_head(ctx, exchange, read, entry, record)
        return
    head = asked.response.head
    if usable is Freshness.STALE_ON_ERROR and record is not None and head.status in STALE_STATUSES:
        asked.response.abort()
        await _send_head(ctx, exchange, read, entry, record)
        return
    if head.status == 200:
        judged = judge_head(
            head,
            checksum_mode=read.checksum_mode,
            at=ctx.clock.wall(),
            honour_no_store=ctx.authorization.has_ttl,
            allow_kms=ctx.allow_kms,
        )
        if isinstance(judged, NotStorable):
            forget_if_other(ctx, store, read, head.get(b"etag"))
        elif store.publish_head(read.object_id, merge_known(judged, entry.head), asked.token, asked.sent):
            store.validate(read.object_id, asked.token, asked.sent, asked.at)
    else:
        learn_from_refusal(ctx, store, read, asked)
    same = record is not None and entry.head is not None and entry.head.generation == record.generation
    await relay(exchange, asked.response, Result.REVALIDATED if same and head.status == 200 else Result.MISS)


async def _send_head(ctx: Context, exchange: Exchange, read: ReadRequest, entry: Entry, record: HeadRecord) -> None:
    answer = answer_locally(read, record)
    proof = entry.validation
    age = 0.0 if proof is None else max(0.0, ctx.clock.boot() - proof.at)
    ttl = ctx.ttls.of_object(record).of(read.method)
    await send_stored(ctx, exchange, read, record, answer, None, Result.HIT, age=age, validation=None, ttl=ttl)
    if ctx.lessor is not None:
        offer_to(ctx.lessor, exchange, entry, record, None)


def _head_is_complete(read: ReadRequest, record: HeadRecord) -> bool:
    """A HEAD that asks for checksums is not answered from a head that cannot tell whether there are any, and none from
    one that tells nothing yet."""
    return not record.is_headerless and (not read.checksum_mode or record.checksum_state is not ChecksumState.UNKNOWN)
