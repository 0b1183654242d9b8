"""Open descriptors of extents, shared by all readers of an extent and kept for some time after the last."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

from fastcache._core.extent_codec import FileHeader, Kind, data_offset_for, encode_head
from fastcache.errors import StorageError
from fastcache.model import Codec, FenceToken, Generation, HeadRecord
from fastcache.storage.blocks import close_all
from fastcache.storage.entry import Extent
from fastcache.storage.files import Files
from fastcache.storage.io_threads import IoThreads

logger = logging.getLogger("fastcache.storage")

_ANY = FenceToken(0, 0, 0)


def expected_header(extent: Extent, generation: Generation) -> FileHeader:
    """What the file of ``extent`` has to say about itself."""
    kind = Kind.OBJECT if extent.whole else Kind.EXTENT
    length = extent.end - extent.start
    return FileHeader(
        kind, extent.digest, generation.tag, generation.size, extent.start, length, length, Codec.RAW, 0, _ANY, b"", ()
    )


def header_for(
    digest: bytes, head: HeadRecord, token: FenceToken, start: int, length: int, *, whole: bool
) -> FileHeader:
    """What a file to be written says about itself, without block CRCs."""
    blob = encode_head(head) if whole else b""
    return FileHeader(
        Kind.OBJECT if whole else Kind.EXTENT, digest, head.generation.tag, head.generation.size, start, length,
        length, Codec.RAW, data_offset_for(len(blob), length), token, blob, (),
    )  # fmt: skip


class Descriptors:
    """At most ``limit`` descriptors stay open without a reader; ``released(extent)`` is told of each closed one."""

    def __init__(self, io: IoThreads, files: Files, limit: int, released: Callable[[Extent], None]) -> None:
        self._io = io
        self._files = files
        self._limit = limit
        self._released = released
        self.opened: set[Extent] = set()
        """All that are open, for a reader, a lease or nobody."""
        self._idle: OrderedDict[Extent, None] = OrderedDict()
        self._opening: dict[Extent, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> int:
        return len(self._idle)

    def pin(self, extent: Extent) -> None:
        """Keep the extent's descriptor, and with it the file's bytes, until ``unpin``."""
        extent.pins += 1
        self._idle.pop(extent, None)

    def unpin(self, extent: Extent) -> None:
        extent.pins -= 1
        if extent.pins or extent.fd < 0:
            return
        if extent.doomed:
            self._close([extent])
            return
        self._idle[extent] = None
        if len(self._idle) > self._limit:
            # A few at a time, so that not every request beyond the limit costs a thread a wake-up.
            self._close([self._idle.popitem(last=False)[0] for _ in range(min(16, len(self._idle)))])

    async def open(self, extent: Extent, generation: Generation) -> None:
        """See to it that a pinned extent is open; all who wait share one call. Raises OSError or CorruptFileError."""
        if extent.fd >= 0:
            return
        task = self._opening.get(extent)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._open(extent, generation))
            self._opening[extent] = task
        await asyncio.shield(task)

    async def _open(self, extent: Extent, generation: Generation) -> None:
        extent.pins += 1  # whoever asked may go away before the file is open
        try:
            extent.fd, header = await self._io.run(
                self._files.open_file, extent.path, expected_header(extent, generation)
            )
            extent.header, extent.data_offset = header, header.data_offset
            self.opened.add(extent)
        finally:
            del self._opening[extent]
            self.unpin(extent)

    def drop_idle(self, extent: Extent) -> None:
        """Close a doomed extent's descriptor now if nobody reads from it."""
        if self._idle.pop(extent, extent) is None:
            self._close([extent])

    def _close(self, extents: list[Extent]) -> None:
        fds = [extent.fd for extent in extents]
        self.opened.difference_update(extents)
        for extent in extents:
            extent.fd = -1  # from here on nobody else can take the descriptor
            extent.closing += 1
        task = asyncio.get_running_loop().create_task(self._close_now(extents, fds))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_now(self, extents: list[Extent], fds: list[int]) -> None:
        try:
            error = await self._io.run(close_all, fds)
        except StorageError:  # a reader that outlived the store: there are no threads any more
            error = close_all(fds)
        if error is not None:
            self._io.note_failure(error)
            logger.warning("closing: %s", error.strerror)
        for extent in extents:
            extent.closing -= 1
            self._released(extent)
            if extent.fd < 0:
                extent.header = None  # of a large extent it is larger than all else that is known of it

    async def close(self) -> None:
        """Close what is idle. Descriptors in use stay open: their readers still send from them."""
        if self._idle:
            self._close(list(self._idle))
            self._idle.clear()
        while waiting := [*self._closing, *self._opening.values()]:
            await asyncio.wait(waiting)
