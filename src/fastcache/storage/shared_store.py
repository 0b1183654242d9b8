"""A worker's store: one of several on a directory, in which another process evicts."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict

from fastcache._core.extent_codec import decode_head, encode_head
from fastcache._core.fences import Fences
from fastcache._core.fill_claims import Claim, FillClaims, Phase, Seen
from fastcache._core.generations import Lesson
from fastcache._core.shared import Cell
from fastcache.clock import Clock
from fastcache.errors import CorruptFileError, StorageError
from fastcache.model import FenceToken, HeadRecord, Interval, ObjectId
from fastcache.storage.directory import CacheDirectory
from fastcache.storage.entry import Entry, Extent
from fastcache.storage.io_threads import IoThreads
from fastcache.storage.lookout import Lookout
from fastcache.storage.metrics import StoreCounter, StoreMetrics
from fastcache.storage.neighbour_fill import READ_AT_ONCE, NeighbourFill, OpenPart
from fastcache.storage.reader import RangeReader
from fastcache.storage.reconciling import lose
from fastcache.storage.reports import Reports
from fastcache.storage.settings import StoreSettings
from fastcache.storage.sharing import KEEPER, Share
from fastcache.storage.store import QUEUE_LIMIT, Store
from fastcache.storage.writer import FillWriter

TICK = 0.05
"""Seconds between two looks at what the others did; an evicted file that nobody reads is closed within two of them."""
_RENEWALS = 4096
_USES_EVERY = 20
"""Ticks between two reports of what was used."""


class SharedStore(Store):
    """Reads an object's directory again when another process changed it and what memory says would not do."""

    def __init__(
        self, settings: StoreSettings, held: CacheDirectory, fences: Fences, clock: Clock, metrics: StoreMetrics,
        share: Share, reports: Reports,
    ) -> None:  # fmt: skip
        io = IoThreads(settings.io_threads, QUEUE_LIMIT, clock, metrics)
        super().__init__(settings, held, io, fences, clock, metrics, share)
        self._memory = share.memory
        self._reports = reports
        self._generations = share.generations
        self._renewals: OrderedDict[bytes, tuple[FenceToken, FenceToken]] = OrderedDict()
        self._seen_evictions = self._memory.get(KEEPER, Cell.EVICTIONS)
        self._claims = FillClaims(share.memory, share.owner)
        self._neighbour_fills: dict[tuple[int, int], NeighbourFill] = {}
        self.lookout = Lookout()
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="fastcache-watch")

    async def close(self) -> None:
        self._watching.cancel()
        await asyncio.wait({self._watching})
        await super().close()
        self._reports.flush()

    # -- heads

    def publish_head(
        self, oid: ObjectId, record: HeadRecord, token: FenceToken, sent: int, *, at: float | None = None
    ) -> FenceToken | None:
        agreed = self._agree(oid, record, token, sent)
        published = None if agreed is None else super().publish_head(oid, record, agreed, sent, at=at)
        if published is None:
            self.forget_elsewhere(oid)
        return published

    def validate(self, oid: ObjectId, token: FenceToken, sent: int, at: float) -> bool:
        entry = self._entries.get(oid.digest)
        if entry is None or entry.head is None:
            return False
        agreed = self._agree(oid, entry.head, token, sent)
        if agreed is None or not self._fences.is_current(oid, agreed):
            self.forget_elsewhere(oid)
            return False
        return super().validate(oid, agreed, sent, at)

    def begin_fill(
        self, oid: ObjectId, record: HeadRecord, token: FenceToken, sent: int, interval: Interval
    ) -> FillWriter | None:
        writer = super().begin_fill(oid, record, self._renewed(oid, token), sent, interval)
        if writer is not None:
            writer.claim = self._claim_fill(oid, writer)
        return writer

    def forget_elsewhere(self, oid: ObjectId) -> None:
        if self._generations is not None:
            self._fences.raise_object(oid)

    def _agree(self, oid: ObjectId, record: HeadRecord, token: FenceToken, sent: int) -> FenceToken | None:
        """Nobody answers with what our answer shows to be replaced, nor we with what another's answer does.

        Where others may hold another generation for current, all proofs but ours are made outdated. None: an answer to
        a later request was taken by another process, or the object was written meanwhile. Our client gets the answer
        all the same, and nobody can tell in which order the origin made them: then no proof at all may count after it.
        """
        token = self._renewed(oid, token)
        if self._generations is None:
            return token
        tag = record.generation.tag
        lesson = self._generations.learn(oid.digest, tag, sent)
        if lesson is not Lesson.CHANGED:
            return token if lesson is Lesson.KNOWN else None
        renewed = self._fences.raise_if_current(oid, token)
        if renewed is None or self._generations.learn(oid.digest, tag, sent, True) is Lesson.OUTDATED:
            return None
        self._renewals[oid.digest] = token, renewed
        if len(self._renewals) > _RENEWALS:
            self._renewals.popitem(last=False)
        return renewed

    def _renewed(self, oid: ObjectId, token: FenceToken) -> FenceToken:
        """What we made of a token ourselves: answers that were under way beside the one that did it count as well."""
        before, after = self._renewals.get(oid.digest, (None, token))
        return after if before == token and self._fences.is_current(oid, after) else token

    # -- fills of several workers

    def claim(self, oid: ObjectId, asked: Interval) -> Claim | None:
        """Tell the other workers of a request to the origin; None where there are none, or no room to."""
        return self._told(self._claims.asking(oid.digest, *asked)) if self._claims.has_listeners() else None

    def _claim_fill(self, oid: ObjectId, writer: FillWriter) -> Claim | None:
        head, proof = writer.entry.head, writer.entry.validation
        if head is None or proof is None or not self._claims.has_listeners():
            return None
        told = *writer.interval, encode_head(head), proof.token, proof.sent, proof.at
        return self._told(self._claims.filling(oid.digest, *told))

    def _told(self, claim: Claim | None) -> Claim | None:
        if claim is None:
            self._metrics.count(StoreCounter.CLAIMS_REFUSED)
        return claim

    def claims_of(self, oid: ObjectId) -> list[Seen]:
        """What other workers claim of an object, or lately did, oldest first."""
        return self._claims.of(oid.digest)

    def is_current(self, oid: ObjectId, token: FenceToken) -> bool:
        """Whether what was asked for under ``token`` is still to be believed."""
        return self._fences.is_current(oid, token)

    def fills_elsewhere(self, oid: ObjectId) -> list[NeighbourFill]:
        """What other workers are storing of an object, and what those left behind that died at it."""
        found = []
        for seen in self._claims.of(oid.digest):
            if seen.phase() in (Phase.FILLING, Phase.DEAD) and seen.head:
                fill = self._neighbour_fills.get(seen.identity)
                if fill is None:
                    fill = self._see(seen)
                if fill is not None:
                    found.append(fill)
        return found

    def _see(self, seen: Seen) -> NeighbourFill | None:
        try:
            fill = NeighbourFill(seen, self._disk.files, self._io, self.lookout)
        except CorruptFileError as error:
            self._disk.note(error, "another worker's claim")
            return None
        self._neighbour_fills = {key: known for key, known in self._neighbour_fills.items() if not known.ended}
        self._neighbour_fills[seen.identity] = fill
        return fill

    async def inherit(self, oid: ObjectId, fill: NeighbourFill) -> None:
        """Commit what a dead process had written of a fill and not committed."""
        fill.joined()
        try:
            async with fill.part_at(fill.watermark - 1) as part:
                if part is not None:
                    await self._store_part(oid, fill, part)
        finally:
            fill.left()

    async def _store_part(self, oid: ObjectId, fill: NeighbourFill, part: OpenPart) -> None:
        left = Interval(part.start, part.end)
        writer = self.begin_fill(oid, fill.record, fill.token, fill.seen.request, left)
        if writer is None:
            return
        try:
            while left.length:
                piece = await part.read(Interval(left.start, min(left.end, left.start + READ_AT_ONCE)))
                if not piece:
                    break
                await writer.write(left.start, [memoryview(piece)])
                left = Interval(left.start + len(piece), left.end)
        except (OSError, StorageError) as error:
            self._disk.note(error, "what another worker left behind")
        finally:
            await writer.finish()

    def _learn(self, entry: Entry, oid: ObjectId) -> None:
        """What another worker has had proved of an object that we know no proof of."""
        for seen in reversed(self._claims.of(oid.digest)):
            if seen.head and seen.phase() is not Phase.GONE and self._fences.is_current(oid, seen.token):
                if entry.head is None or seen.request > entry.sent:
                    with contextlib.suppress(CorruptFileError):
                        record = decode_head(seen.head)
                        super().publish_head(oid, record, seen.token, seen.request, at=seen.proved_at)
                return

    # -- looking up

    async def lookup(self, oid: ObjectId) -> Entry:
        entry = await super().lookup(oid)
        proof = entry.validation
        if (proof is None or not self._fences.is_current(oid, proof.token)) and entry is self._entries.get(oid.digest):
            self._learn(entry, oid)
        return entry

    async def refresh_if_changed(self, entry: Entry) -> bool:
        if self._disk.knows(entry):
            return False
        await self.refresh(entry)
        return True

    def _is_usable(self, entry: Entry) -> bool:
        """A proven head will do: it was the current one whatever lies on the disk. One that must be proven anyway had
        better be the one that another process stored last."""
        proof = entry.validation
        return self._disk.knows(entry) or (
            entry.head is not None and proof is not None and self._fences.is_current(entry.object_id, proof.token)
        )

    async def open_range(self, entry: Entry, interval: Interval) -> RangeReader | None:
        wanted = entry.head
        reader = await super().open_range(entry, interval)
        if reader is not None or wanted is None or self._disk.knows(entry):
            return reader
        await self.refresh(entry)  # before the origin is asked for what another process has stored meanwhile
        if not entry.is_generation(wanted.generation.tag):
            return None  # the caller would send another one's bytes under the head that it has seen
        return await super().open_range(entry, interval)

    def _fail_extent(self, entry: Entry, extent: Extent, error: OSError | StorageError) -> None:
        """A file that is missing, or another generation's by now, was evicted or replaced by another process."""
        replaced = isinstance(error, CorruptFileError) and not self._disk.knows(entry)
        if not extent.doomed and (replaced or isinstance(error, FileNotFoundError)):
            entry.revoke_leases()
            lose(self._disk, entry, extent)
            return
        super()._fail_extent(entry, extent, error)

    # -- what the others did

    async def _watch(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK)
            ticks += 1
            if ticks % _USES_EVERY == 0:
                self._report_uses()
            self._reports.flush()
            self._reports.settle(self._space)
            self._space.serve_waiting()
            evictions = self._memory.get(KEEPER, Cell.EVICTIONS)
            if evictions != self._seen_evictions:
                self._seen_evictions = evictions
                self._look_after_open_files()

    def _report_uses(self) -> None:
        used = [extent for extent in self._descriptors.opened if extent.frequency]
        self._reports.used(used)
        for extent in used:
            extent.frequency = 0

    def _look_after_open_files(self) -> None:
        """Files were evicted: what we hold open of them without need is closed, so that their bytes are free."""
        for digest in {extent.digest for extent in self._descriptors.opened}:
            entry = self._entries.get(digest)
            if entry is not None and not self._disk.knows(entry) and self._io.available:
                self._disk.spawn_for(entry, self._read_again(entry), "fastcache-refresh")

    async def _read_again(self, entry: Entry) -> None:
        try:
            await self._disk.load(entry)
        except (OSError, StorageError) as error:
            self._disk.note(error, "looking again")

    async def _make_room(self, wanted: int) -> bool:
        """The keeper evicts; here is waited for it, and told that a full disk needs more than the capacity does."""
        if self._space.disk_is_full:
            self._reports.want_room(wanted)
        self._reports.flush()
        before = self._memory.get(KEEPER, Cell.EVICTIONS)
        await asyncio.sleep(TICK)
        self._space.serve_waiting()
        return self._memory.get(KEEPER, Cell.EVICTIONS) != before or self._space.has_waiting
