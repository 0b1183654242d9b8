"""What the store knows about one object, in memory and on the loop thread only."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol

from fastcache._core.extent_codec import FileHeader
from fastcache._core.extents import ExtentState
from fastcache._core.intervals import Intervals
from fastcache._core.ordering import Latest
from fastcache.model import FenceToken, HeadRecord, Identity
from fastcache.policy.stored_headers import lasting_headers
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


class Extent(ExtentState):
    """One immutable file: an interval of a generation, or a whole small object.

    The base holds what the hit path reads: ``start``, ``end``, ``fd`` (owned by the descriptor cache; open as long as
    the extent is pinned, and some time after), which blocks this process has checked, and uses for the evictor.
    """

    __slots__ = ("closing", "digest", "doomed", "header", "leased", "linked", "pins", "queue", "size", "tag", "whole")

    def __init__(self, digest: bytes, tag: bytes, start: int, end: int, *, whole: bool, size: int) -> None:
        super().__init__(start, end)
        self.digest = digest
        self.tag = tag
        self.whole = whole
        self.size = size
        """Bytes taken from the disk, counted until the file is unlinked *and* closed."""
        self.closing = 0
        """Descriptors given to an I/O thread to close."""
        self.pins = 0
        self.leased = 0
        """How many of the pins are leases': those end when the extent is evicted, so they do not keep it."""
        self.header: FileHeader | None = None
        self.queue = 0
        """Which of the eviction queues holds it."""
        self.linked = True
        self.doomed = False

    @property
    def is_read(self) -> bool:
        """Whether a reader holds it open now."""
        return self.pins > self.leased

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


class Lease(Protocol):
    """A permission to answer from an entry without asking the engine; it rests on the entry as it was."""

    def revoke(self) -> None:
        """End it; what is being sent under it may go on."""
        ...


class Entry:
    """An object: its current head, what proves it, and the extents of the head's generation.

    Read its public fields freely; only the store changes them. Whatever a lease rests on takes the leases with it when
    it changes, so that nobody has to remember to revoke them; a proof that is renewed leaves them as they are.
    """

    __slots__ = (
        "_head",
        "_validation",
        "_voided",
        "changes",
        "directory",
        "disk_head",
        "doomed",
        "extents",
        "latest",
        "leases",
        "loaded",
        "object_id",
        "overhead",
        "users",
        "void_on_disk",
    )

    def __init__(self, object_id: Identity, sent: int = 0) -> None:
        self.object_id = object_id
        self.leases: set[Lease] = set()
        self._head: HeadRecord | None = None
        self._validation: Validation | None = None
        self._voided = False
        self.latest = Latest(sent)
        """The latest request whose answer was taken; under a lease, the hit branch takes answers too."""
        self.extents: Intervals[Extent] = Intervals()
        """The committed extents of the head's generation."""
        self.loaded = False
        self.changes = 0
        """In a directory that is shared: how often files of such objects had been changed when it was read."""
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
    def head(self) -> HeadRecord | None:
        """The current generation and its header set; None when nothing is known."""
        return self._head

    @head.setter
    def head(self, head: HeadRecord | None) -> None:
        if head is None or not same_content(head, self._head):
            self.revoke_leases()
        self._head = head

    @property
    def validation(self) -> Validation | None:
        """What proves the head; None when it has to be proved before it is used."""
        return self._validation

    @validation.setter
    def validation(self, validation: Validation | None) -> None:
        if validation is None:
            self.revoke_leases()
        self._validation = validation

    @property
    def voided(self) -> bool:
        """A write of the object was forwarded: the head must be proved again, and may not even serve as stale."""
        return self._voided

    @voided.setter
    def voided(self, voided: bool) -> None:
        if voided:
            self.revoke_leases()
            self.doubt_volatile()
        self._voided = voided

    def doubt_volatile(self) -> None:
        """A write was forwarded that may have changed what changes without a new ETag (SEMANTICS 17): such fields leave
        the header set until an answer brings it anew."""
        head = self._head
        if head is not None and len(headers := lasting_headers(head.headers)) < len(head.headers):
            self.head = replace(head, headers=headers)

    @property
    def sent(self) -> int:
        """The sequence number of the latest request whose answer was taken."""
        return self.latest.number

    @sent.setter
    def sent(self, number: int) -> None:
        self.latest.number = number

    def revoke_leases(self) -> None:
        """End every lease on this entry."""
        if self.leases:
            leases, self.leases = self.leases, set()
            for lease in leases:
                lease.revoke()

    @property
    def on_disk(self) -> bool:
        return self.directory or len(self.extents) > 0 or any(extent.linked for extent in self.doomed)

    @property
    def counted(self) -> int:
        """Bytes of its files that have a name, as they are counted."""
        of_extents: int = sum(extent.size for extent in (*self.extents, *self.doomed) if extent.linked)
        return self.overhead + of_extents

    def is_generation(self, tag: bytes) -> bool:
        return self._head is not None and self._head.generation.tag == tag


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
