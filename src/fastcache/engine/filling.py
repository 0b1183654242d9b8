"""An answer of the origin becomes a fill."""

from __future__ import annotations

from fastcache.engine.asking import Asked
from fastcache.engine.context import Context
from fastcache.engine.fill import Fill
from fastcache.engine.lessons import forget
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import Storable
from fastcache.storage.store import Store


def begin_fill(
    ctx: Context, store: Store, read: ReadRequest, storable: Storable, asked: Asked, *, keep: bool = True
) -> Fill:
    """Read the answer's body, and let others follow it; from here on the fill owns the response. Whoever reads it
    attaches before the loop goes on. ``keep`` is False for bytes that no file may hold any more."""
    record, interval = storable.record, storable.interval
    writer = None
    if keep and interval.length:
        writer = store.begin_fill(read.object_id, record, asked.token, asked.sent, interval)
    fill = Fill(
        read.object_id,
        record,
        interval,
        asked.token,
        asked.response,
        writer,
        ctx.fill_limits,
        ctx.window_budget,
        ctx.metrics,
        lambda: forget(ctx, store, read),
    )
    ctx.flights.add(fill)
    fill.start()
    return fill
