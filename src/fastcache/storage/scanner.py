"""The recovery scan in the background: small steps, so that requests come first from the first moment on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastcache.clock import Clock
from fastcache.storage import recovery
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.metrics import StoreCounter

PAUSE = 0.002
"""Seconds between two steps."""


class Scanner:
    """Learns the sizes and ages of what lies on the disk, for the capacity and for nothing else."""

    def __init__(self, disk: ObjectDisk, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock
        self.finished = False

    async def run(self, root: int, differs: Callable[[bytes], None] | None = None) -> None:
        """Walk the directory once; ``finished`` afterwards, also when the disk stopped it.

        ``differs``: told of objects in memory that take another number of bytes than they were counted with, because
        whoever changed their files died before it could tell.
        """
        steps = recovery.scan(root)
        while True:
            self._disk.touched = set()
            try:
                found = await self._disk.io.run(next, steps, None)
            except OSError as error:
                self._disk.note(error, "recovery scan")
                found = None
            touched, self._disk.touched = self._disk.touched, None
            if found is None:
                break
            for scanned in found:
                if not self._is_known(scanned.digest, touched):
                    self._take(scanned)
                elif differs is not None and scanned.digest not in touched:
                    self._compare(scanned, differs)
            await asyncio.sleep(PAUSE)
        self.finished = True

    def _is_known(self, digest: bytes, touched: set[bytes]) -> bool:
        """Whether an object is accounted for already, or changed while the scan read its directory."""
        entry = self._disk.entries.get(digest)
        return (
            (entry is not None and entry.loaded)
            or digest in touched
            or digest in self._disk.cold
            or self._disk.locks.is_held(digest)
        )

    def _compare(self, scanned: recovery.ScannedObject, differs: Callable[[bytes], None]) -> None:
        digest = scanned.digest
        entry = self._disk.entries.get(digest)
        if entry is not None and entry.loaded:
            if not self._disk.locks.is_held(digest) and entry.counted != scanned.size:
                differs(digest)
        elif digest in self._disk.cold and scanned.size and scanned.size != self._disk.cold.size_of(digest):
            self._disk.space.free(self._disk.cold.take(digest))
            self._take(scanned)

    def _take(self, scanned: recovery.ScannedObject) -> None:
        if scanned.size:
            age = max(0.0, self._clock.wall() - scanned.modified)
            self._disk.space.add(scanned.size)
            self._disk.cold.add(scanned.digest, scanned.size, age)
        if not scanned.useful:
            self._disk.metrics.count(StoreCounter.LEFTOVERS)
            self._disk.spawn(self._disk.remove_cold(scanned.digest, orphan=True), "fastcache-orphan")
