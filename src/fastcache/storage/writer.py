"""Storing one transfer: what arrives in order becomes extents, or one file for a whole small object."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastcache._core.extent_codec import data_offset_for
from fastcache._core.fill_claims import Claim
from fastcache.errors import StorageError
from fastcache.model import FenceToken, Interval
from fastcache.storage import layout
from fastcache.storage.appending import Appender, Part, bytes_behind
from fastcache.storage.commits import Commits
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import Entry
from fastcache.storage.metrics import StoreCounter

SMALL_FILL = 1 << 20
"""Fills up to this many bytes are gathered in memory and stored in one call, a whole object as one file."""


_LOOKED_LATELY = 1.0
"""Seconds since a reader elsewhere looked after which it counts as gone."""


def _alone(block: memoryview) -> memoryview:
    """A copy, unless it is most of the memory that it would keep."""
    return block if 2 * block.nbytes >= memoryview(block.obj).nbytes else memoryview(bytes(block))


class FillWriter:
    """Takes the bytes of ``interval`` in ascending order. Ends with exactly one ``finish`` or ``discard``.

    Writes are made one at a time by the caller. Committed extents stay whatever becomes of the rest.
    """

    def __init__(
        self, disk: ObjectDisk, entry: Entry, tag: bytes, size: int, token: FenceToken, interval: Interval,
        extent_size: int, ended: Callable[[FillWriter], None],
    ) -> None:  # fmt: skip
        self._disk = disk
        self._commits = Commits(disk)
        self._entry = entry
        self._tag = tag
        self._object_size = size
        self._token = token
        self._interval = interval
        self._extent_size = extent_size
        self._ended = ended
        self._part: Part | None = None
        self._buffered: list[memoryview] = []
        self._buffer_start = interval.start
        self._busy: asyncio.Task[object] | None = None
        self._appender = Appender(disk)
        self._failed = False
        self._closed = False
        self.claim: Claim | None = None
        """What tells other workers of it, if anything does."""
        self.is_small = interval.length <= SMALL_FILL
        self.written = interval.start
        """Absolute offset up to which the bytes are taken: a ``rotate`` makes all of them readable."""

    @property
    def interval(self) -> Interval:
        return self._interval

    @property
    def entry(self) -> Entry:
        return self._entry

    def wanted(self, most: int) -> int:
        """How many bytes are best written next, ``most`` at most (256 KiB or more). Fewer can be written too."""
        if self.is_small:
            return min(most, self._interval.end - self.written)
        part = self._part
        at = part.data_offset + part.length if part is not None else data_offset_for(0, self._extent_size)
        left = self._interval.end - self.written if part is None else part.limit - part.start - part.length
        return self._appender.wanted(at, left, most)

    async def prepare(self) -> None:
        """Have the first file before its first byte comes, for which readers in other workers may be waiting.

        Raises StorageError as ``write`` does.
        """
        covered = self._entry.extents.covered_until(self.written) > self.written
        if self.claim is not None and not self.is_small and not covered:
            await self._run(self._failing(self._open_part()))

    async def write(self, offset: int, blocks: Sequence[memoryview]) -> None:
        """Take the bytes from ``offset``, which is ``written``. ``blocks`` must never change again: a small fill
        keeps those that are most of their memory until it is stored.

        Raises StorageError when they cannot be stored (disk full or failing, no room, object written meanwhile); then
        only ``finish``, which keeps what was taken before, or ``discard`` remain.
        """
        length = sum(len(block) for block in blocks)
        if offset != self.written or offset + length > self._interval.end:
            raise ValueError("bytes out of order or outside of the fill's interval")
        if self._failed or self._closed:
            raise StorageError("the fill is not stored any more")
        if not self._goes_on():
            self._failed = True
            raise StorageError("the object changed while it was being stored")
        if self.is_small:
            self._buffered.extend(_alone(block) for block in blocks)
            self.written += length
            return
        await self._run(self._failing(self._write([block for block in blocks if len(block)])))

    @property
    def _outdated(self) -> bool:
        return not self._commits.acceptable(self._entry, self._tag, self._token)

    def _goes_on(self) -> bool:
        """Bytes that nobody will find any more are written only for readers elsewhere whose answers have begun."""
        return not self._outdated or (
            not self.is_small and self.read_elsewhere(asyncio.get_running_loop().time()) is not None
        )

    async def _run(self, work: Coroutine[Any, Any, object]) -> None:
        """Do ``work`` to its end even if the caller is cancelled: a thread may be at it."""
        self._busy = self._disk.spawn(work, "fastcache-fill")
        try:
            await asyncio.shield(self._busy)
        except asyncio.CancelledError:
            self._failed = True
            # Nobody is left to be told how the work ended; ``note`` has counted and logged it.
            self._busy.add_done_callback(lambda task: task.cancelled() or task.exception())
            raise

    async def _failing(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work`` on the disk; if it fails, nothing is stored from here on. Raises StorageError."""
        try:
            await work
        except OSError as error:
            self._failed = True
            self._disk.note(error, "storing")
            raise StorageError(f"storing failed: {error.strerror}") from error
        except StorageError:
            self._failed = True
            raise

    async def _write(self, blocks: list[memoryview]) -> None:
        while blocks and not self._failed:
            blocks = bytes_behind(blocks, await self._write_some(blocks))
        if self._failed:
            raise StorageError("what was written could not be committed")

    async def _write_some(self, blocks: list[memoryview]) -> int:
        if self._part is None:
            covered = min(self._entry.extents.covered_until(self.written), self._interval.end)
            if covered > self.written:
                skipped = min(covered - self.written, sum(len(block) for block in blocks))
                self._advance(skipped)
                return skipped
            await self._open_part()
        part = self._part
        assert part is not None
        taken = await self._appender.append(part, blocks)
        self._advance(taken)
        if part.start + part.length == part.limit:
            await self._commit_part()
        return taken

    def _advance(self, count: int) -> None:
        self.written += count
        if self.claim is not None:
            self.claim.note_written(self.written)

    async def _open_part(self) -> None:
        start = self.written
        # Borders lie on a grid of the object, so that fills from different offsets make the same extents.
        border = (start // self._extent_size + 1) * self._extent_size
        limit = self._entry.extents.next_start(start, min(border, self._interval.end))
        data_offset = data_offset_for(0, max(limit - start, 1 << 17))
        path = self._disk.next_part()
        fd = await self._disk.io.run(self._disk.files.create_part, path)
        self._part = Part(path, fd, start, data_offset, limit)
        if self.claim is not None:
            self.claim.note_part(layout.part_number(path), start, data_offset)

    async def _commit_part(self) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        if not part.length:
            await self._commits.discard_part(part)
            return
        if not await self._commits.commit_part(self._entry, part, self._tag, self._token) and not (
            self._outdated and self._goes_on()
        ):
            self._failed = True
        if self.claim is not None:
            self.claim.note_part(0, 0, 0)

    def read_elsewhere(self, now: float) -> int | None:
        """How far the fastest reader in another worker is; None when none has looked lately. ``now`` is monotonic."""
        if self.claim is None or self.claim.looked_at() < (now - _LOOKED_LATELY) * 1000:
            return None
        return min(self.claim.reached(), self._interval.end)

    async def rotate(self) -> None:
        """Make all bytes taken so far readable through ``open_range``."""
        await self._settled()
        if self._closed:
            return
        await self._run(self._commit_all())

    async def _commit_all(self) -> None:
        try:
            if self.is_small:
                await self._commit_buffer()
                if self._entry.extents.cover(Interval(self._interval.start, self.written)) is not None:
                    self._advance(0)
            else:
                await self._commit_part()
        except (OSError, StorageError) as error:
            # Not being able to store is no failure of the transfer: counted, logged, and the bytes are not cached.
            self._failed = True
            self._disk.note(error, "storing")

    async def _commit_buffer(self) -> None:
        start, data = self._buffer_start, self._buffered
        self._buffer_start, self._buffered = self.written, []
        if start == 0 and self.written == self._object_size:
            await self._commits.commit_data(self._entry, data, 0, self._tag, self._token, whole=True)
            return
        for gap in self._entry.extents.gaps(Interval(start, self.written)):
            joined = memoryview(b"".join(data))
            piece = joined[gap.start - start : gap.end - start]
            await self._commits.commit_data(self._entry, [piece], gap.start, self._tag, self._token, whole=False)

    async def finish(self) -> None:
        """Commit what was taken, a prefix of the interval included. Never raises for a failing disk."""
        await self._end(commit=True)

    async def discard(self) -> None:
        """Throw away what is not committed yet."""
        await self._end(commit=False)

    async def _end(self, *, commit: bool) -> None:
        if self._closed:
            return
        self._closed = True
        await asyncio.shield(self._disk.spawn(self._close(commit=commit), "fastcache-fill-end"))

    async def _close(self, *, commit: bool) -> None:
        try:
            await self._settled()
            if commit:
                await self._commit_all()
            elif self._part is not None:
                part, self._part = self._part, None
                self._disk.metrics.count(StoreCounter.DISCARDED_FILLS)
                await self._commits.discard_part(part)
        finally:
            self._buffered = []
            if self.claim is not None:
                self.claim.end()
            self._ended(self)

    async def _settled(self) -> None:
        """Wait for a call whose caller was cancelled; its outcome is in ``written``."""
        if self._busy is not None and not self._busy.done():
            await asyncio.wait({self._busy})
