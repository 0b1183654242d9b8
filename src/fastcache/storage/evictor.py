"""Giving space back, in small steps: cold objects first, then extents in the order of the eviction queues."""

from __future__ import annotations

import asyncio

from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import Entry, Extent
from fastcache.storage.eviction import MOST_USES
from fastcache.storage.metrics import StoreCounter

STEP = 64
"""Files removed before anything else gets a turn."""
LOOKS = 256
"""Places in the queues looked at per step."""


class Evictor:
    """Frees bytes on behalf of the store's space."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk

    async def make_room(self, wanted: int) -> bool:
        """Free about ``wanted`` bytes, at most one step's worth; False when nothing can be freed now."""
        freed = await self._remove_cold(wanted)
        if freed >= wanted:
            return True
        return await self._remove_extents(wanted - freed) or freed > 0

    async def _remove_cold(self, wanted: int) -> int:
        chosen: list[bytes] = []
        total = 0
        for digest, size in self._disk.cold.oldest():
            if total >= wanted or len(chosen) == STEP:
                break
            chosen.append(digest)
            total += size
        freed = 0
        for size in await asyncio.gather(*(self._disk.remove_cold(digest) for digest in chosen)):
            freed += size
            self._count(1 if size else 0, size)
        return freed

    async def _remove_extents(self, wanted: int) -> bool:
        # Every look lowers a counter of at most three, so that this many rounds meet each extent with none left.
        rounds = 1 + (MOST_USES + 2) * len(self._disk.queues) // LOOKS
        for _ in range(rounds):
            chosen = self._disk.queues.pick(wanted, LOOKS)
            if chosen:
                await self._remove(chosen)
                return True
            await asyncio.sleep(0)
        return False

    async def _remove(self, chosen: list[Extent]) -> None:
        entries: dict[bytes, Entry] = {}
        for extent in chosen:
            entry = self._disk.entries.get(extent.digest)
            if entry is not None and entry.extents.remove(extent.start, extent):
                self._count(1, extent.size)
                self._disk.doom(entry, [extent])
                entries[extent.digest] = entry
        await asyncio.gather(*(self._disk.settle_task(entry) for entry in entries.values()))

    def _count(self, files: int, size: int) -> None:
        self._disk.metrics.count(StoreCounter.EVICTED_FILES, files)
        self._disk.metrics.count(StoreCounter.EVICTED_BYTES, size)

    def forget(self, entry: Entry) -> None:
        """Keep only the size of an object that has not been asked for in a long time."""
        if not entry.loaded:
            return
        entry.revoke_leases()
        total = entry.overhead
        for extent in entry.extents.clear():
            total += extent.size
            self._disk.queues.remove(extent)
            extent.size = 0  # counted with the cold object from here on
            self._disk.descriptors.drop_idle(extent)
        if total:
            self._disk.cold.add(entry.object_id.digest, total, 0.0)
