"""Several stores, one in each process, on one directory: who answers for which bytes, and who tells whom.

Files are the only truth. A store acts on what it has read of an object's directory; whoever changes the files of an
object does so under its lock in the file system (:mod:`fastcache.storage.shared_files`) and raises a counter, by which
the others see that they have to read again. One process, the keeper, counts every file and evicts. The others count
what the keeper does not know yet: files in progress, what they committed until the keeper has taken it in, and what has
lost its name but is open still.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from fastcache._core.generations import Generations
from fastcache._core.shared import Cell, SharedMemory
from fastcache.clock import Clock
from fastcache.storage.entry import Entry, Extent, disk_bytes
from fastcache.storage.space import Space

KEEPER = 0
"""The keeper's place."""


class Telling(Protocol):
    """What a store tells the keeper; never blocks."""

    def changed(self, entry: Entry) -> None:
        """Files of an object were changed."""
        ...

    def counted(self, entry: Entry, extent: Extent) -> None:
        """An extent was committed, whose bytes we count until the keeper does."""
        ...


@dataclass(slots=True)
class Share:
    """One store's part in a shared directory."""

    memory: SharedMemory
    place: int
    owner: int
    """Names its files in progress: a number that no other process of this supervisor's life has."""
    telling: Telling | None
    """None in the keeper, which counts every file itself."""
    generations: Generations | None = None
    """What all workers have learnt of objects; None for one that is alone."""

    @property
    def counts_files(self) -> bool:
        """Whether this store counts the files it finds, or only those that the keeper does not know."""
        return self.telling is None

    def count_while_open(self, extent: Extent) -> int:
        """An extent has lost its name: the bytes to be counted here until its descriptor is closed."""
        if self.counts_files or extent.size or extent.gone or extent.header is None:
            return 0
        extent.size = disk_bytes(extent.header.file_size)
        return extent.size


class SharedSpace(Space):
    """The bytes that this process answers for; ``used`` is what all of them together do."""

    def __init__(
        self, capacity: int, headroom: int, clock: Clock, make_room: Callable[[int], Awaitable[bool]], share: Share
    ) -> None:
        super().__init__(capacity, headroom, clock, make_room)
        self._share = share

    @property
    def used(self) -> int:
        return self._share.memory.total(Cell.BYTES)

    def _count(self, size: int) -> None:
        super()._count(size)
        self._share.memory.set(self._share.place, Cell.BYTES, max(0, self._used))
