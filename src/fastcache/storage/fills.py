"""The transfers that are being stored, and the bounds on them."""

from __future__ import annotations

import asyncio

from fastcache.model import FenceToken, Generation, Interval
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import Entry
from fastcache.storage.metrics import StoreCounter
from fastcache.storage.settings import StoreSettings
from fastcache.storage.writer import SMALL_FILL, FillWriter

MOST_FILLS = 4096


class Fills:
    """Loop thread only."""

    def __init__(self, disk: ObjectDisk, settings: StoreSettings) -> None:
        self._disk = disk
        self._settings = settings
        self._writers: set[FillWriter] = set()
        self.write_behind = 0
        """Bytes of small fills that are in memory until they are written."""

    def __len__(self) -> int:
        return len(self._writers)

    def begin(self, entry: Entry, generation: Generation, token: FenceToken, interval: Interval) -> FillWriter | None:
        """Start storing ``interval``; None when too many fills are under way, or the disk is full, or too many small
        ones wait to be written."""
        if self._disk.space.disk_is_full or len(self._writers) >= MOST_FILLS:
            self._disk.metrics.count(StoreCounter.REFUSED_FILLS)
            return None
        small = interval.length if interval.length <= SMALL_FILL else 0
        if self.write_behind + small > self._settings.write_behind_limit:
            self._disk.metrics.count(StoreCounter.WRITE_BEHIND_DROPPED)
            return None
        whose = (self._disk, entry, generation.tag, generation.size)
        writer = FillWriter(*whose, token, interval, self._settings.extent_size, self._ended)
        entry.users += 1
        self._writers.add(writer)
        self.write_behind += small
        return writer

    def _ended(self, writer: FillWriter) -> None:
        self._writers.discard(writer)
        writer.entry.users -= 1
        if writer.is_small:
            self.write_behind -= writer.interval.length

    async def discard(self, within: float) -> None:
        """End all of them, and wait for the disk so many seconds at most."""
        if self._writers:
            await asyncio.wait({asyncio.ensure_future(fill.discard()) for fill in self._writers}, timeout=within)
