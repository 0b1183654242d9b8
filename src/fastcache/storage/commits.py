"""Turning bytes that were written into extents: the one way into the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from fastcache._core.extent_codec import encode_head, header_size
from fastcache.errors import StorageError
from fastcache.model import FenceToken, HeadRecord, Interval
from fastcache.storage import layout
from fastcache.storage.appending import Part
from fastcache.storage.descriptors import header_for
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import DISK_BLOCK, Entry, Extent, disk_bytes, same_content
from fastcache.storage.files import Change
from fastcache.storage.metrics import StoreCounter


class Commits:
    """Commits and discards on behalf of fills. Loop thread only."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk

    def acceptable(self, entry: Entry, tag: bytes, token: FenceToken) -> bool:
        """Whether bytes of generation ``tag`` asked for under ``token`` may still become part of the object."""
        return entry.is_generation(tag) and self._disk.fences.is_current(entry.object_id, token)

    async def commit_part(self, entry: Entry, part: Part, tag: bytes, token: FenceToken) -> bool:
        """Turn a file in progress into an extent, if its bytes are not stored yet; False: they are not now either."""

        def finish(head_of_directory: HeadRecord | None) -> asyncio.Future[Change]:
            assert entry.head is not None
            header = header_for(entry.object_id.digest, entry.head, token, part.start, part.length, whole=False)
            header = replace(header, data_offset=part.data_offset, blocks=part.sums.all())
            return self._disk.io.run(self._disk.files.commit, part.fd, part.path, header, head_of_directory)

        interval = Interval(part.start, part.start + part.length)
        done = await self._commit(entry, interval, tag, token, part.reserved, finish, whole=False)
        if done is None:
            await self.discard_part(part)
            return self.acceptable(entry, tag, token) and self._is_stored(entry, interval, whole=False)
        if not done:
            self._disk.space.free(part.reserved)
        return done

    async def commit_data(
        self, entry: Entry, data: Sequence[memoryview], start: int, tag: bytes, token: FenceToken, *, whole: bool
    ) -> bool:
        """Store bytes that are all in memory, in one call."""
        length = sum(len(view) for view in data)
        if not self.acceptable(entry, tag, token) or entry.head is None:
            self._disk.metrics.count(StoreCounter.DISCARDED_FILLS)
            return False
        head, header = entry.head, header_for(entry.object_id.digest, entry.head, token, start, length, whole=whole)
        # The head may change while we wait for room; a few blocks more or less are settled when the size is known.
        reserved = disk_bytes(header.file_size)
        await self._disk.space.reserve(reserved)

        def finish(head_of_directory: HeadRecord | None) -> asyncio.Future[Change]:
            nonlocal header
            assert entry.head is not None
            if entry.head is not head:
                header = header_for(entry.object_id.digest, entry.head, token, start, length, whole=whole)
            part = self._disk.next_part()
            clear = whole and any(extent.linked for extent in entry.doomed)
            return self._disk.io.run(self._disk.files.store, part, header, data, head_of_directory, clear=clear)

        done = await self._commit(entry, Interval(start, start + length), tag, token, reserved, finish, whole=whole)
        if not done:
            self._disk.space.free(reserved)
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
            if overhead:
                await self._disk.space.reserve(overhead)
        except StorageError as error:
            self._disk.note(error, layout.object_directory(entry.object_id.digest))
            return None
        try:
            return await self._commit_locked(entry, interval, tag, token, reserved, finish, whole=whole)
        finally:
            self._disk.space.free(overhead)

    async def _commit_locked(
        self, entry: Entry, interval: Interval, tag: bytes, token: FenceToken, reserved: int,
        finish: Callable[[HeadRecord | None], asyncio.Future[Change]], *, whole: bool,
    ) -> bool | None:  # fmt: skip
        digest = entry.object_id.digest
        async with self._disk.locks.hold(digest):
            try:
                if not self._disk.knows(entry):
                    await self._disk.load_locked(entry)
            except (OSError, StorageError) as error:
                self._disk.note(error, layout.object_directory(digest))
                return None
            if not (whole and self._replaces(entry)):
                await self._disk.settle_locked(entry)
            if not self.acceptable(entry, tag, token) or self._is_stored(entry, interval, whole=whole):
                self._disk.metrics.count(StoreCounter.DISCARDED_FILLS)
                await self._disk.settle_locked(entry)
                return None
            head = entry.head
            needs_head = not whole and not (entry.directory and same_content(entry.head, entry.disk_head))
            change = await finish(head if needs_head else None)
            self._disk.touch(digest)
            self._disk.note_change(change, f"storing {layout.object_directory(digest)}")
            self._disk.apply(entry, change, head)
            if change.size is None:
                await self._disk.settle_locked(entry)
                return False
            for replaced in [extent for extent in entry.doomed if whole and extent.whole]:
                self._disk.unlinked(entry, replaced)
            if change.size <= reserved:
                self._disk.space.free(reserved - change.size)
            else:
                self._disk.space.add(change.size - reserved)
            extent = Extent(digest, tag, interval.start, interval.end, whole=whole, size=change.size)
            extent.mark_all_verified()  # the sums were made from the very bytes that were written
            self._disk.committed(entry, extent)
            if whole:
                entry.disk_head = head
            if self.acceptable(entry, tag, token):
                self._disk.adopt(entry, extent, known=False)
            else:
                self._disk.doom(entry, [extent])
            self._disk.metrics.count(StoreCounter.STORED_FILES)
            self._disk.metrics.count(StoreCounter.STORED_BYTES, interval.length)
            if self._disk.unsettled(entry):
                await self._disk.settle_locked(entry)
            return True

    @staticmethod
    def _replaces(entry: Entry) -> bool:
        """Whether a whole object's file, which takes the name of the one before, leaves nothing else to tidy up."""
        return not entry.directory and not len(entry.extents) and all(extent.whole for extent in entry.doomed)

    @staticmethod
    def _is_stored(entry: Entry, interval: Interval, *, whole: bool) -> bool:
        if whole:
            return any(extent.whole for extent in entry.extents)
        return entry.extents.cover(interval) is not None

    async def discard_part(self, part: Part) -> None:
        """Throw a file in progress away."""
        try:
            await self._disk.io.run(self._disk.files.discard_part, part.fd, part.path)
        except OSError as error:
            self._disk.note(error, part.path)
        self._disk.space.free(part.reserved)
