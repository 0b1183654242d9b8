"""What the other workers of this host have under way to the origin, and what they are told of ours.

All of it is a hint: who waits for another worker waits for a bounded time, and looks for the bytes afterwards as if
nobody had promised them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator

from fastcache._core.fill_claims import UNKNOWN_END, Claim, Phase, Seen
from fastcache.model import Interval, ObjectId
from fastcache.policy.read_request import ReadRequest
from fastcache.storage.neighbour_fill import NeighbourFill
from fastcache.storage.shared_store import SharedStore

_TELL_EVERY = 0.2
"""Seconds after which another worker is told again that somebody here waits."""
_WHOLE = Interval(0, UNKNOWN_END)


class NeighbourLeader:
    """A request of another worker on its way to the origin."""

    __slots__ = ("_seen", "_watch")

    def __init__(self, seen: Seen, store: SharedStore) -> None:
        self._seen = seen
        self._watch = store.lookout.watch(seen.phase)

    @property
    def landed(self) -> bool:
        """Its head is there, or never will be."""
        return self._seen.phase() is not Phase.ASKING

    async def head_within(self, seconds: float) -> None:
        """Wait for the head, at most ``seconds``. The other worker knows by it that its first bytes are wanted here."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not self.landed and (left := deadline - loop.time()) > 0:
            self._seen.look(0, int(loop.time() * 1000))
            await self._watch.changed(min(left, _TELL_EVERY))


class Elsewhere:
    """One worker's view of the others. Loop thread only."""

    def __init__(
        self, store: SharedStore, follow_wait: float,
        store_behind: Callable[[bytes, Coroutine[None, None, None]], None],
    ) -> None:  # fmt: skip
        """``store_behind`` runs what goes to the disk, for whose end readers of the object wait."""
        self._store = store
        self._follow_wait = follow_wait
        self._store_behind = store_behind

    def announce(self, read: ReadRequest, *, sent: bool) -> Claim | None:
        """Tell the others of a request; None when they cannot be told."""
        asked = _asked_by(read)
        if asked is None:
            return None
        claim = self._store.claim(read.object_id, asked)
        if claim is not None and sent:
            claim.note_sent()
        return claim

    def leader_for(self, read: ReadRequest, before: Claim | None = None) -> NeighbourLeader | None:
        """A request under way whose answer would hold every byte of this one's; only one that was announced ``before``
        ours, if we have announced it."""
        mine = _asked_by(read)
        if mine is None:
            return None
        for seen in self._asking(read.object_id, before):
            theirs = Interval(seen.start, seen.end)
            if theirs == _WHOLE or theirs.contains(mine):
                return NeighbourLeader(seen, self._store)
        return None

    def asked_for(
        self, object_id: ObjectId, intervals: Iterable[Interval], before: Claim | None = None, *, unsent: bool = False
    ) -> NeighbourLeader | None:
        """A request that was sent, or is about to be, and will bring some of the bytes in ``intervals``."""
        for seen in self._touching(object_id, intervals, before):
            if unsent or seen.sent():
                return NeighbourLeader(seen, self._store)
        return None

    def _touching(self, object_id: ObjectId, intervals: Iterable[Interval], before: Claim | None) -> Iterator[Seen]:
        for seen in self._asking(object_id, before):
            if any(seen.start < wanted.end and wanted.start < seen.end for wanted in intervals):
                yield seen

    def _asking(self, object_id: ObjectId, before: Claim | None) -> list[Seen]:
        return [
            seen
            for seen in self._store.claims_of(object_id)
            if seen.phase() is Phase.ASKING and (before is None or seen.ticket < before.ticket)
        ]

    def is_first(self, read: ReadRequest, claim: Claim, lacking: Iterable[Interval]) -> bool:
        """Whether nobody else had announced a request that brings these bytes when we did, or some of what is
        ``lacking``, nor is storing them."""
        if self.leader_for(read, claim) is not None or any(self._touching(read.object_id, lacking, claim)):
            return False
        return not any(self._brings(fill, read) for fill in self.fills_of(read.object_id))

    def _brings(self, fill: NeighbourFill, read: ReadRequest) -> bool:
        mine = _WHOLE if read.range is None else read.absolute_interval()
        if mine is None or not self._store.is_current(read.object_id, fill.token):
            return False
        wanted = Interval(mine.start, min(mine.end, fill.record.generation.size))
        return wanted.length > 0 and fill.interval.contains(wanted) and fill.brings(wanted, self._follow_wait)

    def fills_of(self, object_id: ObjectId) -> tuple[NeighbourFill, ...]:
        """What others are storing of an object. What a dead one left behind is stored by us, if we are the first."""
        fills = self._store.fills_elsewhere(object_id)
        for fill in fills:
            if fill.died and fill.take_over():
                self._store_behind(object_id.digest, self._store.inherit(object_id, fill))
        return tuple(fill for fill in fills if not fill.died)


def _asked_by(read: ReadRequest) -> Interval | None:
    """What a request asks for, as a claim says it: the last bytes of an object lie beyond every size. None for parts,
    which lie nobody knows where."""
    if read.part is not None:
        return None
    if read.range is None:
        return _WHOLE
    if read.range.first is None:
        return Interval(UNKNOWN_END, UNKNOWN_END + min(read.range.suffix or 0, UNKNOWN_END - 1))
    return read.absolute_interval()
