"""The keeper's store: it counts every file of the directory and evicts, for all workers of the host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

from fastcache._core.fences import Fences
from fastcache._core.shared import Cell
from fastcache.clock import Clock
from fastcache.errors import StorageError
from fastcache.model import Interval
from fastcache.storage import recovery
from fastcache.storage.directory import CacheDirectory
from fastcache.storage.io_threads import IoThreads
from fastcache.storage.metrics import StoreCounter, StoreMetrics
from fastcache.storage.reports import LONGEST, Report, parse
from fastcache.storage.settings import StoreSettings
from fastcache.storage.sharing import KEEPER, Share
from fastcache.storage.store import QUEUE_LIMIT, Store

logger = logging.getLogger("fastcache.storage")

_LOOK = 0.05
"""Seconds between two looks at the bytes that the workers answer for."""
_PAUSE_FOR_DISK = 0.5
_TAKEN_OVER_WITHIN = 5.0
"""Seconds for which a file in progress stays when its process was killed: readers in other workers are on their way to
it, and one of those stores what it holds."""
_NO_BUCKET = bytes(32)


class _Filed:
    """An object of which only the name of its files is known."""

    __slots__ = ("bucket_digest", "digest")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.bucket_digest = _NO_BUCKET


class Keeping(Store):
    """Follows the workers' reports: an object of which files changed is read again, and its extents take their places
    in the queues of the evictor. A report that was acted upon is acknowledged in the memory of its sender."""

    def __init__(
        self, settings: StoreSettings, held: CacheDirectory, fences: Fences, clock: Clock, metrics: StoreMetrics,
        share: Share, reports: socket.socket,
    ) -> None:  # fmt: skip
        io = IoThreads(settings.io_threads, QUEUE_LIMIT, clock, metrics)
        super().__init__(settings, held, io, fences, clock, metrics, share)
        self._memory = share.memory
        self._channel = reports
        self._root = held.fd
        self._closing = asyncio.Event()
        self._uncounted = False
        self._counting: asyncio.Task[object] | None = None
        self._scan = self._disk.spawn(self._scanner.run(held.fd), "fastcache-scan")
        self.uploads.watch()
        loop = asyncio.get_running_loop()
        self._following = loop.create_task(self._follow(), name="fastcache-follow")
        self._looking = loop.create_task(self._look(), name="fastcache-look")

    async def close(self) -> None:
        self._closing.set()
        self._following.cancel()
        self._looking.cancel()
        if self._counting is not None:
            self._counting.cancel()
        await asyncio.wait({self._following, self._looking})
        await super().close()

    async def remove_parts_of(self, owner: int, *, after: float = 0.0) -> None:
        """A process died: its files in progress are nobody's any more, so many seconds from now. They count until
        then."""
        counted = 0
        try:
            if after:
                counted = await self._io.run(recovery.size_of_parts, self._root, owner)
                self._space.add(counted)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(after):
                        await self._closing.wait()
            removed = await self._io.run(recovery.remove_parts, self._root, owner)
        except (OSError, StorageError) as error:
            self._disk.note(error, "removing what was in progress")
            return
        finally:
            self._space.free(counted)
        self._metrics.count(StoreCounter.LEFTOVERS, removed)

    def died(self, owner: int, *, crashed: bool) -> None:
        """A process is gone, in the background: what it had in progress is removed, after a while if it may be taken
        over, and what it may not have told of before a crash is counted."""
        self._disk.spawn(self.remove_parts_of(owner, after=_TAKEN_OVER_WITHIN if crashed else 0.0), "fastcache-parts")
        if crashed:
            self._uncounted = True
            if self._counting is None or self._counting.done():
                self._counting = self._disk.spawn(self._count_again(), "fastcache-count")

    async def _count_again(self) -> None:
        if self._scan is not None:
            await asyncio.wait({self._scan})  # one at a time
        while self._uncounted:
            self._uncounted = False
            await self._scanner.run(self._root, self._look_again)

    def _look_again(self, digest: bytes) -> None:
        self._entries[digest].changes = -1  # whatever the counter says, which its last writer may not have raised
        self._disk.spawn(self._read_again(digest), "fastcache-count")

    # -- reports

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await loop.sock_recv(self._channel, LONGEST)
            report = parse(message)
            if report is not None and report.place < self._memory.places:
                await self._take(report)
            elif not message:
                return

    async def _take(self, report: Report) -> None:
        for digest, start in report.used:
            self._used(digest, start)
        if report.room:
            self._space.note_disk_full(report.room)
        await asyncio.gather(*(self._read_again(digest) for digest in report.changed))
        if self._memory.get(report.place, Cell.INCARNATION) == report.incarnation:
            self._memory.set(report.place, Cell.ACKNOWLEDGED, report.sequence)

    def _used(self, digest: bytes, start: int) -> None:
        entry = self._entries.get(digest)
        if entry is None:
            self._disk.cold.used(digest)
            return
        self._entries.move_to_end(digest)
        for extent in entry.extents.cover(Interval(start, start + 1)) or ():
            extent.used()

    async def _read_again(self, digest: bytes) -> None:
        entry = self._known.entry(_Filed(digest))
        entry.users += 1
        try:
            while not self._io.available:  # noqa: ASYNC110 - a breaker that closes with time alone
                await asyncio.sleep(_PAUSE_FOR_DISK)  # the report's sender goes on counting the bytes
            await self._disk.load(entry)
        except (OSError, StorageError) as error:
            self._disk.note(error, "counting")
        finally:
            entry.users -= 1

    # -- room

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self._space.look()

    async def _make_room(self, wanted: int) -> bool:
        progress = await super()._make_room(wanted)
        if progress:
            self._memory.add(KEEPER, Cell.EVICTIONS)
        return progress
