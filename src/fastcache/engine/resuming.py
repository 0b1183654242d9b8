"""Going on with an answer that the hit branch began and cannot finish.

The next bytes are not in memory any more, were not checked yet, or cannot be read. The head is out, so that what
follows must be bytes of the same generation: from its extents, else from the origin, else the connection is reset.
"""

from __future__ import annotations

from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.serving import continue_if_allowed
from fastcache.engine.sources import AbortedAnswerError, send_extents
from fastcache.errors import UpstreamError
from fastcache.model import HeadRecord, Interval, Result
from fastcache.policy.local_answer import answer_locally
from fastcache.policy.read_request import ReadRequest
from fastcache.storage.store import Store


async def resume_read(
    ctx: Context, store: Store, exchange: Exchange, read: ReadRequest, record: HeadRecord, result: Result
) -> None:
    """Send what is left of the answer to ``read`` under a lease of ``record``. Raises AbortedAnswerError."""
    answer = answer_locally(read, record)
    if answer.interval is None:
        raise AbortedAnswerError("an answer without a body was to be gone on with")
    exchange.result = result
    exchange.origin_status = None if result is Result.HIT else 304
    exchange.object_size = record.generation.size
    exchange.status = answer.status
    interval = answer.interval
    try:
        await _send_rest(store, exchange, read, record, Interval(interval.start + exchange.body_sent(), interval.end))
    except (AbortedAnswerError, UpstreamError) as error:
        await continue_if_allowed(ctx, exchange, read, record, interval, error)
    await exchange.end()


async def _send_rest(store: Store, exchange: Exchange, read: ReadRequest, record: HeadRecord, rest: Interval) -> None:
    entry = store.peek(read.object_id)
    reader = None
    if entry is not None and entry.is_generation(record.generation.tag):
        reader = await store.open_range(entry, rest)
    if reader is None:
        raise AbortedAnswerError("bytes of a cached answer are gone from the cache")
    try:
        await send_extents(exchange, reader, rest)
    finally:
        reader.close()
