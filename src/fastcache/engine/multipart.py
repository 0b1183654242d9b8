"""Multipart uploads that are kept: parts as they pass, and the object that a completion makes of them (SEMANTICS 32).

A part is stored like a PutObject's body, under its upload and its ETag. A completion names parts by number and ETag;
when all of them are here, they become extents of the object whose ETag the origin's document tells, published as a put
is. Any doubt (a part that was copied, lost, answered oddly, or went through another cache) means that nothing is kept,
never that an upload fails.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from fastcache.engine.completing import complete_behind
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.write_through import Tee
from fastcache.errors import StorageError
from fastcache.model import FenceToken, HeadRecord
from fastcache.policy.admission import Admission
from fastcache.policy.request_class import UnsafeRequest
from fastcache.policy.storable import NotStorable, judge_completed, judge_written
from fastcache.policy.written import PartPlan, UploadNamed, named_upload, plan_part
from fastcache.protocol.responses import ResponseHead
from fastcache.protocol.s3xml import parse_completed, parse_completion
from fastcache.protocol.targets import S3Target
from fastcache.storage.entry import Entry
from fastcache.storage.staging import StagedBody
from fastcache.storage.store import Store
from fastcache.storage.uploads import Assembly, NamedPart, upload_digest

_log = logging.getLogger("fastcache.engine.multipart")

_COMPLETION_LIMIT = 8 * 1024 * 1024
"""Bytes of the longest list of parts that is read: 10,000 of them with a checksum each need a quarter."""
_PARTS_WAIT = 5.0
"""Seconds for which a completion waits for parts that are answered but not stored yet."""
_LOOK_AGAIN = (0.01, 0.02, 0.05, 0.1, 0.3, 0.5, 1.0)
"""Seconds between two looks for parts that other processes may be storing, behind the answer."""
_ENDS_UPLOAD = frozenset({200, 204, 404})
"""Statuses of an abort after which the upload is not there any more."""


class KeptPart:
    """One UploadPart."""

    def __init__(self, ctx: Context, store: Store, plan: PartPlan, digest: bytes, tee: Tee, token: FenceToken) -> None:
        self._ctx = ctx
        self._store = store
        self._plan = plan
        self._digest = digest
        self._tee = tee
        self.token = token

    def watch(self, source: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        return self._tee.watch(source)

    async def prepare(self, answer: ResponseHead, document: bytes) -> None:
        """Nothing here takes time."""

    def settle(self, answer: ResponseHead, token: FenceToken | None) -> bool:
        """Keep a part that the origin took, under its ETag; no fence concerns it before its upload is complete."""
        record = judge_written(answer, self._tee.size, at=0.0, allow_kms=self._ctx.allow_kms)
        if isinstance(record, NotStorable):
            self._tee.give_up("unusable" if answer.status < 300 else "rejected")
        elif (staged := self._tee.take()) is None:
            self._lose()
        else:
            self._ctx.flights.store_behind(self._digest, self._keep(staged, record))
        return False

    async def _keep(self, staged: StagedBody, record: HeadRecord) -> None:
        if await self._tee.stored():
            kept = await self._store.uploads.keep(self._digest, self._plan.number, record.generation, staged)
        else:
            await staged.discard()
            await self._store.uploads.give_up(self._digest)
            kept = False
        self._ctx.metrics.upload_kept("part" if kept else "lost")

    def _lose(self) -> None:
        """The origin has this part and we have not: no use in keeping the others."""
        self._ctx.flights.store_behind(self._digest, self._store.uploads.give_up(self._digest))

    def abandon(self) -> None:
        self._tee.give_up("failed")


class KeptCompletion:
    """One CompleteMultipartUpload."""

    def __init__(
        self, ctx: Context, store: Store, admission: Admission | None, named: UploadNamed, token: FenceToken
    ) -> None:
        self._ctx = ctx
        self._store = store
        self._admission = admission
        self._named = named
        self._digest = upload_digest(named.object_id, named.upload_id)
        self.token = token
        self._sent = ctx.next_sent()
        self._body = bytearray()
        self._etag: bytes | None = None
        """The object's, when the origin says that the upload is complete."""
        self._parts: list[NamedPart] = []
        self._assembly: Assembly | None = None
        self._record: HeadRecord | None = None

    async def watch(self, source: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        async for piece in source:
            if len(self._body) <= _COMPLETION_LIMIT:
                self._body += piece
            yield piece

    async def prepare(self, answer: ResponseHead, document: bytes) -> None:
        """Find the parts that became the object."""
        self._etag = parse_completed(document) if answer.status == 200 else None
        if self._etag is None:
            return
        try:
            self._parts = [NamedPart(*part) for part in parse_completion(bytes(self._body))]
        except ValueError as error:
            _log.info("a completed upload is not kept: %s", error)
            return
        await self._ctx.flights.stored_behind(self._digest, _PARTS_WAIT)
        await self._find(answer, self._etag)

    async def _find(self, answer: ResponseHead, etag: bytes) -> None:
        try:
            self._assembly = await self._store.uploads.find(self._digest, self._parts)
        except (OSError, StorageError) as error:
            _log.info("a completed upload is not kept: %s", error)
        if self._assembly is None:
            return
        record = judge_completed(
            answer, etag, self._assembly.parts, at=self._ctx.clock.wall(), allow_kms=self._ctx.allow_kms
        )
        self._record = None if isinstance(record, NotStorable) else record

    def settle(self, answer: ResponseHead, token: FenceToken | None) -> bool:
        etag = self._etag
        missing = bool(self._parts) and self._assembly is None and self._store.uploads.others
        if missing and etag is not None and token is not None:
            self._ctx.flights.store_behind(self._digest, self._look_again(answer, etag, token))
            return False
        return self._end(answer, token)

    async def _look_again(self, answer: ResponseHead, etag: bytes, token: FenceToken) -> None:
        """Nobody waits for this, and readers that come before it get the object from the origin."""
        for pause in _LOOK_AGAIN:
            await asyncio.sleep(pause)
            await self._find(answer, etag)
            if self._assembly is not None:
                break
        self._end(answer, token)

    def _end(self, answer: ResponseHead, token: FenceToken | None) -> bool:
        """Publish the object if all of it is here; whether it was."""
        assembly, record = self._assembly, self._record
        if assembly is not None and record is not None and token is not None:
            oid = self._named.object_id
            entry = self._store.staging.publish(oid, record, token, self._sent)
            if entry is not None:
                self._ctx.flights.store_behind(oid.digest, self._commit(assembly, entry, record, token))
                return True
        if self._etag is not None:
            self._ctx.metrics.upload_kept("incomplete" if record is None else "overlapped")
        if self._etag is not None or answer.status == 404:
            self._ctx.flights.store_behind(self._digest, self._store.uploads.discard(self._digest))
        return False

    async def _commit(self, assembly: Assembly, entry: Entry, record: HeadRecord, token: FenceToken) -> None:
        stored = await self._store.uploads.commit(assembly, entry, record.generation.tag, token)
        self._ctx.metrics.upload_kept("stored" if stored else "lost")
        if stored:
            await complete_behind(self._ctx, self._store, self._admission, self._named.object_id, record)

    def abandon(self) -> None:
        """What is staged waits for another completion, or expires."""


class KeptAbort:
    """One AbortMultipartUpload: what was kept is of no use any more."""

    def __init__(self, ctx: Context, store: Store, named: UploadNamed, token: FenceToken) -> None:
        self._ctx = ctx
        self._store = store
        self._digest = upload_digest(named.object_id, named.upload_id)
        self.token = token

    def watch(self, source: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        return source

    async def prepare(self, answer: ResponseHead, document: bytes) -> None:
        """Nothing here takes time."""

    def settle(self, answer: ResponseHead, token: FenceToken | None) -> bool:
        """A refused abort, which anybody can send, forgets nothing."""
        if answer.status in _ENDS_UPLOAD:
            self._ctx.flights.store_behind(self._digest, self._store.uploads.discard(self._digest))
        return False

    def abandon(self) -> None:
        """Nothing was begun."""


def begin_part(
    ctx: Context, store: Store, exchange: Exchange, target: S3Target, unsafe: UnsafeRequest, token: FenceToken
) -> KeptPart | None:
    """Keep a part, if it can be kept and its upload still may become an object here."""
    plan = plan_part(exchange.head, target, unsafe, allow_kms=ctx.allow_kms)
    if plan is None:
        return None
    digest = upload_digest(plan.object_id, plan.upload_id)
    uploads = store.uploads
    if not uploads.accepts(digest) or uploads.staged_bytes(digest) + (plan.body.length or 0) > ctx.write_through_max:
        return None
    staged = store.staging.begin(plan.body.length)
    if staged is None:
        return None
    tee = Tee(ctx, staged, plan.body, decoded=exchange.payload is not None, small_in_memory=False)
    return KeptPart(ctx, store, plan, digest, tee, token)


def begin_whole_upload(
    ctx: Context, store: Store, exchange: Exchange, target: S3Target, unsafe: UnsafeRequest, token: FenceToken
) -> KeptCompletion | KeptAbort | None:
    """Follow what becomes of an upload."""
    head = exchange.head
    if head.method == b"POST":
        named = named_upload(target, unsafe, {b"CompleteMultipartUpload"}, {b"uploadId"})
        return None if named is None else KeptCompletion(ctx, store, exchange.admission, named, token)
    if head.method == b"DELETE":
        named = named_upload(target, unsafe, {b"AbortMultipartUpload"}, {b"uploadId"})
        return None if named is None else KeptAbort(ctx, store, named, token)
    return None
