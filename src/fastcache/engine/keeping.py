"""What is kept of a write on its way to the origin: whatever kind of write it is, it is treated alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.multipart import begin_part, begin_whole_upload
from fastcache.engine.write_through import begin_put
from fastcache.model import FenceToken
from fastcache.policy.request_class import UnsafeRequest
from fastcache.protocol.responses import ResponseHead
from fastcache.protocol.targets import S3Target


class Kept(Protocol):
    """One write that may be kept. ``watch`` the body once; then ``prepare`` and ``settle``; ``abandon`` at the end,
    whatever happened."""

    token: FenceToken
    """The one that this write's own raise made."""

    def watch(self, source: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        """The body itself, piece by piece."""
        ...

    async def prepare(self, answer: ResponseHead, document: bytes) -> None:
        """The origin's answer is here; ``document`` is the beginning of its body. What takes time is done now, before
        the fence is raised again."""
        ...

    def settle(self, answer: ResponseHead, token: FenceToken | None) -> bool:
        """The fence was raised again: to ``token``, or None when something else had raised it since. Whether the object
        was published, with nothing left of what had been stored of it before."""
        ...

    def abandon(self) -> None:
        """The exchange is over; nothing when it was settled."""
        ...


def begin_keeping(
    ctx: Context, exchange: Exchange, target: S3Target, unsafe: UnsafeRequest, token: FenceToken | None
) -> Kept | None:
    """Keep what this request uploads, if that is possible. ``token`` is what its raise made of the fence of the first
    of its objects."""
    store = ctx.store
    if store is None or token is None or not ctx.write_through_max:
        return None
    if b"uploadId" not in target.query.names:
        return begin_put(ctx, store, exchange, target, unsafe, token)
    return begin_part(ctx, store, exchange, target, unsafe, token) or begin_whole_upload(
        ctx, store, exchange, target, unsafe, token
    )
