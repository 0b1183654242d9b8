"""What workers tell the keeper, as messages on a socket: whose files changed, what is used, that room is wanted.

Nothing here is needed for a right answer. What is lost costs the keeper its idea of how much is stored until it looks
again, or an extent its place; so a message that does not fit into the socket waits, and the latest state is told when
it does.
"""

from __future__ import annotations

import enum
import socket
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastcache._core.shared import Cell, SharedMemory
from fastcache.storage.entry import Entry, Extent
from fastcache.storage.space import Space

MOST_IN_A_MESSAGE = 256
_HEAD = struct.Struct("=IIQQ")
_DIGEST = 32
_USE = struct.Struct(f"={_DIGEST}sQ")
_ROOM = struct.Struct("=Q")
LONGEST = _HEAD.size + MOST_IN_A_MESSAGE * _USE.size


class Kind(enum.IntEnum):
    CHANGED = 1
    USED = 2
    ROOM = 3


@dataclass(frozen=True, slots=True)
class Report:
    """One message, read."""

    place: int
    incarnation: int
    sequence: int
    changed: tuple[bytes, ...] = ()
    used: tuple[tuple[bytes, int], ...] = ()
    """Digest and start of extents that were used since the last report of them."""
    room: int = 0


def parse(message: bytes) -> Report | None:
    """The reverse of what ``Reports`` sends; None for anything else."""
    if len(message) < _HEAD.size:
        return None
    kind, place, incarnation, sequence = _HEAD.unpack_from(message)
    body = message[_HEAD.size :]
    if kind == Kind.CHANGED and len(body) % _DIGEST == 0:
        digests = tuple(body[at : at + _DIGEST] for at in range(0, len(body), _DIGEST))
        return Report(place, incarnation, sequence, changed=digests)
    if kind == Kind.USED and len(body) % _USE.size == 0:
        return Report(place, incarnation, sequence, used=tuple(_USE.iter_unpack(body)))
    if kind == Kind.ROOM and len(body) == _ROOM.size:
        return Report(place, incarnation, sequence, room=_ROOM.unpack(body)[0])
    return None


@dataclass(slots=True)
class _Counted:
    """What is counted here until the keeper has acted upon the report with this number."""

    sequence: int
    entries: dict[bytes, Entry]
    extents: list[Extent] = field(default_factory=list)


class Reports:
    """A worker's side. ``flush`` sends; nothing else does, so that many changes are one message."""

    def __init__(self, channel: socket.socket, memory: SharedMemory, place: int) -> None:
        self._channel = channel
        self._memory = memory
        self._place = place
        self._incarnation = memory.get(place, Cell.INCARNATION)
        self._sequence = 0
        self._changed: dict[bytes, Entry] = {}
        self._extents: list[Extent] = []
        self._used: list[tuple[bytes, int]] = []
        self._room = 0
        self._unacknowledged: deque[_Counted] = deque()

    # -- from the store (``sharing.Telling``)

    def changed(self, entry: Entry) -> None:
        digest = entry.object_id.digest
        if digest not in self._changed:
            entry.users += 1  # not to be forgotten while its bytes are counted here
            self._changed[digest] = entry

    def counted(self, entry: Entry, extent: Extent) -> None:
        self.changed(entry)
        self._extents.append(extent)

    def used(self, extents: Iterable[Extent]) -> None:
        """These were used since they were last told of; a report of it may be lost."""
        self._used = [(extent.digest, extent.start) for extent in extents][:MOST_IN_A_MESSAGE]

    def want_room(self, size: int) -> None:
        """The file system is full although the capacity is not reached: so much should be evicted."""
        self._room = max(self._room, size)

    # -- to the keeper

    def flush(self) -> None:
        """Send what there is to tell, as far as the socket takes it."""
        while self._changed:
            digests = list(self._changed)[:MOST_IN_A_MESSAGE]
            if not self._send(Kind.CHANGED, b"".join(digests)):
                break
            entries = {digest: self._changed.pop(digest) for digest in digests}
            told = [extent for extent in self._extents if extent.digest in entries]
            self._extents = [extent for extent in self._extents if extent.digest not in entries]
            self._unacknowledged.append(_Counted(self._sequence, entries, told))
        if self._used:
            self._send(Kind.USED, b"".join(_USE.pack(*use) for use in self._used))
            self._used = []
        if self._room and self._send(Kind.ROOM, _ROOM.pack(self._room)):
            self._room = 0

    def _send(self, kind: Kind, body: bytes) -> bool:
        head = _HEAD.pack(kind, self._place, self._incarnation, self._sequence + 1)
        try:
            self._channel.send(head + body, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            return False  # no room, or no keeper for the moment: later
        self._sequence += 1
        return True

    def settle(self, space: Space) -> None:
        """Stop counting what the keeper counts by now."""
        done = self._memory.get(self._place, Cell.ACKNOWLEDGED)
        while self._unacknowledged and self._unacknowledged[0].sequence <= done:
            counted = self._unacknowledged.popleft()
            for extent in counted.extents:
                if extent.linked:  # else it is counted until it is closed, and nobody else does that
                    space.free(extent.size)
                    extent.size = 0
            for entry in counted.entries.values():
                space.free(entry.overhead)
                entry.overhead = 0
                entry.users -= 1
