"""What is known of objects in memory, within a bound: the longest unused are forgotten, and read from the disk again.

Nothing is lost with them but the proof of their freshness: the next request for such an object asks the origin.
"""

from __future__ import annotations

from fastcache.model import Identity
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import Entry
from fastcache.storage.evictor import Evictor

OBJECT_BYTES = 3584
"""What an object takes in memory, with a head of eight fields: an estimate, from the growth of a process."""
EXTENT_BYTES = 320
"""What each of its extents takes while its file is closed."""
LOOKS = 8
"""Objects looked at in one go, so that no request pays for what many brought."""


class KnownObjects:
    """The objects in memory; at most about ``limit`` bytes of them, but always the one that was asked for last, and
    whatever is in use or leased."""

    def __init__(self, disk: ObjectDisk, evictor: Evictor, limit: int) -> None:
        self._disk = disk
        self._entries = disk.entries
        self._evictor = evictor
        self._limit = limit
        self._forgotten_sent = 0

    @property
    def size(self) -> int:
        """Bytes, as estimated."""
        return len(self._entries) * OBJECT_BYTES + self._disk.queues.extents * EXTENT_BYTES

    def entry(self, oid: Identity) -> Entry:
        """The object's entry, which may be one that says nothing yet."""
        entry = self._entries.get(oid.digest)
        if entry is not None:
            self._entries.move_to_end(oid.digest)
        self._forget_some(entry)
        if entry is None:
            # An answer older than what was forgotten might be older than the object's last head.
            entry = self._entries[oid.digest] = Entry(oid, self._forgotten_sent)
        return entry

    def _forget_some(self, asked: Entry | None) -> None:
        for _ in range(LOOKS):
            if self.size < self._limit or not self._entries:
                return
            digest, entry = next(iter(self._entries.items()))
            if entry is asked:
                return  # whatever is left is in use
            in_use = entry.users or entry.doomed or entry.leases or self._disk.locks.is_held(digest)
            # The mark on the disk says it as well; of what is not there, nothing has to be said.
            told = not entry.voided or entry.void_on_disk or (entry.loaded and not entry.on_disk)
            if in_use or not told:
                self._entries.move_to_end(digest)
                continue
            del self._entries[digest]
            entry.validation = None  # who still has it must lease nothing on what nobody would end
            self._forgotten_sent = max(self._forgotten_sent, entry.sent)
            self._evictor.forget(entry)
