"""A fill of another worker of this host, read behind its watermark out of the files that it writes.

What the other says of it is in shared memory and is a hint (:mod:`fastcache._core.fill_claims`): its bytes are taken
from its file in progress as long as it has that name, and from extents when it is committed. A file that was opened
keeps its bytes, whatever becomes of its name or of the process that wrote it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from fastcache._core.extent_codec import decode_head
from fastcache._core.fill_claims import Phase, Seen
from fastcache._core.residency import resident
from fastcache.errors import StorageError
from fastcache.model import Interval
from fastcache.storage import layout
from fastcache.storage.files import Files
from fastcache.storage.io_threads import IoThreads
from fastcache.storage.lookout import Lookout

_TELL_EVERY = 0.2
"""Seconds after which the other worker is told again that somebody here reads."""
_STANDS_STILL = 120.0
"""Seconds without a byte after which another process is thought to be stopped: twice what an origin may take."""
_SOON = 32 << 20
"""Bytes that are waited for whatever the pace, as those are that a fill of our own may have in memory."""
READ_AT_ONCE = 1 << 20


class OpenPart:
    """A file in progress of another process, open. ``fd`` is valid while it is held."""

    def __init__(self, io: IoThreads, fd: int, number: int, start: int, offset: int) -> None:
        self._io = io
        self.fd = fd
        self.number = number
        self.start = start
        self.end = start
        """As far as it is known to hold bytes of the fill."""
        self._offset = offset
        self.holders = 0

    def offset_of(self, position: int) -> int:
        """Where in the file a byte of the object is."""
        return self._offset + position - self.start

    async def have_in_memory(self, interval: Interval) -> None:
        """Read what is not in memory any more, in the I/O threads, so that nobody waits for the disk on the loop.
        Raises StorageError."""
        offset = self.offset_of(interval.start)
        try:
            if not resident(self.fd, offset, interval.length):
                await self._io.run(os.pread, self.fd, interval.length, offset)
        except OSError as error:
            raise StorageError(f"reading failed: {error.strerror}") from error

    async def read(self, interval: Interval) -> bytes:
        """Its bytes; fewer where the file ends. Raises OSError or StorageError."""
        return await self._io.run(os.pread, self.fd, interval.length, self.offset_of(interval.start))

    def close(self) -> None:
        """Give the descriptor back."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class NeighbourFill:
    """Loop thread only. Whoever reads it has ``joined`` and will have ``left``."""

    def __init__(self, seen: Seen, files: Files, io: IoThreads, lookout: Lookout) -> None:
        """Raises CorruptFileError when the claim holds no head."""
        self.seen = seen
        self.record = decode_head(seen.head)
        self.interval = Interval(seen.start, seen.end)
        self.token = seen.token
        self.watermark = seen.start
        self.ended = False
        """No byte will be added any more."""
        self.died = False
        """It ended with its process."""
        self._files = files
        self._io = io
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._begun_at = seen.watermark()
        self._told_at = 0.0
        self._readers = 0
        self._part: OpenPart | None = None
        self._told: tuple[int, int, int] | None = None
        self._opening = asyncio.Lock()
        self._tried = 0
        """Number of the file in progress that was opened early, or could not be."""
        self._watch = lookout.watch(self._look)
        self._look()

    def _look(self) -> object:
        """What has become of it; part of what is returned changes when a reader can go on."""
        if not self.ended:
            phase = self.seen.phase()
            self.watermark = max(self.watermark, min(self.seen.watermark(), self.interval.end))
            self._told = self.seen.part()
            if self._part is not None and self._told is not None and self._told[0] == self._part.number:
                # The same file is in progress after the watermark was read: what is below is in it, or was before it.
                self._part.end = max(self._part.end, self.watermark)
            self.ended = phase is not Phase.FILLING
            self.died = phase is Phase.DEAD
        return self.watermark, self.ended, self._told

    # -- what it brings: the same questions as to a fill of our own

    @property
    def window_start(self) -> int:
        """Absolute offset of the oldest byte that can be had from it: all that it has stored are in files."""
        return self.interval.start

    @property
    def reach(self) -> int:
        """Absolute offset of the end of what has arrived or is still to come."""
        self._look()
        return self.watermark if self.ended else self.interval.end

    @property
    def complete(self) -> bool:
        """Every byte of the interval arrived."""
        return self.watermark == self.interval.end

    def brings(self, interval: Interval, within: float) -> bool:
        """Whether all of ``interval`` is stored or still to come, its first byte within so many seconds at the pace
        so far."""
        self._look()
        if interval.end <= self.watermark:
            return True
        if self.ended:
            return False
        ahead = interval.start - self.watermark
        took = self._loop.time() - self._begun
        return ahead <= _SOON or ahead * took <= within * (self.watermark - self._begun_at)

    async def commit_so_far(self, within: float) -> None:
        """Nothing is out of reach of its readers."""

    async def run_to_end(self) -> None:
        """Wait until it has ended, whatever the end is."""
        while not self.ended:
            await self._watch.changed()

    def take_over(self) -> bool:
        """Whether it is for us to see to what its dead process left behind: nobody else has been told so."""
        return self.seen.take_over()

    # -- readers

    def joined(self) -> None:
        """Somebody reads."""
        self._readers += 1

    def left(self) -> None:
        """They do not any more."""
        self._readers -= 1
        self._close_unused()

    def _tell(self, position: int) -> None:
        """The other worker goes on for our readers as for its own."""
        self._told_at = self._loop.time()
        self.seen.look(position, int(self._told_at * 1000))

    async def until_readable(self, position: int) -> bool:
        """Wait for a byte at ``position``. True when it is in a file; False when it never will be, or when its process
        has been standing still for longer than any origin is waited for."""
        self._look()
        self._tell(position)
        stands_at, since = self.watermark, self._loop.time()
        while position >= self.watermark:
            if self.ended or self._loop.time() - since > _STANDS_STILL:
                return False
            await self._open_early()
            await self._watch.changed(_TELL_EVERY)
            self._tell(position)
            if self.watermark != stands_at:
                stands_at, since = self.watermark, self._loop.time()
        return True

    async def moved(self, within: float) -> None:
        """Wait for anything to change, at most so many seconds."""
        await self._watch.changed(within)

    @contextlib.asynccontextmanager
    async def part_at(self, position: int) -> AsyncIterator[OpenPart | None]:
        """The file in progress that holds the byte at ``position``, held open; None when that is committed, or will be
        in a moment."""
        part = await self._opened(position)
        if part is None:
            yield None
            return
        part.holders += 1
        try:
            yield part
        finally:
            part.holders -= 1
            if part is not self._part and not part.holders:
                part.close()
            self._close_unused()

    async def _open_early(self) -> None:
        """Try to have the file that is in progress now open before it holds what is waited for: then nobody waits for
        that too."""
        told = self._told
        if told is not None and told[0] != self._tried:
            self._tried = told[0]
            async with self._opening:
                await self._open_told()

    async def _opened(self, position: int) -> OpenPart | None:
        async with self._opening:
            self._look()
            await self._open_told()
            part, told = self._part, self._told
            if self.died and part is not None and told is not None and told[0] == part.number:
                part.end = max(part.end, self.watermark)  # that is how far its process came
            return part if part is not None and part.start <= position < part.end else None

    async def _open_told(self) -> None:
        told = self._told
        if told is not None and (self._part is None or told[0] != self._part.number):
            await self._open(*told)
            self._look()

    async def _open(self, number: int, start: int, offset: int) -> None:
        path = layout.part_file(self.seen.owner, number)
        try:
            fd = await self._io.run(self._files.open_to_read, path)
        except (OSError, StorageError):
            return  # committed since we looked; or it cannot be read, and neither will what is committed of it
        before, self._part = self._part, OpenPart(self._io, fd, number, start, offset)
        if before is not None and not before.holders:
            before.close()

    def _close_unused(self) -> None:
        if self._part is not None and not self._readers and not self._part.holders:
            self._part.close()
            self._part = None
