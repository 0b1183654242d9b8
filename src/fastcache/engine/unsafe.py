"""Requests that change something, or may: fence, unpublish, forward, fence again (DESIGN section 7, SEMANTICS 30, 31).

Readers must never get the old content after the client learned that its write happened, whatever became of it. So the
fence is raised before anything is forwarded and again on *any* outcome, and the last byte of the answer waits for the
second raise.
"""

from __future__ import annotations

from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.forwarding import ask, relay
from fastcache.engine.keeping import begin_keeping
from fastcache.model import FenceToken, ObjectId, Result
from fastcache.policy.request_class import IdentityOf, UnsafeRequest, written_identities
from fastcache.protocol.framing import Framing
from fastcache.protocol.s3xml import parse_delete_objects, root_element_name
from fastcache.protocol.targets import S3Target

_DELETE_BODY_LIMIT = 2 * 1024 * 1024
_ROOT_SEARCH = 64 * 1024


class _Fenced:
    """What one unsafe request may touch."""

    def __init__(self, ctx: Context, object_ids: tuple[ObjectId, ...], bucket: ObjectId | None) -> None:
        self._ctx = ctx
        self.object_ids = object_ids
        self._bucket = bucket

    def raise_fences(self, token: FenceToken | None = None) -> FenceToken | None:
        """Raise everything that may be touched. The token that this made for the first object; where ``token`` is given
        and something else was raised since that, None."""
        fences, made = self._ctx.fences, None
        if self._bucket is not None:
            fences.raise_bucket(self._bucket)
        for object_id in reversed(self.object_ids):
            made = None
            if token is None or object_id is not self.object_ids[0]:
                made = fences.raise_object(object_id)
            elif (made := fences.raise_if_current(object_id, token)) is None:
                fences.raise_object(object_id)
        return made

    async def unpublish(self) -> None:
        if self._ctx.store is not None:
            await self._ctx.store.unpublish(*self.object_ids)

    def drop(self, *, but_first: bool) -> None:
        """``but_first``: but the first object, which has been published anew."""
        if self._ctx.store is not None:
            for object_id in self.object_ids[1:] if but_first else self.object_ids:
                self._ctx.store.drop(object_id)

    def doubt(self) -> None:
        """The content may be the same, with other tags, locks or access lists: what was learned of those during the
        write is as old as what was known before."""
        if self._ctx.store is not None:
            for object_id in self.object_ids:
                self._ctx.store.unvalidate(object_id)


async def handle_unsafe(ctx: Context, exchange: Exchange, target: S3Target, unsafe: UnsafeRequest) -> None:
    """Forward one unsafe request, fenced on both sides; what it uploads is kept where that is possible."""
    body: bytes | None = None
    identity_of = ctx.identity_for(exchange.admission)
    object_ids, bucket = unsafe.object_ids, unsafe.bucket
    if unsafe.deletes_named_in_body and bucket is not None:
        body = await _whole_body(exchange)
        named = None if body is None else _named(identity_of, bucket, body)
        if named is not None:
            object_ids, bucket = named, None
    fenced = _Fenced(ctx, object_ids, None if bucket is None else identity_of(bucket, b"", None))
    kept = begin_keeping(ctx, exchange, target, unsafe, fenced.raise_fences())
    exchange.watch_body = None if kept is None else kept.watch
    settled = False
    beginning = _Beginning()
    try:
        await fenced.unpublish()
        response = await ask(ctx, exchange, body=body)

        async def settle() -> None:
            nonlocal settled
            if kept is not None:
                await kept.prepare(response.head, beginning.seen)
            token = fenced.raise_fences(None if kept is None else kept.token)
            settled = True
            published = kept is not None and kept.settle(response.head, token)
            gone = unsafe.replaces_object or unsafe.deletes_named_in_body
            if gone and 200 <= response.head.status < 300 and not beginning.is_error():
                fenced.drop(but_first=published)
            else:
                fenced.doubt()

        await relay(exchange, response, Result.PASS, before_end=settle, watch=beginning.take)
    finally:
        if kept is not None:
            kept.abandon()
        if not settled:
            fenced.raise_fences()
            fenced.doubt()


class _Beginning:
    """The first bytes of an answer: Complete and Copy say 200 early and may still end in ``<Error>``."""

    def __init__(self) -> None:
        self._seen = bytearray()

    def take(self, piece: memoryview) -> None:
        if not self._seen:
            piece = memoryview(bytes(piece).lstrip())  # the white space that keeps slow completions alive
        if len(self._seen) < _ROOT_SEARCH:
            self._seen += piece[: _ROOT_SEARCH - len(self._seen)]

    @property
    def seen(self) -> bytes:
        return bytes(self._seen)

    def is_error(self) -> bool:
        return root_element_name(bytes(self._seen)) == "Error"


async def _whole_body(exchange: Exchange) -> bytes | None:
    """The body of a DeleteObjects, when it can be read before anything is forwarded."""
    if exchange.collected is not None:
        return exchange.collected
    framing = exchange.head.framing
    if framing.kind is not Framing.LENGTH or framing.length > _DELETE_BODY_LIMIT or exchange.head.expect_continue:
        return None
    return b"".join([bytes(piece) async for piece in exchange.body()])


def _named(identity_of: IdentityOf, bucket: bytes, body: bytes) -> tuple[ObjectId, ...] | None:
    try:
        named = parse_delete_objects(body)
    except ValueError:
        return None
    ids: dict[ObjectId, None] = {}
    for key, version in named:
        versions = () if version is None else (version,)
        ids |= dict.fromkeys(written_identities(bucket, (key,), versions, identity_of))
    return tuple(ids)
