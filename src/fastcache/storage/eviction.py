"""Which extents go first: S3-FIFO over extents, and whole cold objects before them.

S3-FIFO (Yang et al., SOSP 2023): what is new waits in a small queue and is dropped from there unless it was used
again; what was used again, or comes back soon after it was dropped, enters the main queue, where each use buys one
more round. *Cold* objects are those of which only the size is known (found by the recovery scan, or forgotten from
memory): nobody has asked for them lately.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from fastcache.storage.entry import Extent

SMALL_SHARE = 10
"""The small queue holds a tenth of the bytes."""
MOST_USES = 3
NONE, SMALL, MAIN = 0, 1, 2
AGE_CLASSES = 24
MOST_LEFT = 1000
"""Extents that were taken out of a queue and hold their places, before half of a queue may be such."""


class ColdObjects:
    """Bytes of objects not in memory, the longest unused first, in classes of doubling age."""

    def __init__(self) -> None:
        self._bytes: dict[bytes, int] = {}
        self._classes: list[OrderedDict[bytes, None]] = [OrderedDict() for _ in range(AGE_CLASSES)]
        self._class_of: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._bytes)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._bytes

    def size_of(self, digest: bytes) -> int:
        """An object's bytes, 0 when it is not here."""
        return self._bytes.get(digest, 0)

    def add(self, digest: bytes, size: int, age: float) -> None:
        """``age``: seconds since the object was last used or, failing that, written."""
        self.take(digest)
        hours = max(0, int(age / 3600.0))
        place = min(hours.bit_length(), AGE_CLASSES - 1)
        self._bytes[digest] = size
        if place:
            self._class_of[digest] = place
        self._classes[place][digest] = None

    def used(self, digest: bytes) -> None:
        """An object was used, if it is here."""
        if size := self.take(digest):
            self.add(digest, size, 0.0)

    def take(self, digest: bytes) -> int:
        """Forget an object; its bytes, 0 when it is not here."""
        size = self._bytes.pop(digest, 0)
        if size:
            del self._classes[self._class_of.pop(digest, 0)][digest]
        return size

    def oldest(self) -> Iterator[tuple[bytes, int]]:
        for objects in reversed(self._classes):
            for digest in objects:
                yield digest, self._bytes[digest]


class EvictionQueues:
    """The order in which extents are given up. Extents leave lazily: one that is doomed is skipped when it is met."""

    def __init__(self, ghosts: int = 100_000) -> None:
        self._small: deque[Extent] = deque()
        self._main: deque[Extent] = deque()
        self._left = 0
        """Extents that are in a queue still and belong to none."""
        self._small_bytes = 0
        self._main_bytes = 0
        self._ghosts: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        self._ghost_limit = ghosts

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    @property
    def extents(self) -> int:
        """How many are in the queues for good reason: the extents that are known in memory."""
        return len(self) - self._left

    def add(self, extent: Extent) -> None:
        key = (extent.digest, extent.start)
        if key in self._ghosts:
            del self._ghosts[key]
            self._enter_main(extent)
        else:
            extent.queue = SMALL
            self._small.append(extent)
            self._small_bytes += extent.size

    def add_known(self, extent: Extent) -> None:
        """Take in an extent that lay on the disk before: it has had its time in the small queue."""
        self._enter_main(extent)

    def _enter_main(self, extent: Extent) -> None:
        extent.queue = MAIN
        self._main.append(extent)
        self._main_bytes += extent.size

    def remove(self, extent: Extent) -> None:
        """Stop counting an extent that was doomed; its place in the queue empties itself when it is met."""
        if extent.queue == NONE:
            return
        if extent.queue == SMALL:
            self._small_bytes -= extent.size
        else:
            self._main_bytes -= extent.size
        extent.queue = NONE
        self._left += 1
        if self._left > MOST_LEFT and 2 * self._left > len(self):
            self._drop_left()

    def _drop_left(self) -> None:
        """Where nothing has to be evicted, nobody meets them."""
        self._small = deque(extent for extent in self._small if extent.queue == SMALL)
        self._main = deque(extent for extent in self._main if extent.queue == MAIN)
        self._left = 0

    def pick(self, wanted: int, steps: int) -> list[Extent]:
        """Extents of at least ``wanted`` bytes in all, or what ``steps`` looks at the queues turned up."""
        chosen: list[Extent] = []
        found = 0
        while found < wanted and steps > 0 and (self._small or self._main):
            steps -= 1
            extent = self._pick_small() if self._prefers_small() else self._pick_main()
            if extent is not None:
                chosen.append(extent)
                found += extent.size
        return chosen

    def _prefers_small(self) -> bool:
        if not self._main:
            return True
        total = self._small_bytes + self._main_bytes
        return bool(self._small) and self._small_bytes * SMALL_SHARE >= total

    def _pick_small(self) -> Extent | None:
        extent = self._small.popleft()
        if extent.queue != SMALL:
            self._left -= 1
            return None
        self._small_bytes -= extent.size
        if extent.frequency > 0 or extent.is_read:
            extent.frequency = 0
            self._enter_main(extent)
            return None
        extent.queue = NONE
        self._ghosts[(extent.digest, extent.start)] = None
        if len(self._ghosts) > self._ghost_limit:
            self._ghosts.popitem(last=False)
        return extent

    def _pick_main(self) -> Extent | None:
        extent = self._main.popleft()
        if extent.queue != MAIN:
            self._left -= 1
            return None
        if extent.frequency > 0 or extent.is_read:
            extent.frequency = max(0, extent.frequency - 1)
            self._main.append(extent)
            return None
        self._main_bytes -= extent.size
        extent.queue = NONE
        return extent


class Unqueued(EvictionQueues):
    """For a store whose extents are evicted by somebody else: they are counted only."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    @property
    def extents(self) -> int:
        return self._count

    def add(self, extent: Extent) -> None:
        extent.queue = MAIN
        self._count += 1

    def add_known(self, extent: Extent) -> None:
        self.add(extent)

    def remove(self, extent: Extent) -> None:
        if extent.queue != NONE:
            extent.queue = NONE
            self._count -= 1
