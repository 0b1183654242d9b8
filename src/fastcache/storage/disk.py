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
from collections.abc import Coroutine, Sequence
from functools import partial

from fastcache._core.fences import Fences
from fastcache.errors import CorruptFileError, StorageError
from fastcache.model import FenceToken, HeadRecord
from fastcache.storage import layout
from fastcache.storage.descriptors import Descriptors, expected_header, header_for
from fastcache.storage.entry import DISK_BLOCK, Entry, Extent, disk_bytes, same_content
from fastcache.storage.eviction import ColdObjects, EvictionQueues, Unqueued
from fastcache.storage.files import Change, Files
from fastcache.storage.io_threads import IoThreads
from fastcache.storage.loading import Found
from fastcache.storage.locks import ObjectLocks
from fastcache.storage.metrics import StoreCounter, StoreMetrics
from fastcache.storage.reconciling import reconcile
from fastcache.storage.sharing import Share
from fastcache.storage.space import Space

logger = logging.getLogger("fastcache.storage")


class ObjectDisk:
    """Everything that changes files on behalf of an entry. Loop thread only; blocking work goes to the I/O threads."""

    def __init__(
        self, io: IoThreads, files: Files, space: Space, descriptors: Descriptors, fences: Fences,
        metrics: StoreMetrics, share: Share | None = None,
    ) -> None:  # fmt: skip
        self.io = io
        self.files = files
        self.space = space
        self.descriptors = descriptors
        self.fences = fences
        self.metrics = metrics
        self.entries: OrderedDict[bytes, Entry] = OrderedDict()
        """The objects in memory, the longest unused first."""
        self.cold = ColdObjects()
        self.locks = ObjectLocks()
        self.touched: set[bytes] | None = None
        """While the recovery scan reads a part of the directory: objects whose files changed meanwhile."""
        self.share = share
        self._counts_files = share is None or share.counts_files
        self.queues = EvictionQueues() if self._counts_files else Unqueued()
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
        return layout.part_file(0 if self.share is None else self.share.owner, self._sequence)

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
        if extents:
            entry.revoke_leases()
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

    def touch(self, digest: bytes) -> None:
        if self.touched is not None:
            self.touched.add(digest)

    # -- sharing the directory with other processes

    def knows(self, entry: Entry) -> bool:
        """Whether the entry says what the disk holds, as far as anybody has told."""
        if self.share is None or not entry.loaded:
            return entry.loaded
        return entry.changes == self.share.memory.changes(entry.object_id.digest)

    def hold_while_open(self, extent: Extent) -> None:
        """Count the bytes of a file that lost its name until it is closed, if nobody else does any more."""
        if self.share is not None:
            self.space.add(self.share.count_while_open(extent))

    def _follow(self, entry: Entry, before: int) -> None:
        """Our own change: no reason to read the directory again, if nobody else's came before it."""
        if self.share is not None and entry.changes == before:
            entry.changes += 1

    def _tell(self, entry: Entry, change: Change) -> None:
        if self.share is not None and change.changes_before is not None:
            self._follow(entry, change.changes_before)
            if self.share.telling is not None:
                self.share.telling.changed(entry)

    def committed(self, entry: Entry, extent: Extent) -> None:
        """An extent is on the disk: the keeper will count it in our place."""
        if self.share is not None and self.share.telling is not None:
            self.share.telling.counted(entry, extent)

    # -- loading

    async def load(self, entry: Entry) -> None:
        """Learn what the disk holds of an object. Raises OSError or StorageError and leaves the entry as it was."""
        async with self.locks.hold(entry.object_id.digest):
            if not self.knows(entry):
                await self.load_locked(entry)

    async def load_locked(self, entry: Entry) -> None:
        digest = entry.object_id.digest
        try:
            found = await self.io.run(self.files.load, digest)
        except OSError:
            await self._recount_cold(digest)
            raise
        await self._take_in(entry, found)

    async def _take_in(self, entry: Entry, found: Found) -> None:
        digest = entry.object_id.digest
        self.touch(digest)
        for oddity in found.oddities:
            self.metrics.count(StoreCounter.CORRUPT_FILES)
            logger.warning("discarded %s", oddity)
        self.space.free(self.cold.take(digest))
        if entry.loaded:
            reconcile(self, entry, found)
        entry.loaded, entry.changes = True, found.changes
        if not self._counts_files:
            found.overhead = 0
        entry.directory, entry.overhead, entry.void_on_disk = found.directory, found.overhead, found.voided
        entry.disk_head = found.head
        self.space.add(found.overhead)
        if entry.head is None:
            entry.head = found.head
            entry.voided = entry.voided or found.voided
        if found.head is not None:
            tag = found.head.generation.tag
            extents = [
                Extent(digest, tag, e.start, e.end, whole=found.whole, size=e.size if self._counts_files else 0)
                for e in found.extents
            ]
            for extent in extents:
                self.space.add(extent.size)
                if entry.is_generation(tag):
                    self.adopt(entry, extent, known=True)
                else:
                    self.doom(entry, [extent])
        await self.settle_locked(entry)

    def adopt(self, entry: Entry, extent: Extent, *, known: bool) -> None:
        superseded = entry.extents.add(extent.start, extent.end, extent)
        if superseded != [extent]:
            (self.queues.add_known if known else self.queues.add)(extent)
        self.doom(entry, superseded)

    # -- settling

    async def settle(self, entry: Entry) -> None:
        """Remove, rewrite and mark until disk and memory agree, or the disk refuses."""
        async with self.locks.hold(entry.object_id.digest):
            if entry.loaded and not self.knows(entry):
                try:
                    await self.load_locked(entry)
                except (OSError, StorageError) as error:  # whoever looks next reads it
                    self.note(error, "settling")
            elif entry.loaded:
                await self.settle_locked(entry)

    def settle_task(self, entry: Entry) -> asyncio.Task[object]:
        return self.spawn_for(entry, self.settle(entry), "fastcache-settle")

    def settle_soon(self, entry: Entry) -> None:
        if entry.loaded and self.unsettled(entry):
            self.settle_task(entry)

    def unsettled(self, entry: Entry) -> bool:
        return (
            bool(entry.doomed)
            or (entry.directory and len(entry.extents) == 0)
            or (entry.void_on_disk and (not entry.voided or not entry.on_disk))
            or (len(entry.extents) > 0 and not same_content(entry.head, entry.disk_head))
        )

    async def settle_locked(self, entry: Entry) -> None:
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
                if remove_directory and entry.directory:
                    return  # another process uses it: whoever looks next reads what is in there
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
            unlink_whole=[extent.tag for extent in doomed if extent.whole],
            remove_directory=remove_directory,
            head=head,
            unvoid=unvoid,
        )
        self.touch(digest)
        self.note_change(change, f"tidying {layout.object_directory(digest)}")
        for extent in doomed:
            if change.whole_unlinked if extent.whole else extent.name in change.unlinked:
                self.unlinked(entry, extent)
        if not entry.doomed and not len(entry.extents):
            entry.disk_head = None
        self.apply(entry, change, head)
        return change.error is None

    def unlinked(self, entry: Entry, extent: Extent) -> None:
        """A doomed extent's file has lost its name."""
        extent.linked = False
        entry.doomed.remove(extent)
        self.hold_while_open(extent)
        self.release(extent)

    def apply(self, entry: Entry, change: Change, head: HeadRecord | None) -> None:
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
        self._tell(entry, change)

    async def _rewrite_whole(self, entry: Entry, old: Extent) -> bool:
        """Give a whole object's file the current head; without room for both the old one stays, its bytes are true."""
        head = entry.head
        assert head is not None
        header = header_for(old.digest, head, FenceToken(0, 0, 0), 0, old.end, whole=True)
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
            if entry.extents.remove(old.start, old):
                self.doom(entry, [old])
            return True
        self.touch(old.digest)
        self.note_change(change, old.path)
        if change.size is None:
            self.space.free(size)
            return False
        self._tell(entry, change)
        new = Extent(old.digest, old.tag, old.start, old.end, whole=True, size=change.size)
        self.committed(entry, new)
        self.space.free(size - change.size)
        entry.disk_head = head
        # The rename took the old file's name away, whatever became of the extent in memory meanwhile.
        old.linked = False
        self.hold_while_open(old)
        if entry.extents.remove(old.start, old):
            old.doomed = True
            self.queues.remove(old)
            self.descriptors.drop_idle(old)
            self.adopt(entry, new, known=True)
        else:
            entry.doomed.remove(old)
            self.doom(entry, [new])
        self.release(old)
        return change.error is None

    # -- marking and removing

    async def mark_void(self, entry: Entry) -> None:
        """Make durable that the object must be proved again, if anything of it is stored. Raises OSError."""
        async with self.locks.hold(entry.object_id.digest):
            if self.knows(entry) and not entry.on_disk:
                return
            marked = await self.io.run(self.files.mark_void, entry.object_id.digest)
            entry.void_on_disk = marked.there
            if marked.there:
                self._follow(entry, marked.changes)
            elif not self.knows(entry):
                await self._take_in(entry, Found(changes=marked.changes))
            if not entry.voided and entry.loaded:
                await self.settle_locked(entry)

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
            self.touch(digest)
            size = self.cold.take(digest)
            self.space.free(size)
            return size

    async def _recount_cold(self, digest: bytes) -> None:
        """A removal stopped half-way: count what is left, and do not let it be the first to be tried again."""
        self.touch(digest)
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
