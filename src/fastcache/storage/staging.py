"""Bytes that are stored before it is known what they belong to: an upload on its way to the origin.

They lie in files in progress, as those of a fill do; the origin's answer names the generation that they are, and only
then do the files get their headers and their names. Nothing of them outlives the process in any other form: what an
interrupted life left in ``fills/`` is removed by the next one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from fastcache._core.extent_codec import data_offset_for
from fastcache._core.shared import Cell
from fastcache.errors import StorageError
from fastcache.model import FenceToken, HeadRecord, ObjectId
from fastcache.storage.appending import Appender, Part, bytes_behind
from fastcache.storage.commits import Commits
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import Entry
from fastcache.storage.metrics import StoreCounter
from fastcache.storage.settings import StoreSettings
from fastcache.storage.writer import SMALL_FILL

SMALL_BODY = SMALL_FILL
"""Bodies up to this many bytes may be kept in memory."""
_SHARE = 4
"""All staged bytes together are at most a quarter of the capacity: what nobody has read yet must not push out what
somebody does."""


class Staging:
    """The staged bytes of one store. Loop thread only."""

    def __init__(self, disk: ObjectDisk, settings: StoreSettings, entry_of: Callable[[ObjectId], Entry]) -> None:
        self._disk = disk
        self._entry_of = entry_of
        self.extent_size = settings.extent_size
        self.limit = settings.capacity // _SHARE
        """The most bytes that can be staged at once."""
        self.used = 0
        """Bytes that this store has staged."""
        self.memory_limit = settings.write_behind_limit
        self.in_memory = 0

    def begin(self, length: int | None) -> StagedBody | None:
        """A place for a body of ``length`` bytes (None: not known yet). None when nothing is to be stored now."""
        busy = not self._disk.io.available or self._disk.space.disk_is_full
        if busy or not self.has_room(length or 0):
            self._disk.metrics.count(StoreCounter.REFUSED_FILLS)
            return None
        return StagedBody(self, self._disk)

    def has_room(self, length: int) -> bool:
        """Whether so many bytes more may be staged beside what all processes have."""
        share = self._disk.share
        used = self.used if share is None else share.memory.total(Cell.STAGED)
        return used + length <= self.limit

    def count(self, length: int) -> None:
        """So many bytes more are staged; fewer, if it is negative."""
        self.used += length
        share = self._disk.share
        if share is not None:
            share.memory.set(share.place, Cell.STAGED, max(0, self.used))

    def publish(
        self, oid: ObjectId, record: HeadRecord, token: FenceToken, sent: int, body: StagedBody | None = None
    ) -> Entry | None:
        """Make what was written the object's head, not proved yet. ``sent`` is the number of the write among all origin
        requests. None when something happened to the object under ``token``, or a later answer was taken.

        What was stored before is removed, unless it will be by the commit of ``body``.
        """
        if not self._disk.fences.is_current(oid, token):
            return None
        entry = self._entry_of(oid)
        if sent < entry.sent:
            return None
        self._disk.doom(entry, entry.extents.clear())
        entry.head = record
        entry.validation = None
        entry.sent = sent
        if body is None or not body.is_in_memory:
            self._disk.settle_soon(entry)
        return entry


class StagedBody:
    """The bytes of one body, in order. Ends with one ``commit`` or ``discard``; calls are made one at a time."""

    def __init__(self, staging: Staging, disk: ObjectDisk) -> None:
        self._staging = staging
        self._disk = disk
        self._appender = Appender(disk)
        self._buffered: list[memoryview] = []
        self._files: list[Part] = []
        self._open: Part | None = None
        self.length = 0
        """Bytes taken so far."""

    @property
    def is_in_memory(self) -> bool:
        """Its bytes were kept in memory, and become one file, which takes the place of the one before."""
        return bool(self._buffered)

    def wanted(self, most: int) -> int:
        """How many bytes are best written next, ``most`` at most. Fewer can be written too."""
        part, size = self._open, self._staging.extent_size
        if part is None:
            return self._appender.wanted(data_offset_for(0, size), size, most)
        return self._appender.wanted(part.data_offset + part.length, part.limit - part.start - part.length, most)

    def keep(self, blocks: Sequence[memoryview]) -> None:
        """Take the next bytes of a small body, ``SMALL_BODY`` in all at most; they stay in memory. Raises StorageError
        when too many do."""
        length = sum(len(block) for block in blocks)
        if self._staging.in_memory + length > self._staging.memory_limit:
            raise StorageError("too many small objects are being written at once")
        self._take(length)
        self._staging.in_memory += length
        self._buffered.extend(blocks)

    async def write(self, blocks: Sequence[memoryview]) -> None:
        """Take the next bytes, which must not change any more, of a body that is not kept in memory. Raises
        StorageError when they cannot be stored."""
        self._take(sum(len(block) for block in blocks))
        waiting = [block for block in blocks if len(block)]
        try:
            while waiting:
                if self._open is None:
                    await self._begin_file()
                assert self._open is not None
                waiting = bytes_behind(waiting, await self._appender.append(self._open, waiting))
                if self._open.start + self._open.length == self._open.limit:
                    await self._end_file()
        except OSError as error:
            self._disk.note(error, "staging")
            raise StorageError(f"staging failed: {error.strerror}") from error

    def _take(self, length: int) -> None:
        if not self._staging.has_room(length):
            raise StorageError("too much is being written at once")
        self.length += length
        self._staging.count(length)

    async def _begin_file(self) -> None:
        start = sum(part.length for part in self._files)
        size = self._staging.extent_size
        path = self._disk.next_part()
        fd = await self._disk.io.run(self._disk.files.create_part, path)
        self._open = Part(path, fd, start, data_offset_for(0, size), start + size)

    async def _end_file(self) -> None:
        """Files that are full are closed: a large upload holds one descriptor."""
        part, self._open = self._open, None
        if part is not None:
            self._files.append(part)
            fd, part.fd = part.fd, -1
            await self._disk.io.run(self._disk.files.close_part, fd)

    async def commit(self, entry: Entry, tag: bytes, token: FenceToken, *, start: int, whole: bool) -> bool:
        """Make the bytes extents of ``entry`` from offset ``start`` on; ``whole``: they are all of the object. False
        when they are not all stored. Never raises for a failing disk."""
        commits = Commits(self._disk)
        stored = True
        try:
            if self._buffered:
                stored = await commits.commit_data(entry, self._buffered, start, tag, token, whole=whole)
            while part := self._next_file():
                part.start += start
                stored = await self._commit_file(commits, entry, part, tag, token) and stored
        except StorageError as error:
            self._disk.note(error, "storing what was written")
            stored = False
        finally:
            await self.discard()
        if not stored:
            self._disk.settle_soon(entry)  # nothing took the place of what was there
        return stored

    async def _commit_file(self, commits: Commits, entry: Entry, part: Part, tag: bytes, token: FenceToken) -> bool:
        if part.fd < 0:
            try:
                part.fd = await self._disk.io.run(self._disk.files.open_part, part.path)
            except OSError as error:
                self._disk.note(error, part.path)
                await commits.discard_part(part)
                return False
        return await commits.commit_part(entry, part, tag, token)

    def _next_file(self) -> Part | None:
        """The next file; from now on the caller's."""
        if self._files:
            return self._files.pop(0)
        part, self._open = self._open, None
        return part

    async def hand_over(self) -> list[Part]:
        """The files, closed, with all that was counted for them. Raises OSError when what was written may be lost."""
        await self._end_file()
        files, self._files = self._files, []
        self.length = 0
        return files

    async def discard(self) -> None:
        """Throw away what is not committed."""
        self._staging.in_memory -= sum(len(block) for block in self._buffered)
        self._staging.count(-self.length)
        self.length = 0
        self._buffered = []
        if self._files or self._open is not None:
            self._disk.metrics.count(StoreCounter.DISCARDED_FILLS)
        # A store that was closed meanwhile leaves its files to the next start, which removes them.
        with contextlib.suppress(StorageError):
            while part := self._next_file():
                await Commits(self._disk).discard_part(part)
