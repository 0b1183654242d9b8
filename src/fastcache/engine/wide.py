"""A small read of an object of which nothing is known: the blocks around it are asked for, and stored.

The client gets exactly what it asked for, as it arrives; whoever asks for bytes of the same blocks meanwhile follows.
"""

from __future__ import annotations

from fastcache.engine.asking import Asked, ask_origin
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.filling import begin_fill
from fastcache.engine.flights import Leader
from fastcache.engine.serving import send_stored
from fastcache.engine.sources import FillSource
from fastcache.model import Interval, Result
from fastcache.policy.local_answer import answer_locally
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, Storable, judge_body, merge_known
from fastcache.policy.widening import widened
from fastcache.storage.store import Store

_ANY_SIZE = 1 << 62
_RANGE = frozenset({b"range"})


def wide_read(ctx: Context, read: ReadRequest) -> ReadRequest:
    """The read of all blocks that ``read`` touches; itself where it is not to be widened, or cannot be before the
    object's size is known."""
    wanted = read.absolute_interval()
    if ctx.widening is None or not read.may_ask_for_part or wanted is None:
        return read
    wide = widened(wanted, _ANY_SIZE, ctx.widening)
    return read if wide == wanted or ctx.unwidened.holds(read.object_id, ctx.clock.boot()) else read.of(wide)


async def ask_for_blocks(ctx: Context, exchange: Exchange, read: ReadRequest, blocks: ReadRequest) -> Asked:
    """The client's request, for ``blocks``."""
    wide = blocks.absolute_interval()
    assert wide is not None, "what is widened has a beginning"
    return await ask_origin(
        ctx, exchange, read, ((b"Range", b"bytes=%d-%d" % (wide.start, wide.end - 1)),), without=_RANGE
    )


async def serve_out_of_blocks(
    ctx: Context,
    store: Store,
    exchange: Exchange,
    read: ReadRequest,
    blocks: ReadRequest,
    asked: Asked,
    leader: Leader,
) -> bool:
    """Serve ``read`` out of the 206 to the widened request. False: that cannot be kept, so that it is of no use."""
    storable = _storable(ctx, store, read, blocks.absolute_interval(), asked)
    if storable is None:
        ctx.unwidened.add(read.object_id, ctx.clock.boot())
        return False
    fill = begin_fill(ctx, store, read, storable, asked)
    answer = answer_locally(read, storable.record)
    source = None if answer.interval is None else FillSource(ctx, read.object_id, fill, answer.interval)
    try:
        leader.land(followable=True)
        headers = asked.response.head.headers
        await send_stored(
            ctx, exchange, read, storable.record, answer, source, Result.MISS, age=0.0, validation=headers, asked=True
        )
    finally:
        exchange.origin_bytes += asked.response.bytes_received
        if source is not None:
            source.close()
    return True


def _storable(ctx: Context, store: Store, read: ReadRequest, wide: Interval | None, asked: Asked) -> Storable | None:
    judged = judge_body(
        asked.response.head,
        requested=wide,
        range_asked=True,
        checksum_mode=read.checksum_mode,
        at=ctx.clock.wall(),
        honour_no_store=ctx.authorization.has_ttl,
        allow_kms=ctx.allow_kms,
    )
    if isinstance(judged, NotStorable):
        return None
    present = store.peek(read.object_id)
    record = merge_known(judged.record, present.head if present is not None else None)
    published = store.publish_head(read.object_id, record, asked.token, asked.sent)
    if published is None:
        return None
    asked.token = published
    store.validate(read.object_id, asked.token, asked.sent, asked.at)
    return Storable(record, judged.interval)
