"""What is under way to the origin, per object: leaders whose head is awaited, and fills that can be followed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable

from fastcache._core.fill_claims import Claim
from fastcache.engine.channel import ClientGoneError
from fastcache.engine.elsewhere import Elsewhere, NeighbourLeader
from fastcache.engine.fill import Fill
from fastcache.model import Interval, ObjectId
from fastcache.policy.read_request import ReadRequest
from fastcache.storage.neighbour_fill import NeighbourFill

_NO_WAIT = 2.0
"""Seconds for which nobody waits for a leader after one whose answer could not be followed."""
_NO_WAIT_LIMIT = 10_000


def overlap(left: Interval, right: Interval) -> bool:
    return left.start < right.end and right.start < left.end


class Leader:
    """A request on its way to the origin; its head releases everyone who waits, all at once."""

    __slots__ = ("_done", "_flights", "claim", "object_id", "read", "sent")

    def __init__(
        self, flights: Flights, object_id: ObjectId, read: ReadRequest, *, sent: bool = False,
        claim: Claim | None = None,
    ) -> None:  # fmt: skip
        self._flights = flights
        self.object_id = object_id
        self.read = read
        self.sent = sent
        """Its request is on its way, and asks for just what ``read`` says."""
        self.claim = claim
        """What tells other workers of it."""
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __enter__(self) -> Leader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # A client that left says nothing about the object: one of those who wait leads next.
        self.land(followable=isinstance(error, asyncio.CancelledError | ClientGoneError))

    def land(self, *, followable: bool) -> None:
        """The head is here (or never will be)."""
        if not self._done.done():
            self._done.set_result(None)
            if self.claim is not None:
                self.claim.end()
            self._flights.landed(self, followable=followable)

    def note_sent(self) -> None:
        """Its request goes out now, for just what ``read`` says."""
        self.sent = True
        if self.claim is not None:
            self.claim.note_sent()

    @property
    def landed(self) -> bool:
        return self._done.done()

    async def head_within(self, seconds: float) -> None:
        """Wait for the head, at most ``seconds``."""
        await asyncio.wait((self._done,), timeout=seconds)


class Flights:
    """Keyed by object digest. Loop thread only."""

    def __init__(self) -> None:
        self._leaders: dict[bytes, list[Leader]] = {}
        self._fills: dict[bytes, list[Fill]] = {}
        self._provers: dict[bytes, Leader] = {}
        self._no_wait: dict[bytes, float] = {}
        self._storing: dict[bytes, set[asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._behind: set[asyncio.Task[None]] = set()
        self.elsewhere: Elsewhere | None = None
        """Other workers of this host; None where there can be none."""

    def lead(self, object_id: ObjectId, read: ReadRequest, *, sent: bool = False) -> Leader:
        """Announce a request to the origin that others may wait for; ``sent`` if it goes out now."""
        claim = None if self.elsewhere is None else self.elsewhere.announce(read, sent=sent)
        leader = Leader(self, object_id, read, sent=sent, claim=claim)
        self._leaders.setdefault(object_id.digest, []).append(leader)
        return leader

    def prove(self, read: ReadRequest) -> Leader:
        """Announce a request that asks whether what is stored is current; others wait for it, whatever its range."""
        leader = self._provers[read.object_id.digest] = Leader(self, read.object_id, read)
        return leader

    def prover_of(self, object_id: ObjectId) -> Leader | None:
        """Such a request that is under way."""
        return self._provers.get(object_id.digest)

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run ``work`` behind the requests; it is cancelled when the flights are closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def spawn_behind(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """The same for what goes to the disk: it is waited for when the flights are closed."""
        task = self.spawn(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)
        return task

    def landed(self, leader: Leader, *, followable: bool) -> None:
        """Called by the leader itself."""
        digest = leader.object_id.digest
        if self._provers.get(digest) is leader:
            del self._provers[digest]
            return
        leaders = self._leaders.get(digest, [])
        if leader in leaders:
            leaders.remove(leader)
            if not leaders:
                del self._leaders[digest]
        if followable:
            self._no_wait.pop(digest, None)
        else:
            if len(self._no_wait) >= _NO_WAIT_LIMIT:
                self._no_wait.clear()
            self._no_wait[digest] = asyncio.get_running_loop().time() + _NO_WAIT

    def leader_for(self, read: ReadRequest) -> Leader | NeighbourLeader | None:
        """A request under way, here or in another worker, whose answer would hold every byte of this one's."""
        digest = read.object_id.digest
        if not self._is_followable(digest):
            return None
        for leader in self._leaders.get(digest, ()):
            if read.is_within(leader.read):
                return leader
        return None if self.elsewhere is None else self.elsewhere.leader_for(read)

    def asked_for(
        self, object_id: ObjectId, intervals: Iterable[Interval], *, before: Leader | None = None, unsent: bool = False
    ) -> Leader | NeighbourLeader | None:
        """A request that was sent and will bring some of the bytes in ``intervals``; only one that was announced
        ``before``, so that no two wait for each other. In other workers also one that is about to be, where ``unsent``
        says so: for those who have announced nothing that others wait for."""
        wanted = tuple(intervals)
        if not wanted or not self._is_followable(object_id.digest):
            return None
        for leader in self._leaders.get(object_id.digest, ()):
            if leader is before:
                break
            if leader.sent and any(leader.read.touches(interval) for interval in wanted):
                return leader
        if self.elsewhere is None or (before is not None and before.claim is None):
            return None
        return self.elsewhere.asked_for(object_id, wanted, None if before is None else before.claim, unsent=unsent)

    def is_first(self, leader: Leader, lacking: Iterable[Interval]) -> bool:
        """Whether no other worker was there before with a request, or a fill, that brings what this one asks for; or
        with a request for some of what is ``lacking``, where only that would be asked for."""
        if self.elsewhere is None or leader.claim is None or not self._is_followable(leader.object_id.digest):
            return True
        return self.elsewhere.is_first(leader.read, leader.claim, tuple(lacking))

    def _is_followable(self, digest: bytes) -> bool:
        """Whether answers about an object can be followed, as far as that is known."""
        until = self._no_wait.get(digest)
        if until is None:
            return True
        if asyncio.get_running_loop().time() < until:
            return False
        del self._no_wait[digest]
        return True

    def add(self, fill: Fill) -> None:
        """Make a fill known until it has ended and is stored."""
        self._fills.setdefault(fill.object_id.digest, []).append(fill)
        fill.when_closed = self._forget

    def _forget(self, fill: Fill) -> None:
        fills = self._fills[fill.object_id.digest]
        fills.remove(fill)
        if not fills:
            del self._fills[fill.object_id.digest]

    def store_behind(self, digest: bytes, work: Coroutine[None, None, None]) -> None:
        """Store an upload behind its answer. ``digest`` is the object's, whose readers wait for it meanwhile as for a
        fill, or that of a multipart upload."""
        task = self.spawn_behind(work)
        storing = self._storing.setdefault(digest, set())
        storing.add(task)
        task.add_done_callback(lambda _: self._end_storing(digest, task))

    async def stored_behind(self, digest: bytes, seconds: float) -> None:
        """Wait for what is being stored so, at most ``seconds``."""
        storing = self._storing.get(digest)
        if storing:
            await asyncio.wait(storing, timeout=seconds)

    def _end_storing(self, digest: bytes, task: asyncio.Task[None]) -> None:
        storing = self._storing[digest]
        storing.discard(task)
        if not storing:
            del self._storing[digest]

    def is_storing(self, object_id: ObjectId, interval: Interval) -> bool:
        """Whether bytes of ``interval`` may be on their way to the disk."""
        if object_id.digest in self._storing:
            return True
        return any(overlap(fill.interval, interval) for fill in self.fills_of(object_id))

    def fills_of(self, object_id: ObjectId) -> tuple[Fill | NeighbourFill, ...]:
        """Fills of an object, oldest first, ours before those of other workers."""
        ours = tuple(self._fills.get(object_id.digest, ()))
        return ours if self.elsewhere is None else ours + self.elsewhere.fills_of(object_id)

    async def settled(self, object_id: ObjectId, interval: Interval, seconds: float) -> None:
        """Wait until the fills of some of ``interval`` whose transfer has ended, and uploads, are committed, at most
        ``seconds``."""
        ended = [fill for fill in self.fills_of(object_id) if fill.ended and overlap(fill.interval, interval)]
        storing = self._storing.get(object_id.digest)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if storing:
                    await asyncio.wait(storing)
                for fill in ended:
                    await fill.run_to_end()

    def active(self) -> int:
        """Fills under way or being committed, and uploads being committed."""
        return sum(map(len, self._fills.values())) + sum(map(len, self._storing.values()))

    async def close(self, within: float = 5.0) -> None:
        """Stop all fills and wait for their prefixes to be committed, at most so many seconds: a disk that does not
        answer must not keep the process from ending."""
        fills = [fill for fills in self._fills.values() for fill in fills]
        for fill in fills:
            fill.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                for fill in fills:
                    await fill.run_to_end()
                if self._behind:
                    await asyncio.wait(self._behind)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
