"""Brings the disk into agreement with what memory says of an object, one operation per object at a time.

The public methods of the store change memory at once and leave the disk to *settle*: under the object's lock, what is
to be removed, rewritten or marked is computed from memory at that moment, done in one call in an I/O thread, and its
result is accounted for before the next operation on the same object begins. So no operation ever works from an
outdated idea of the disk, and the counters follow what really happened, failures included.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from fastcache._core.extent_codec import FileHeader, Kind, data_offset_for, encode_head, header_size
from fastcache._core.fences import Fences
from fastcache.errors import CorruptFileError, StorageError
from fastcache.model import Codec, FenceToken, HeadRecord, Interval
from fastcache.storage import layout
from fastcache.storage.descriptors import Descriptors, expected_header
from fastcache.storage.entry import DISK_BLOCK, Entry, Extent, disk_bytes, same_content
from fastcache.storage.eviction import ColdObjects, EvictionQueues
from fastcache.storage.files import BlockSums, Change, Files
from fastcache.storage.io_threads import IoThreads
from fastcache.storage.metrics import StoreCounter, StoreMetrics
from fastcache.storage.space import Space

logger = logging.getLogger("fastcache.storage")


class ObjectLocks:
    """A lock per object that exists only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._users: dict[bytes, int] = {}

    def hold(self, digest: bytes) -> _Held:
        return _Held(self, digest)

    def is_held(self, digest: bytes) -> bool:
        return digest in self._locks

    def enter(self, digest: bytes) -> asyncio.Lock:
        self._users[digest] = self._users.get(digest, 0) + 1
        lock = self._locks.get(digest)
        if lock is None:
            lock = self._locks[digest] = asyncio.Lock()
        return lock

    def leave(self, digest: bytes) -> None:
        left = self._users[digest] - 1
        if left:
            self._users[digest] = left
        else:
            del self._users[digest], self._locks[digest]


class _Held:
    def __init__(self, locks: ObjectLocks, digest: bytes) -> None:
        self._locks = locks
        self._digest = digest
        self._lock: asyncio.Lock | None = None

    async def __aenter__(self) -> None:
        lock = self._locks.enter(self._digest)
        try:
            await lock.acquire()
        except BaseException:
            self._locks.leave(self._digest)
            raise
        self._lock = lock

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None
        self._lock.release()
        self._locks.leave(self._digest)


@dataclass(slots=True)
class Part:
    """A file in progress. ``fd`` belongs to whoever holds the part, and goes over to the commit or the discard."""

    path: str
    fd: int
    start: int
    data_offset: int
    limit: int
    """Where it has to end: the next border of the grid, or what is committed already."""
    length: int = 0
    sums: BlockSums = BlockSums()  # noqa: RUF009 - frozen
    reserved: int = 0
    """Bytes counted for it in the store's space."""


class ObjectDisk:
    """Everything that changes files on behalf of an entry. Loop thread only; blocking work goes to the I/O threads."""

    def __init__(
        self, io: IoThreads, files: Files, space: Space, descriptors: Descriptors, fences: Fences, metrics: StoreMetrics
    ) -> None:
        self.io = io
        self.files = files
        self.space = space
        self.descriptors = descriptors
        self.fences = fences
        self.metrics = metrics
        self.entries: OrderedDict[bytes, Entry] = OrderedDict()
        """The objects in memory, the longest unused first."""
        self.queues = EvictionQueues()
        self.cold = ColdObjects()
        self.locks = ObjectLocks()
        self.touched: set[bytes] | None = None
        """While the recovery scan reads a part of the directory: objects whose files changed meanwhile."""
        self._sequence = 0
        self._tasks: set[asyncio.Task[object]] = set()

    # -- bookkeeping

    def spawn(self, work: Coroutine[object, object, object], name: str) -> asyncio.Task[object]:
        """Run ``work`` to its end whoever stops waiting for it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def spawn_for(self, entry: Entry, work: Coroutine[object, object, object], name: str) -> asyncio.Task[object]:
        """The same on behalf of an entry, which is not forgotten from this moment on until the work is done."""
        entry.users += 1
        task = self.spawn(work, name)
        task.add_done_callback(partial(self._leave, entry))
        return task

    @staticmethod
    def _leave(entry: Entry, _: asyncio.Task[object]) -> None:
        entry.users -= 1

    async def idle(self) -> None:
        """Wait until nothing is under way any more."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def next_part(self) -> str:
        self._sequence += 1
        return layout.part_file(0, self._sequence)

    def note(self, error: OSError | StorageError, what: str) -> None:
        """Count and log what went wrong; a full disk stops fills and starts the evictor."""
        if isinstance(error, CorruptFileError):
            self.metrics.count(StoreCounter.CORRUPT_FILES)
            logger.warning("%s discarded: %s", what, error)
        elif isinstance(error, OSError):
            if error.errno in (28, 122):
                self.metrics.count(StoreCounter.DISK_FULL)
                self.space.note_disk_full(max(1 << 20, min(self.space.used // 10, 64 << 20)))
            logger.warning("%s: %s", what, error.strerror)
        else:
            logger.warning("%s: %s", what, error)

    def note_change(self, change: Change, what: str) -> None:
        """A call reports how far it came instead of raising: tell the breaker and the log."""
        if change.error is not None:
            self.io.note_failure(change.error)
            self.note(change.error, what)

    def doom(self, entry: Entry, extents: Sequence[Extent]) -> None:
        """Take ``extents`` out of use; ``settle`` removes their files."""
        for extent in extents:
            extent.doomed = True
            self.queues.remove(extent)
            entry.doomed.append(extent)
            self.descriptors.drop_idle(extent)

    def release(self, extent: Extent) -> None:
        """Stop counting a file once it has neither name nor descriptor."""
        if extent.gone and extent.size:
            self.space.free(extent.size)
            extent.size = 0

    def _touch(self, digest: bytes) -> None:
        if self.touched is not None:
            self.touched.add(digest)

    # -- loading

    async def load(self, entry: Entry) -> None:
        """Learn what the disk holds of an object. Raises OSError or StorageError and leaves the entry as it was."""
        async with self.locks.hold(entry.object_id.digest):
            if not entry.loaded:
                await self._load_locked(entry)

    async def _load_locked(self, entry: Entry) -> None:
        digest = entry.object_id.digest
        try:
            found = await self.io.run(self.files.load, digest)
        except OSError:
            await self._recount_cold(digest)
            raise
        self._touch(digest)
        for oddity in found.oddities:
            self.metrics.count(StoreCounter.CORRUPT_FILES)
            logger.warning("discarded %s", oddity)
        self.space.free(self.cold.take(digest))
        entry.loaded = True
        entry.directory, entry.overhead, entry.void_on_disk = found.directory, found.overhead, found.voided
        entry.disk_head = found.head
        self.space.add(found.overhead)
        if entry.head is None:
            entry.head = found.head
            entry.voided = entry.voided or found.voided
        if found.head is not None:
            tag = found.head.generation.tag
            extents = [Extent(digest, tag, e.start, e.end, whole=found.whole, size=e.size) for e in found.extents]
            for extent in extents:
                self.space.add(extent.size)
                if entry.is_generation(tag):
                    self._adopt(entry, extent, known=True)
                else:
                    self.doom(entry, [extent])
        await self._settle_locked(entry)

    def _adopt(self, entry: Entry, extent: Extent, *, known: bool) -> None:
        superseded = entry.extents.add(extent)
        if superseded != [extent]:
            (self.queues.add_known if known else self.queues.add)(extent)
        self.doom(entry, superseded)

    # -- settling

    async def settle(self, entry: Entry) -> None:
        """Remove, rewrite and mark until disk and memory agree, or the disk refuses."""
        async with self.locks.hold(entry.object_id.digest):
            if entry.loaded:
                await self._settle_locked(entry)

    def settle_task(self, entry: Entry) -> asyncio.Task[object]:
        return self.spawn_for(entry, self.settle(entry), "fastcache-settle")

    def settle_soon(self, entry: Entry) -> None:
        if entry.loaded and self._unsettled(entry):
            self.settle_task(entry)

    def _unsettled(self, entry: Entry) -> bool:
        return (
            bool(entry.doomed)
            or (entry.directory and len(entry.extents) == 0)
            or (entry.void_on_disk and (not entry.voided or not entry.on_disk))
            or (len(entry.extents) > 0 and not same_content(entry.head, entry.disk_head))
        )

    async def _settle_locked(self, entry: Entry) -> None:
        while True:
            doomed = [extent for extent in entry.doomed if extent.linked]
            parts = [extent for extent in entry.extents if not extent.whole]
            whole = next((extent for extent in entry.extents if extent.whole), None)
            outdated = entry.head is not None and not same_content(entry.head, entry.disk_head)
            head = entry.head if outdated and parts and entry.directory else None
            remove_directory = entry.directory and not parts
            unvoid = entry.void_on_disk and (not entry.voided or (whole is None and not parts))
            if doomed or remove_directory or head is not None or unvoid:
                if not await self._settle_files(entry, doomed, remove_directory, head, unvoid):
                    return
                continue
            if whole is not None and outdated and await self._rewrite_whole(entry, whole):
                continue
            return

    async def _settle_files(
        self, entry: Entry, doomed: list[Extent], remove_directory: bool, head: HeadRecord | None, unvoid: bool
    ) -> bool:
        digest = entry.object_id.digest
        change = await self.io.run(
            self.files.settle,
            digest,
            self.next_part(),
            unlink=[extent.name for extent in doomed if not extent.whole],
            unlink_whole=any(extent.whole for extent in doomed),
            remove_directory=remove_directory,
            head=head,
            unvoid=unvoid,
        )
        self._touch(digest)
        self.note_change(change, f"tidying {layout.object_directory(digest)}")
        for extent in doomed:
            if change.whole_unlinked if extent.whole else extent.name in change.unlinked:
                extent.linked = False
                entry.doomed.remove(extent)
                self.release(extent)
        if not entry.doomed and not len(entry.extents):
            entry.disk_head = None
        self._apply(entry, change, head)
        return change.error is None

    def _apply(self, entry: Entry, change: Change, head: HeadRecord | None) -> None:
        """Account for what a call did to the object's directory, head and marker."""
        overhead = entry.overhead
        if change.directory is not None:
            entry.directory = change.directory
            overhead = max(overhead, DISK_BLOCK) if change.directory else 0
        if change.head_size is not None:
            overhead = DISK_BLOCK + disk_bytes(change.head_size)
            entry.disk_head = head
        if overhead > entry.overhead:
            self.space.add(overhead - entry.overhead)
        else:
            self.space.free(entry.overhead - overhead)
        entry.overhead = overhead
        if change.void is not None:
            entry.void_on_disk = change.void

    async def _rewrite_whole(self, entry: Entry, old: Extent) -> bool:
        """Give a whole object's file the current head; without room for both the old one stays, its bytes are true."""
        head = entry.head
        assert head is not None
        header = self.header_for(old.digest, head, FenceToken(0, 0, 0), 0, old.end, whole=True)
        size = disk_bytes(header.file_size)
        if self.space.used + size > self.space.capacity:
            return False
        self.space.add(size)
        try:
            change = await self.io.run(
                self.files.rewrite_whole, self.next_part(), header, old.path, expected_header(old, head.generation)
            )
        except (OSError, StorageError, EOFError) as error:
            self.space.free(size)
            self.note(error if isinstance(error, OSError | StorageError) else CorruptFileError("cut short"), old.path)
            if entry.extents.remove(old):
                self.doom(entry, [old])
            return True
        self._touch(old.digest)
        self.note_change(change, old.path)
        if change.size is None:
            self.space.free(size)
            return False
        new = Extent(old.digest, old.tag, old.start, old.end, whole=True, size=change.size)
        self.space.free(size - change.size)
        entry.disk_head = head
        # The rename took the old file's name away, whatever became of the extent in memory meanwhile.
        old.linked = False
        if entry.extents.remove(old):
            old.doomed = True
            self.queues.remove(old)
            self.descriptors.drop_idle(old)
            self._adopt(entry, new, known=True)
        else:
            entry.doomed.remove(old)
            self.doom(entry, [new])
        self.release(old)
        return change.error is None

    # -- committing

    def header_for(
        self, digest: bytes, head: HeadRecord, token: FenceToken, start: int, length: int, *, whole: bool
    ) -> FileHeader:
        """A header without block CRCs."""
        blob = encode_head(head) if whole else b""
        return FileHeader(
            Kind.OBJECT if whole else Kind.EXTENT, digest, head.generation.tag, head.generation.size, start, length,
            length, Codec.RAW, data_offset_for(len(blob), length), token, blob, (),
        )  # fmt: skip

    def acceptable(self, entry: Entry, tag: bytes, token: FenceToken) -> bool:
        """Whether bytes of generation ``tag`` asked for under ``token`` may still become part of the object."""
        return entry.is_generation(tag) and self.fences.is_current(entry.object_id, token)

    async def commit_part(self, entry: Entry, part: Part, tag: bytes, token: FenceToken) -> bool:
        """Turn a file in progress into an extent, if its bytes are not stored yet; False: they are not now either."""

        def finish(head_of_directory: HeadRecord | None) -> asyncio.Future[Change]:
            assert entry.head is not None
            header = self.header_for(entry.object_id.digest, entry.head, token, part.start, part.length, whole=False)
            header = replace(header, data_offset=part.data_offset, blocks=part.sums.all())
            return self.io.run(self.files.commit, part.fd, part.path, header, head_of_directory)

        interval = Interval(part.start, part.start + part.length)
        done = await self._commit(entry, interval, tag, token, part.reserved, finish, whole=False)
        if done is None:
            await self.discard_part(part)
            return self.acceptable(entry, tag, token) and self._is_stored(entry, interval, whole=False)
        if not done:
            self.space.free(part.reserved)
        return done

    async def commit_data(
        self, entry: Entry, data: Sequence[memoryview], start: int, tag: bytes, token: FenceToken, *, whole: bool
    ) -> bool:
        """Store bytes that are all in memory, in one call."""
        length = sum(len(view) for view in data)
        if not self.acceptable(entry, tag, token) or entry.head is None:
            self.metrics.count(StoreCounter.DISCARDED_FILLS)
            return False
        # The head may change while we wait for room; a few blocks more or less are settled when the size is known.
        reserved = disk_bytes(
            self.header_for(entry.object_id.digest, entry.head, token, start, length, whole=whole).file_size
        )
        await self.space.reserve(reserved)

        def finish(head_of_directory: HeadRecord | None) -> asyncio.Future[Change]:
            assert entry.head is not None
            header = self.header_for(entry.object_id.digest, entry.head, token, start, length, whole=whole)
            return self.io.run(self.files.store, self.next_part(), header, data, head_of_directory)

        done = await self._commit(entry, Interval(start, start + length), tag, token, reserved, finish, whole=whole)
        if not done:
            self.space.free(reserved)
        return bool(done)

    async def _commit(
        self, entry: Entry, interval: Interval, tag: bytes, token: FenceToken, reserved: int,
        finish: Callable[[HeadRecord | None], asyncio.Future[Change]], *, whole: bool,
    ) -> bool | None:  # fmt: skip
        """None: not begun, the caller keeps its part. False: failed. True: ``reserved`` became an extent's size."""
        # Room for the directory and the head, taken before the lock: the evictor may need the lock to make it.
        overhead = 0
        if not whole and not entry.directory and entry.head is not None:
            overhead = DISK_BLOCK + disk_bytes(header_size(len(encode_head(entry.head)), 0))
        try:
            await self.space.reserve(overhead)
        except StorageError as error:
            self.note(error, layout.object_directory(entry.object_id.digest))
            return None
        try:
            return await self._commit_locked(entry, interval, tag, token, reserved, finish, whole=whole)
        finally:
            self.space.free(overhead)

    async def _commit_locked(
        self, entry: Entry, interval: Interval, tag: bytes, token: FenceToken, reserved: int,
        finish: Callable[[HeadRecord | None], asyncio.Future[Change]], *, whole: bool,
    ) -> bool | None:  # fmt: skip
        digest = entry.object_id.digest
        async with self.locks.hold(digest):
            try:
                if not entry.loaded:
                    await self._load_locked(entry)
            except (OSError, StorageError) as error:
                self.note(error, layout.object_directory(digest))
                return None
            await self._settle_locked(entry)
            if not self.acceptable(entry, tag, token) or self._is_stored(entry, interval, whole=whole):
                self.metrics.count(StoreCounter.DISCARDED_FILLS)
                return None
            head = entry.head
            needs_head = not whole and not (entry.directory and same_content(entry.head, entry.disk_head))
            change = await finish(head if needs_head else None)
            self._touch(digest)
            self.note_change(change, f"storing {layout.object_directory(digest)}")
            self._apply(entry, change, head)
            if change.size is None:
                await self._settle_locked(entry)
                return False
            if change.size <= reserved:
                self.space.free(reserved - change.size)
            else:
                self.space.add(change.size - reserved)
            extent = Extent(digest, tag, interval.start, interval.end, whole=whole, size=change.size)
            extent.verified = -1  # the sums were made from the very bytes that were written
            if whole:
                entry.disk_head = head
            if self.acceptable(entry, tag, token):
                self._adopt(entry, extent, known=False)
            else:
                self.doom(entry, [extent])
            self.metrics.count(StoreCounter.STORED_FILES)
            self.metrics.count(StoreCounter.STORED_BYTES, interval.length)
            if self._unsettled(entry):
                await self._settle_locked(entry)
            return True

    @staticmethod
    def _is_stored(entry: Entry, interval: Interval, *, whole: bool) -> bool:
        if whole:
            return any(extent.whole for extent in entry.extents)
        return entry.extents.cover(interval) is not None

    async def discard_part(self, part: Part) -> None:
        """Throw a file in progress away."""
        try:
            await self.io.run(self.files.discard_part, part.fd, part.path)
        except OSError as error:
            self.note(error, part.path)
        self.space.free(part.reserved)

    # -- marking and removing

    async def mark_void(self, entry: Entry) -> None:
        """Make durable that the object must be proved again, if anything of it is stored. Raises OSError."""
        async with self.locks.hold(entry.object_id.digest):
            if entry.loaded and not entry.on_disk:
                return
            entry.void_on_disk = await self.io.run(self.files.mark_void, entry.object_id.digest)
            if not entry.voided and entry.loaded:
                await self._settle_locked(entry)

    async def remove_cold(self, digest: bytes, *, orphan: bool = False) -> int:
        """Remove an object that is not in memory; its bytes. ``orphan``: one without any use, counted or not."""
        async with self.locks.hold(digest):
            if digest not in self.cold and not (orphan and digest not in self.entries):
                return 0
            try:
                await self.io.run(self.files.remove_object, digest)
            except OSError as error:
                self.note(error, layout.object_directory(digest))
                await self._recount_cold(digest)
                return 0
            self._touch(digest)
            size = self.cold.take(digest)
            self.space.free(size)
            return size

    async def _recount_cold(self, digest: bytes) -> None:
        """A removal stopped half-way: count what is left, and do not let it be the first to be tried again."""
        self._touch(digest)
        if digest not in self.cold:
            return
        try:
            left = await self.io.run(self.files.measure, digest)
        except OSError:
            left = None  # counted as before until the disk can be asked
        before = self.cold.take(digest)
        size = before if left is None else left
        self.space.free(before)
        self.space.add(size)
        if size:
            self.cold.add(digest, size, 0.0)
