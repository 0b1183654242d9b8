"""Reading committed bytes: pieces of files for whoever sends them, checked before they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from fastcache._core.extent_codec import BLOCK_SIZE
from fastcache._core.residency import resident
from fastcache.errors import CorruptFileError, StorageError
from fastcache.model import Codec, HeadRecord, Interval
from fastcache.storage.descriptors import Descriptors
from fastcache.storage.entry import Extent
from fastcache.storage.files import Files
from fastcache.storage.io_threads import IoThreads


class Piece(NamedTuple):
    """A run of bytes in a file. ``fd`` is valid until the reader that handed it out is closed."""

    fd: int
    offset_in_file: int
    length: int
    codec: Codec
    start: int
    """Offset in the object."""


class RangeReader:
    """An interval of one generation, held open: its files keep their bytes until ``close``, evicted or not."""

    def __init__(
        self, io: IoThreads, files: Files, descriptors: Descriptors, head: HeadRecord, interval: Interval,
        extents: list[Extent], failed: Callable[[Extent, OSError | StorageError], None], closed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._io = io
        self._files = files
        self._descriptors = descriptors
        self._extents = extents
        self._failed = failed
        self._closed = closed
        self.head = head
        """The head whose generation the bytes belong to."""
        self.interval = interval
        self.pieces = self._make_pieces()

    def _make_pieces(self) -> list[Piece]:
        pieces = []
        offset = self.interval.start
        for extent in self._extents:
            end = min(extent.end, self.interval.end)
            assert extent.header is not None
            in_file = extent.header.data_offset + offset - extent.start
            pieces.append(Piece(extent.fd, in_file, end - offset, extent.header.codec, offset))
            offset = end
        return pieces

    def _blocks(self, interval: Interval) -> list[tuple[Extent, range]]:
        """The extents that ``interval`` touches, with the numbers of their blocks."""
        touched = []
        for extent in self._extents:
            start, end = max(extent.start, interval.start), min(extent.end, interval.end)
            if start < end:
                first = (start - extent.start) // BLOCK_SIZE
                last = (end - 1 - extent.start) // BLOCK_SIZE
                touched.append((extent, range(first, last + 1)))
        return touched

    def unverified_or_cold(self, interval: Interval) -> bool:
        """Whether sending ``interval`` now might send unchecked bytes or wait for the disk. Cheap and loop-safe."""
        for extent, piece in zip(self._extents, self.pieces, strict=True):
            start = max(piece.start, interval.start)
            end = min(piece.start + piece.length, interval.end)
            if start >= end:
                continue
            if not extent.is_verified((start - extent.start) // BLOCK_SIZE, (end - 1 - extent.start) // BLOCK_SIZE):
                return True
            try:
                if not resident(piece.fd, piece.offset_in_file + start - piece.start, end - start):
                    return True
            except OSError:
                return True  # the I/O thread that reads it next will meet the same error and report it
        return False

    async def verify(self, interval: Interval) -> None:
        """Read and check all blocks of ``interval`` in the I/O threads, which also brings them into memory.

        Raises CorruptFileError when a block is not what was stored, StorageError when it cannot be read; the extent is
        dropped then, and a new plan finds the gap.
        """
        for extent, blocks in self._blocks(interval):
            assert extent.header is not None
            self._descriptors.pin(extent)
            job = self._io.run(self._files.verify, extent.fd, extent.header, blocks)
            # The pin lasts until the thread is done with the descriptor, also when the caller is cancelled.
            job.add_done_callback(partial(self._unpin, extent))
            try:
                await asyncio.shield(job)
            except OSError as error:
                self._failed(extent, error)
                raise StorageError(f"reading failed: {error.strerror}") from error
            except CorruptFileError as error:
                self._failed(extent, error)
                raise
            extent.mark_verified(blocks.start, blocks.stop - 1)

    def _unpin(self, extent: Extent, _: asyncio.Future[None]) -> None:
        self._descriptors.unpin(extent)

    def close(self) -> None:
        """Let the files go; the descriptors of ``pieces`` must not be used any more."""
        extents, self._extents = self._extents, []
        for extent in extents:
            self._descriptors.unpin(extent)
        self.pieces = []
        if extents or not self.interval.length:
            self._closed()
            self._closed = _nothing


def _nothing() -> None:
    return None
