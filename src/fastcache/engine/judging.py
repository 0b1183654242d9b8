"""The origin's answer to a read, judged under this worker's rules and beside what is stored."""

from __future__ import annotations

from fastcache.engine.asking import Asked
from fastcache.engine.context import Context
from fastcache.model import Interval
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, Storable, judge_body
from fastcache.storage.store import Store


def judge_answer(
    ctx: Context, store: Store, read: ReadRequest, asked: Asked, *, requested: Interval | None = None
) -> Storable | NotStorable:
    """Whether the answer to a GET may be stored, by the rules in force and what is known of the object. ``requested``
    is the range that was asked for in the place of the client's own."""
    present = store.peek(read.object_id)
    return judge_body(
        asked.response.head,
        requested=requested or read.absolute_interval(),
        range_asked=requested is not None or read.range_field_sent,
        checksum_mode=read.checksum_mode,
        at=ctx.clock.wall(),
        honour_no_store=ctx.authorization.has_ttl,
        allow_kms=ctx.allow_kms,
        part=read.part,
        known=present.head.generation if present is not None and present.head is not None else None,
    )


def is_broken_part(ctx: Context, store: Store, read: ReadRequest, asked: Asked) -> bool:
    """Swift says 206 with ``bytes 0--1/0`` and no byte where it means 304: such an answer, which our addition caused,
    must not reach the client."""
    if read.part is None or asked.response.head.status != 206:
        return False
    return judge_answer(ctx, store, read, asked) == NotStorable(b"content-range")
