"""An upload that is kept on its way to the origin, so that its first read moves no bytes (SEMANTICS 32).

Theory of operation. The body's pieces pass a *tee* between the client and the origin: they go on unchanged and at their
own pace, and their decoded bytes are put into a staged body beside that. When the origin has answered, the write's own
fence decides: only if nothing else was raised since this very write raised it, and the bytes are as many as were
announced, do they become extents of the generation that the answer names. The record has no header set yet. It is not
proved either, so that the origin is asked before any byte of it is served, whatever the mode.

Nothing here may fail or delay the upload. What cannot be kept (the disk is slow, full or broken, the body too large or
malformed) is given up, once, and counted under a word.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator

from fastcache.engine.completing import complete_behind
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.errors import RequestError, StorageError
from fastcache.model import FenceToken, HeadRecord
from fastcache.policy.admission import Admission
from fastcache.policy.request_class import UnsafeRequest
from fastcache.policy.storable import NotStorable, judge_written
from fastcache.policy.written import BodyPlan, PutPlan, plan_put
from fastcache.protocol.aws_chunked import AwsChunkedDecoder, ChunkData
from fastcache.protocol.responses import ResponseHead
from fastcache.protocol.targets import S3Target
from fastcache.signal import Signal
from fastcache.storage.entry import Entry
from fastcache.storage.staging import SMALL_BODY, StagedBody
from fastcache.storage.store import Store

_log = logging.getLogger("fastcache.engine.write_through")

_MOST_AT_ONCE = 2 * 1024 * 1024
"""Bytes that are given to the disk in one piece."""


class Tee:
    """The body of one upload as it passes. ``watch`` it once; then exactly one ``give_up`` or ``take``."""

    def __init__(
        self, ctx: Context, staged: StagedBody, plan: BodyPlan, *, decoded: bool, small_in_memory: bool = True
    ) -> None:
        """``decoded``: what passes is the object's bytes, whatever the client sent. ``small_in_memory``: a small body
        needs no file before it is committed."""
        self._ctx = ctx
        self._staged: StagedBody | None = staged
        self._plan = plan
        self._decoder = AwsChunkedDecoder(plan.length) if plan.aws_chunked and not decoded else None
        self._unwritten: deque[memoryview] = deque()
        self._unwritten_bytes = 0
        self._moved = Signal()
        self._storer: asyncio.Task[None] | None = None
        self._in_memory = small_in_memory and plan.length is not None and plan.length <= SMALL_BODY
        self._read_to_end = False
        self._closed = False
        self.size = 0
        """Bytes of the object so far."""

    async def watch(self, source: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        """``source`` itself, piece by piece."""
        async for piece in source:
            if self._staged is not None:
                self._see(piece)
            yield piece
        self._read_to_end = True

    @property
    def complete(self) -> bool:
        """Every byte of the object went by. Not told by the end of ``watch`` alone: an origin may answer to the last
        byte before anybody asks for more."""
        if self._decoder is not None:
            return self._decoder.complete
        return self._read_to_end if self._plan.length is None else self.size == self._plan.length

    def give_up(self, reason: str) -> None:
        """Nothing of it will be stored; ``reason`` is a word."""
        staged, self._staged = self._staged, None
        if staged is None:
            return
        self._ctx.metrics.upload_kept(reason)
        self._forget_unwritten()
        self._end()
        self._ctx.flights.spawn_behind(self.discard(staged))

    def take(self) -> StagedBody | None:
        """What was kept of a complete body, to be committed after ``stored``; None when it was given up."""
        if self._staged is not None and not self.complete:
            self.give_up("incomplete")
        staged, self._staged = self._staged, None
        self._end()
        return staged

    async def stored(self) -> bool:
        """Wait until what was taken is in files; False when the disk failed."""
        if self._storer is None:
            return True
        await asyncio.wait({self._storer})
        return not self._storer.cancelled() and self._storer.exception() is None

    def _end(self) -> None:
        self._closed = True
        self._moved.notify()

    def _see(self, piece: bytes | memoryview) -> None:
        try:
            blocks = [memoryview(piece)] if self._decoder is None else self._decoded(self._decoder, piece)
            length = sum(len(block) for block in blocks)
            self.size += length
            if self.size > self._ctx.write_through_max:
                self.give_up("too-large")
            elif self._staged is not None and self._in_memory:
                self._staged.keep(blocks)
            elif self._unwritten_bytes + length > self._ctx.window_budget.limit(self._ctx.write_through_backlog):
                self.give_up("lagging")
            else:
                self._put(blocks, length)
        except RequestError:
            self.give_up("malformed")
        except StorageError as error:
            _log.info("an upload is not kept: %s", error)
            self.give_up("refused")

    def _decoded(self, decoder: AwsChunkedDecoder, piece: bytes | memoryview) -> list[memoryview]:
        events = decoder.feed(bytes(piece))
        return [event.data for event in events if isinstance(event, ChunkData)]

    def _put(self, blocks: list[memoryview], length: int) -> None:
        self._unwritten.extend(blocks)
        self._unwritten_bytes += length
        self._ctx.window_budget.used += length
        if self._storer is None and self._staged is not None:
            self._ctx.window_budget.fills += 1
            self._storer = asyncio.get_running_loop().create_task(self._store(self._staged))
        self._moved.notify()

    async def _store(self, staged: StagedBody) -> None:
        """Write what passes until the body has ended or was given up. Ends with a StorageError when the disk fails."""
        try:
            while batch := await self._next_batch(staged):
                await staged.write(batch)
        except StorageError as error:
            _log.warning("an upload is not kept: %s", error)
            self.give_up("refused")
            raise
        finally:
            self._ctx.window_budget.fills -= 1
            self._forget_unwritten()
            self._closed = True

    def _forget_unwritten(self) -> None:
        self._ctx.window_budget.used -= self._unwritten_bytes
        self._unwritten.clear()
        self._unwritten_bytes = 0

    async def _next_batch(self, staged: StagedBody) -> list[memoryview]:
        """What is to be written next; empty when nothing more is."""
        while not self._closed and self._unwritten_bytes < staged.wanted(_MOST_AT_ONCE):
            await self._moved.wait()
        wanted = min(staged.wanted(_MOST_AT_ONCE), self._unwritten_bytes)
        batch: list[memoryview] = []
        while wanted:
            piece = self._unwritten.popleft()
            if len(piece) > wanted:
                self._unwritten.appendleft(piece[wanted:])
                piece = piece[:wanted]
            batch.append(piece)
            wanted -= len(piece)
            self._unwritten_bytes -= len(piece)
            self._ctx.window_budget.used -= len(piece)
        return batch

    async def discard(self, staged: StagedBody) -> None:
        """Throw away what was kept, when nothing is written to it any more."""
        await self.stored()
        await staged.discard()


class KeptPut:
    """One PutObject: its tee, and what becomes of that when the origin has answered."""

    def __init__(
        self, ctx: Context, store: Store, admission: Admission | None, plan: PutPlan, tee: Tee, token: FenceToken
    ) -> None:
        self._ctx = ctx
        self._store = store
        self._admission = admission
        self._plan = plan
        self._tee = tee
        self.token = token
        self._sent = ctx.next_sent()

    def watch(self, source: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        return self._tee.watch(source)

    async def prepare(self, answer: ResponseHead, document: bytes) -> None:
        """Nothing here takes time."""

    def settle(self, answer: ResponseHead, token: FenceToken | None) -> bool:
        """Publish what is complete; the files follow behind the answer."""
        record = judge_written(answer, self._tee.size, at=self._ctx.clock.wall(), allow_kms=self._ctx.allow_kms)
        if isinstance(record, NotStorable):
            self._tee.give_up("unusable" if answer.status < 300 else "rejected")
        elif token is None:
            self._tee.give_up("overlapped")
        elif (staged := self._tee.take()) is not None:
            return self._publish(staged, record, token)
        return False

    def abandon(self) -> None:
        self._tee.give_up("failed")

    def _publish(self, staged: StagedBody, record: HeadRecord, token: FenceToken) -> bool:
        entry = self._store.staging.publish(self._plan.object_id, record, token, self._sent, staged)
        if entry is None:
            self._ctx.metrics.upload_kept("overlapped")
            self._ctx.flights.spawn_behind(self._tee.discard(staged))
            return False
        self._ctx.flights.store_behind(self._plan.object_id.digest, self._commit(entry, staged, record, token))
        return True

    async def _commit(self, entry: Entry, staged: StagedBody, record: HeadRecord, token: FenceToken) -> None:
        stored = await self._tee.stored()
        if stored:
            stored = await staged.commit(entry, record.generation.tag, token, start=0, whole=True)
        else:
            await staged.discard()
        self._ctx.metrics.upload_kept("stored" if stored else "lost")
        if stored:
            await complete_behind(self._ctx, self._store, self._admission, self._plan.object_id, record)


def begin_put(
    ctx: Context, store: Store, exchange: Exchange, target: S3Target, unsafe: UnsafeRequest, token: FenceToken
) -> KeptPut | None:
    """Keep what this request uploads, if it is a PutObject that can be kept."""
    plan = plan_put(exchange.head, target, unsafe, allow_kms=ctx.allow_kms)
    if plan is None or (plan.body.length or 0) > ctx.write_through_max:
        return None
    staged = store.staging.begin(plan.body.length)
    if staged is None:
        return None
    tee = Tee(ctx, staged, plan.body, decoded=exchange.payload is not None)
    return KeptPut(ctx, store, exchange.admission, plan, tee, token)
