"""What the store knows about one object, in memory and on the loop thread only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from fastcache._core.extent_codec import FileHeader
from fastcache.model import FenceToken, HeadRecord, Interval, ObjectId
from fastcache.storage import layout

DISK_BLOCK = 4096


def disk_bytes(size: int) -> int:
    """What a file of ``size`` bytes takes from the disk, in whole blocks."""
    return -(-size // DISK_BLOCK) * DISK_BLOCK


class Validation(NamedTuple):
    """When the current head was last proved by the origin, under which fences, by the how-manieth request."""

    at: float
    """CLOCK_BOOTTIME seconds."""
    token: FenceToken
    sent: int


class Extent:
    """One immutable file: an interval of a generation, or a whole small object."""

    __slots__ = (
        "closing",
        "digest",
        "doomed",
        "end",
        "fd",
        "frequency",
        "header",
        "linked",
        "pins",
        "queue",
        "size",
        "start",
        "tag",
        "verified",
        "whole",
    )

    def __init__(self, digest: bytes, tag: bytes, start: int, end: int, *, whole: bool, size: int) -> None:
        self.digest = digest
        self.tag = tag
        self.start = start
        self.end = end
        self.whole = whole
        self.size = size
        """Bytes taken from the disk, counted until the file is unlinked *and* closed."""
        self.fd = -1
        """Owned by the descriptor cache; open as long as the extent is pinned, and some time after."""
        self.closing = 0
        """Descriptors given to an I/O thread to close."""
        self.pins = 0
        self.header: FileHeader | None = None
        self.verified = 0
        """Bit n is set when this process has checked block n."""
        self.frequency = 0
        self.queue = 0
        """Which of the eviction queues holds it."""
        self.linked = True
        self.doomed = False

    @property
    def gone(self) -> bool:
        """Whether the file's blocks are free: no name, no descriptor."""
        return not self.linked and self.fd < 0 and not self.closing and not self.pins

    @property
    def path(self) -> str:
        """Relative to the cache directory."""
        if self.whole:
            return layout.object_file(self.digest)
        return f"{layout.object_directory(self.digest)}/{self.name}"

    @property
    def name(self) -> str:
        return layout.extent_name(self.tag, self.start, self.end)


class Extents:
    """The committed extents of one generation, sorted. None lies within another, so that both ends ascend."""

    __slots__ = ("_items", "_starts")

    def __init__(self) -> None:
        self._items: list[Extent] = []
        self._starts: list[int] = []

    def __iter__(self) -> Iterator[Extent]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def add(self, extent: Extent) -> list[Extent]:
        """Take ``extent`` in; what is no longer needed is returned: those it contains, or itself if it is contained."""
        at = bisect_right(self._starts, extent.start)
        before = self._items[at - 1] if at else None
        if before is not None and extent.end <= before.end:
            return [extent]
        first = at - 1 if before is not None and before.start == extent.start else at
        last = first
        while last < len(self._items) and self._items[last].end <= extent.end:
            last += 1
        contained = self._items[first:last]
        self._items[first:last] = [extent]
        self._starts[first:last] = [extent.start]
        return contained

    def remove(self, extent: Extent) -> bool:
        """Forget ``extent``; False when it is not here."""
        at = bisect_right(self._starts, extent.start) - 1
        if at < 0 or self._items[at] is not extent:
            return False
        del self._items[at], self._starts[at]
        return True

    def clear(self) -> list[Extent]:
        items, self._items, self._starts = self._items, [], []
        return items

    def covered_until(self, offset: int) -> int:
        """The end of the extent that holds byte ``offset`` and reaches farthest, or ``offset`` itself."""
        at = bisect_right(self._starts, offset) - 1
        return max(offset, self._items[at].end) if at >= 0 else offset

    def next_start(self, offset: int, default: int) -> int:
        """Where the first extent after ``offset`` begins, at most ``default``."""
        at = bisect_right(self._starts, offset)
        return min(default, self._starts[at]) if at < len(self._starts) else default

    def gaps(self, interval: Interval) -> list[Interval]:
        """The parts of ``interval`` that no extent holds, ascending."""
        gaps: list[Interval] = []
        offset = interval.start
        while offset < interval.end:
            covered = self.covered_until(offset)
            if covered > offset:
                offset = covered
                continue
            end = self.next_start(offset, interval.end)
            gaps.append(Interval(offset, end))
            offset = end
        return gaps

    def cover(self, interval: Interval) -> list[Extent] | None:
        """The fewest extents that together hold all of ``interval``, ascending; None when there is a gap."""
        chosen: list[Extent] = []
        offset = interval.start
        while offset < interval.end:
            at = bisect_right(self._starts, offset) - 1
            if at < 0 or self._items[at].end <= offset:
                return None
            chosen.append(self._items[at])
            offset = self._items[at].end
        return chosen


class Entry:
    """An object: its current head, what proves it, and the extents of the head's generation.

    Read its public fields freely; only the store changes them.
    """

    __slots__ = (
        "directory",
        "disk_head",
        "doomed",
        "extents",
        "head",
        "loaded",
        "object_id",
        "overhead",
        "sent",
        "users",
        "validation",
        "void_on_disk",
        "voided",
    )

    def __init__(self, object_id: ObjectId, sent: int = 0) -> None:
        self.object_id = object_id
        self.head: HeadRecord | None = None
        self.validation: Validation | None = None
        self.sent = sent
        """The sequence number of the latest request whose answer was taken."""
        self.extents = Extents()
        self.voided = False
        """A write of the object was forwarded: the head must be proved again, and may not even serve as stale."""
        self.loaded = False
        self.users = 0
        """Fills, readers and disk operations under way: an entry in use is not forgotten."""
        self.doomed: list[Extent] = []
        """No longer part of the object, not yet gone from the disk."""
        self.disk_head: HeadRecord | None = None
        """What the head file (or the whole object's file) says."""
        self.directory = False
        self.overhead = 0
        """Bytes of the object's directory and head file."""
        self.void_on_disk = False

    @property
    def on_disk(self) -> bool:
        return self.directory or len(self.extents) > 0 or any(extent.linked for extent in self.doomed)

    def is_generation(self, tag: bytes) -> bool:
        return self.head is not None and self.head.generation.tag == tag


def same_content(left: HeadRecord | None, right: HeadRecord | None) -> bool:
    """Whether two heads would be replayed alike: everything but the time of the answer."""
    if left is None or right is None:
        return left is right
    return (
        left.generation == right.generation
        and left.headers == right.headers
        and left.checksum_state == right.checksum_state
        and left.checksums == right.checksums
        and left.parts == right.parts
        and left.parts_count == right.parts_count
    )
