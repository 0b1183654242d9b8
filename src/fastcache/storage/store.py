"""The façade of the cache directory. All state in memory belongs to the loop thread; no method blocks it."""

from __future__ import annotations

import asyncio

from fastcache._core.fences import Fences
from fastcache.clock import Clock
from fastcache.errors import CacheDirectoryError, StorageError
from fastcache.model import FenceToken, HeadRecord, Identity, Interval, ObjectId
from fastcache.policy.storable import merge_known
from fastcache.storage import directory as cache_directory
from fastcache.storage import recovery
from fastcache.storage.descriptors import Descriptors
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import Entry, Extent, Validation
from fastcache.storage.evictor import Evictor
from fastcache.storage.files import Files
from fastcache.storage.fills import Fills
from fastcache.storage.io_threads import IoThreads
from fastcache.storage.known import KnownObjects
from fastcache.storage.metrics import NoMetrics, StoreCounter, StoreMetrics
from fastcache.storage.pins import Pins
from fastcache.storage.reader import RangeReader
from fastcache.storage.scanner import Scanner
from fastcache.storage.settings import StoreSettings, StoreStats
from fastcache.storage.shared_files import SharedFiles
from fastcache.storage.sharing import Share, SharedSpace
from fastcache.storage.space import Space
from fastcache.storage.staging import Staging
from fastcache.storage.uploads import Uploads
from fastcache.storage.writer import FillWriter

QUEUE_LIMIT = 4096
PATIENCE = 2.0
"""Seconds a request waits for the disk before it goes on as a miss."""
CLOSE_PATIENCE = 5.0
"""Seconds that each step of ``close`` waits for the disk."""


__all__ = ["Store", "StoreSettings", "StoreStats"]


class Store:
    """One tier's objects. Make it with ``open``; oddities on the disk are misses here, never exceptions."""

    def __init__(
        self, settings: StoreSettings, held: cache_directory.CacheDirectory, io: IoThreads, fences: Fences,
        clock: Clock, metrics: StoreMetrics, share: Share | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._held = held
        self._io = io
        self._fences = fences
        self._clock = clock
        self._metrics = metrics
        fsync = settings.durability == "fsync"
        files = Files(held.fd, fsync=fsync) if share is None else SharedFiles(held.fd, fsync=fsync, share=share)
        self._descriptors = Descriptors(io, files, settings.idle_descriptors, lambda extent: self._disk.release(extent))
        headroom = max(settings.capacity // 50, min(2 * settings.extent_size, settings.capacity // 8))
        limits = (settings.capacity, headroom, clock, self._make_room)
        self._space = Space(*limits) if share is None else SharedSpace(*limits, share)
        self._disk = ObjectDisk(io, files, self._space, self._descriptors, fences, metrics, share)
        self._evictor = Evictor(self._disk)
        self._entries = self._disk.entries
        self._known = KnownObjects(self._disk, self._evictor, settings.index_memory)
        self._loading: dict[bytes, asyncio.Task[object]] = {}
        self._fills = Fills(self._disk, settings)
        self._scan: asyncio.Task[object] | None = None
        self._scanner = Scanner(self._disk, clock)
        self.staging = Staging(self._disk, settings, self._known.entry)
        self.uploads = Uploads(self._disk, self.staging, clock, settings.upload_expiry)
        self._closed = False

    async def _make_room(self, wanted: int) -> bool:
        return await self._evictor.make_room(wanted)

    # -- life

    @classmethod
    async def open(
        cls, settings: StoreSettings, fences: Fences, clock: Clock, metrics: StoreMetrics | None = None
    ) -> Store:
        """Lock the directory, remove what was in progress, and learn sizes in the background.

        Raises CacheDirectoryError.
        """
        metrics = metrics or NoMetrics()
        held = await asyncio.to_thread(cache_directory.acquire, settings.directory)
        try:
            leftovers = await asyncio.to_thread(recovery.remove_parts, held.fd)
        except OSError as error:
            held.release()
            reason = f"cache directory {settings.directory}: cannot be cleaned: {error.strerror}"
            raise CacheDirectoryError(reason) from error
        if leftovers:
            metrics.count(StoreCounter.LEFTOVERS, leftovers)
        io = IoThreads(settings.io_threads, QUEUE_LIMIT, clock, metrics)
        store = cls(settings, held, io, fences, clock, metrics)
        store._scan = store._disk.spawn(store._scanner.run(held.fd), "fastcache-scan")
        return store

    async def close(self) -> None:
        """End all fills, wait for the disk (some seconds at most), give the directory back."""
        if self._closed:
            return
        self._closed = True
        self.uploads.close()
        if self._scan is not None:
            self._scan.cancel()
        await self._fills.discard(CLOSE_PATIENCE)
        await self._space.close()
        await asyncio.wait({asyncio.ensure_future(self._disk.idle())}, timeout=CLOSE_PATIENCE)
        await asyncio.wait({asyncio.ensure_future(self._descriptors.close())}, timeout=CLOSE_PATIENCE)
        await self._io.close()
        self._disk.files.close()
        self._held.release()

    def stats(self) -> StoreStats:
        return StoreStats(
            self.settings.capacity, self._space.used, len(self._entries), self._disk.queues.extents,
            len(self._disk.cold), len(self._fills), self._descriptors.idle, self._scanner.finished, self._io.available,
        )  # fmt: skip

    # -- looking up

    def peek(self, oid: ObjectId) -> Entry | None:
        """What memory knows of an object; None: ask ``lookup``."""
        entry = self._entries.get(oid.digest)
        if entry is None or not entry.loaded or not self._io.available:
            return None
        self._entries.move_to_end(oid.digest)
        return entry

    async def lookup(self, oid: ObjectId) -> Entry:
        """What is known of an object, read from the disk once if need be. ``head`` is None when nothing is stored.

        A broken or slow disk is a miss: an entry that stands for nothing and is not kept.
        """
        known = self.peek(oid)
        if known is not None and self._is_usable(known):
            return known
        if not self._io.available or self._closed:
            return Entry(oid)
        entry = self._known.entry(oid)
        await self.refresh(entry)
        return entry if entry.loaded else Entry(oid)

    async def refresh(self, entry: Entry) -> None:
        """Read what the disk holds of an object, if memory does not know; waits for it no longer than PATIENCE."""
        digest = entry.object_id.digest
        loading = self._loading.get(digest)
        if loading is None:
            loading = self._loading[digest] = self._disk.spawn_for(entry, self._load(entry), "fastcache-load")
        await asyncio.wait({loading}, timeout=PATIENCE)

    async def refresh_if_changed(self, entry: Entry) -> bool:
        """Read it again if another process has changed it since; whether it was."""
        return False

    def _is_usable(self, entry: Entry) -> bool:
        """Whether what memory says of an object will do, without a look at the disk."""
        return True

    async def _load(self, entry: Entry) -> None:
        try:
            await self._disk.load(entry)
        except (OSError, StorageError) as error:
            self._disk.note(error, "looking up")
        finally:
            del self._loading[entry.object_id.digest]

    # -- heads

    def publish_head(
        self, oid: ObjectId, record: HeadRecord, token: FenceToken, sent: int, *, at: float | None = None
    ) -> FenceToken | None:
        """Make ``record`` the object's head, proved now or ``at`` (CLOCK_BOOTTIME seconds); the token that its bytes
        may be stored under, or None.

        ``sent`` is the number of the origin request that brought it: an answer to an earlier one than the last taken
        is refused unless it is of the current generation, and so is one asked for under a fence raised since.
        """
        entry = self._known.entry(oid)
        current = entry.is_generation(record.generation.tag)
        outdated, late = not self._fences.is_current(oid, token), sent < entry.sent
        if (outdated or late) and not current:
            if entry.head is not None:
                # The client gets it all the same, and the origin may have made it after the one that is proved here.
                self._fences.raise_object(oid)
            return None
        if outdated:
            return None
        if late and entry.head is not None:
            # Ranges asked for side by side are answered in any order: the same generation is no step back, though what
            # the later request brought, head and proof, stays.
            entry.head = merge_known(entry.head, record)
            self._disk.settle_soon(entry)
            return token
        if entry.head is not None and current:
            entry.head = merge_known(record, entry.head)
        else:
            self._disk.doom(entry, entry.extents.clear())
            entry.head = record
        self._prove(entry, token, sent, self._clock.boot() if at is None else at)
        return token

    def validate(self, oid: ObjectId, token: FenceToken, sent: int, at: float) -> bool:
        """Note that the origin proved the current head at ``at`` (CLOCK_BOOTTIME seconds)."""
        entry = self._entries.get(oid.digest)
        if entry is None or entry.head is None or sent < entry.sent or not self._fences.is_current(oid, token):
            return False
        self._prove(entry, token, sent, at)
        return True

    def _prove(self, entry: Entry, token: FenceToken, sent: int, at: float) -> None:
        entry.sent = sent
        entry.validation = Validation(at, token, sent)
        entry.voided = False
        self._disk.settle_soon(entry)

    def forget_elsewhere(self, oid: ObjectId) -> None:
        """The origin has another generation than others may know, of an object of which nothing is known here."""

    def unvalidate(self, oid: ObjectId) -> None:
        """The head must be proved again before it is used; the extents stay."""
        entry = self._entries.get(oid.digest)
        if entry is not None:
            entry.validation = None
            entry.doubt_volatile()

    async def unpublish(self, *oids: ObjectId) -> None:
        """Before a write is forwarded: the heads must be proved again, here and after a crash.

        Returns when that is on the disk (if anything is), or after two seconds of a disk that does not answer.
        """
        # Side by side: a DeleteObjects names up to a thousand, and each may wait for a slow disk.
        marking = [marking for oid in oids if (marking := self._unpublish(oid)) is not None]
        if marking:
            _, pending = await asyncio.wait(marking, timeout=PATIENCE)
            self._metrics.count(StoreCounter.VOID_MARKER_FAILED, len(pending))

    def _unpublish(self, oid: ObjectId) -> asyncio.Task[object] | None:
        """The same for one in memory; what marks it on the disk, where that is to be waited for."""
        entry = self._known.entry(oid)
        marked = entry.voided and entry.void_on_disk
        entry.validation = None
        entry.voided = True
        done = self._disk.knows(entry) and (marked or not entry.on_disk) and not self._disk.locks.is_held(oid.digest)
        if done or self._closed:
            return None
        if not self._io.available:
            self._metrics.count(StoreCounter.VOID_MARKER_FAILED)
            return None
        return self._disk.spawn_for(entry, self._mark_void(entry), "fastcache-void")

    async def _mark_void(self, entry: Entry) -> None:
        try:
            await self._disk.mark_void(entry)
        except OSError as error:
            self._metrics.count(StoreCounter.VOID_MARKER_FAILED)
            self._disk.note(error, "unpublishing")

    def drop(self, oid: Identity) -> None:
        """The origin has another generation, or none: forget head and extents, remove the files in the background."""
        entry = self._known.entry(oid)
        dropped, entry.head = entry.head, None
        entry.validation = None
        self._disk.doom(entry, entry.extents.clear())
        if self._disk.knows(entry):
            self._disk.settle_soon(entry)
        elif self._io.available and not self._closed:
            self._disk.spawn_for(entry, self._drop_unread(entry, dropped, entry.sent), "fastcache-drop")

    async def _drop_unread(self, entry: Entry, dropped: HeadRecord | None, sent: int) -> None:
        """Drop what the disk turns out to hold, unless something newer was published meanwhile, here or elsewhere."""
        try:
            await self._disk.load(entry)
        except (OSError, StorageError) as error:
            self._disk.note(error, "dropping")
            return
        same = entry.head is not None and (dropped is None or entry.head.generation == dropped.generation)
        if same and entry.sent == sent and entry.validation is None:
            self.drop(entry.object_id)

    # -- bytes

    def missing(self, entry: Entry, interval: Interval) -> list[Interval]:
        """The parts of ``interval`` that are not stored."""
        return entry.extents.gaps(interval)

    async def open_range(self, entry: Entry, interval: Interval) -> RangeReader | None:
        """The stored bytes of ``interval`` of the head's generation, held open; None unless all are there and good."""
        head = entry.head
        extents = entry.extents.cover(interval)
        if head is None or extents is None or not self._io.available or self._closed:
            return None
        if not extents and head.generation.size:
            return None
        entry.users += 1
        for extent in extents:
            self._descriptors.pin(extent)
        reader: RangeReader | None = None
        try:
            if await self._opened(entry, head, extents) and entry.is_generation(head.generation.tag):
                reader = RangeReader(
                    self._io, self._disk.files, self._descriptors, head, interval, extents,
                    lambda extent, error: self._fail_extent(entry, extent, error), lambda: self._left(entry),
                )  # fmt: skip
                for extent in extents:
                    extent.used()
        finally:
            if reader is None:
                for extent in extents:
                    self._descriptors.unpin(extent)
                entry.users -= 1
        return reader

    def pin(self, entry: Entry, interval: Interval) -> Pins | None:
        """The extents of ``interval`` held open; None unless they are open already, all of them. For whoever has just
        read from them."""
        extents = entry.extents.cover(interval)
        if extents is None or any(extent.fd < 0 or extent.header is None for extent in extents) or self._closed:
            return None
        return Pins(self._descriptors, extents)

    async def _opened(self, entry: Entry, head: HeadRecord, extents: list[Extent]) -> bool:
        for extent in extents:
            if extent.fd >= 0:
                continue  # as nearly always: nothing to wait for, and so no timer
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._descriptors.open(extent, head.generation)
            except TimeoutError:
                return False
            except (OSError, StorageError) as error:
                self._fail_extent(entry, extent, error)
                return False
        return True

    def _left(self, entry: Entry) -> None:
        entry.users -= 1

    def _fail_extent(self, entry: Entry, extent: Extent, error: OSError | StorageError) -> None:
        """A file that is not what it should be leaves the object; running out of descriptors says nothing about it."""
        self._disk.note(error, extent.path)
        if isinstance(error, OSError) and error.errno in (23, 24, 12):
            return
        if entry.extents.remove(extent.start, extent):
            self._disk.doom(entry, [extent])
            self._disk.settle_soon(entry)

    def begin_fill(
        self, oid: ObjectId, record: HeadRecord, token: FenceToken, sent: int, interval: Interval
    ) -> FillWriter | None:
        """Start storing ``interval`` of the generation in ``record``, which becomes the head if it is not yet.

        None when it is not to be stored now: the directory is broken or full, too many fills are under way, too many
        small ones wait to be written, or the answer is outdated.
        """
        if not 0 <= interval.start <= interval.end <= record.generation.size:
            raise ValueError("the interval reaches outside of the object")
        known = self._entries.get(oid.digest)
        if known is None or not known.is_generation(record.generation.tag):
            published = self.publish_head(oid, record, token, sent)
            if published is None:
                return None
            token = published
        elif not self._fences.is_current(oid, token):
            return None
        if self._closed or not self._io.available:
            self._metrics.count(StoreCounter.REFUSED_FILLS)
            return None
        return self._fills.begin(self._known.entry(oid), record.generation, token, interval)
