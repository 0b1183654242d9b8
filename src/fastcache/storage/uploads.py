"""Parts of multipart uploads that are not complete yet, and the object that they become (SEMANTICS 32).

A part is kept as one object of its own would be: files that say which upload they belong to, which generation of it
(the part's ETag and size) and which bytes of that. So nothing has to be remembered about the order in which parts came,
were replaced or copied: a completion names parts by number and ETag, and what is not here under that name was not kept.
Any process on the directory may complete what others staged; each counts the bytes that it staged itself, until it sees
that the upload is gone. What nobody goes on with is removed by the process that counts the files. An upload that has
ended is remembered for as long as a part of it may be on its way through another process.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fastcache._core.extent_codec import FileHeader, Kind
from fastcache.clock import Clock
from fastcache.errors import StorageError
from fastcache.model import Codec, FenceToken, Generation, Interval, ObjectId, Part
from fastcache.storage import layout
from fastcache.storage.appending import Part as PartFile
from fastcache.storage.blocks import BlockSums
from fastcache.storage.commits import Commits
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import Entry
from fastcache.storage.layout import StagedName
from fastcache.storage.staging import StagedBody, Staging

_NO_TOKEN = FenceToken(0, 0, 0)
_LOOK_EVERY = 1.0
"""Seconds between two looks at which uploads are still there, in a process that counts bytes of some."""
_TICK = 0.05
"""Seconds between two looks at whether another process says that it has removed one of them."""
_LOOK_FOR_OLD_EVERY = 60.0
"""Seconds between two looks for uploads that nobody goes on with."""
_ENDED_FOR = 3600.0
"""Seconds for which it is remembered that an upload has ended: longer than its parts are on their way."""
_MOST_DEAD = 10_000


def upload_digest(object_id: ObjectId, upload_id: bytes) -> bytes:
    """Names an upload on the disk; no byte of its id, which a client sent, reaches a path."""
    return hashlib.blake2b(object_id.digest + upload_id, digest_size=32, person=b"upload").digest()


class NamedPart(NamedTuple):
    """A part as a completion names it."""

    number: int
    etag: bytes


@dataclass(slots=True)
class Assembly:
    """The pieces of an object in order: what a completion named, all of it here."""

    digest: bytes
    parts: tuple[Part, ...]
    pieces: list[tuple[StagedName, bytes, int]]
    """Name, generation tag of the part, and where in the object the piece begins."""

    @property
    def size(self) -> int:
        return self.parts[-1].interval.end if self.parts else 0


@dataclass(slots=True)
class _Upload:
    """What this process staged of an upload."""

    total: int = 0
    beginning: int = 0
    """Parts that are being staged now."""
    staged: int = 0
    """Parts that were staged."""
    reserved: dict[str, int] = field(default_factory=dict)
    """Bytes of the store's space by name."""
    changes: int = 0
    """How often uploads with such a digest had been removed when we began with it."""


class Uploads:
    """The parts that are staged in one store. Loop thread only."""

    def __init__(self, disk: ObjectDisk, staging: Staging, clock: Clock, expiry: float) -> None:
        """``expiry``: seconds after which an upload nobody goes on with is forgotten."""
        self._disk = disk
        self._staging = staging
        self._uploads: dict[bytes, _Upload] = {}
        self._dead: dict[bytes, None] = {}
        share = disk.share
        self.others = share is not None and share.generations is not None
        """Other processes may stage parts of the uploads that are completed here."""
        counts_files = share is None or share.counts_files
        self._unused = Unused(clock, expiry) if counts_files else None
        self._ended = Unused(clock, min(expiry, _ENDED_FOR)) if counts_files else None
        self._every = _LOOK_EVERY if self._unused is None else min(_LOOK_FOR_OLD_EVERY, max(0.05, expiry / 4))
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = 0.0
        self._watching = False
        self._closed = False

    def watch(self) -> None:
        """Look for uploads that nobody goes on with from now on, whoever staged them."""
        self._watching = True
        self._look_later()

    def accepts(self, digest: bytes) -> bool:
        """Whether parts of the upload are worth keeping: none of them was lost so far."""
        return digest not in self._dead

    def staged_bytes(self, digest: bytes) -> int:
        """Bytes of the upload's parts that this process keeps."""
        upload = self._uploads.get(digest)
        return 0 if upload is None else upload.total

    async def keep(self, digest: bytes, number: int, generation: Generation, body: StagedBody) -> bool:
        """Keep the bytes of ``body`` as part ``number``. False when they could not be; then the upload is given up."""
        upload = self._uploads.setdefault(digest, _Upload(changes=self._changes(digest)))
        upload.beginning += 1
        self._look_later()
        try:
            await self._keep(digest, upload, number, generation, body)
        finally:
            upload.beginning -= 1
            upload.staged += 1
        if self._uploads.get(digest) is not upload:
            await self._forget(digest, upload)  # it was given up meanwhile
            return False
        return True

    async def _keep(
        self, digest: bytes, upload: _Upload, number: int, generation: Generation, body: StagedBody
    ) -> None:
        size, files, lost = body.length, [], False
        try:
            files = await body.hand_over()
            upload.total += size
            while files and not lost:
                lost = not await self._stage(digest, upload, number, generation, files[-1])
                files.pop()
        except (OSError, StorageError) as error:
            self._disk.note(error, "staging a part")
            lost = True
        if lost:
            for part in files:
                await Commits(self._disk).discard_part(part)
            await body.discard()
            await self.give_up(digest)

    async def _stage(self, digest: bytes, upload: _Upload, number: int, generation: Generation, part: PartFile) -> bool:
        """Put a piece of a part among the others. False: the upload has ended."""
        name = layout.staged_name(number, generation.tag, generation.size, part.start, part.start + part.length)
        header = FileHeader(
            Kind.EXTENT, digest, generation.tag, generation.size, part.start, part.length, part.length, Codec.RAW,
            part.data_offset, _NO_TOKEN, b"", part.sums.all(),
        )  # fmt: skip
        if not await self._disk.io.run(self._disk.files.stage, part.path, header, digest, name):
            self._disk.space.free(part.reserved)
            return False
        # The same part once more replaces its file.
        self._disk.space.free(upload.reserved.pop(name, 0))
        upload.reserved[name] = part.reserved
        return True

    async def find(self, digest: bytes, named: Sequence[NamedPart]) -> Assembly | None:
        """The object that a completion names; None unless every byte of it is here. Raises OSError or StorageError."""
        if not named or not self.accepts(digest):
            return None
        there: dict[tuple[int, str], list[StagedName]] = {}
        for name in await self._disk.io.run(self._disk.files.staged, digest):
            there.setdefault((name.number, name.generation), []).append(name)
        assembly, position, last = Assembly(digest, (), []), 0, 0
        parts = []
        for number, etag in named:
            found = _pieces_of(there, number, etag)
            if found is None or number <= last:
                return None
            last = number
            tag, pieces = found
            assembly.pieces += [(piece, tag, position + piece.start) for piece in pieces]
            end = position + pieces[0].size
            parts.append(Part(number, Interval(position, end)))
            position = end
        assembly.parts = tuple(parts)
        return assembly

    async def commit(self, assembly: Assembly, entry: Entry, tag: bytes, token: FenceToken) -> bool:
        """Make the pieces extents of ``entry``, and forget the upload. False when they are not all stored. Never raises
        for a failing disk."""
        commits, stored = Commits(self._disk), True
        directory = layout.upload_directory(assembly.digest)
        upload = self._uploads.get(assembly.digest)
        try:
            for name, part_tag, start in assembly.pieces:
                file_name = layout.staged_name(name.number, part_tag, name.size, name.start, name.end)
                length = name.end - name.start
                expected = FileHeader(
                    Kind.EXTENT, assembly.digest, part_tag, name.size, name.start, length, length, Codec.RAW, 0,
                    _NO_TOKEN, b"", (),
                )  # fmt: skip
                path = f"{directory}/{file_name}"
                fd, header = await self._disk.io.run(self._disk.files.open_staged, path, expected)
                reserved = 0 if upload is None else upload.reserved.pop(file_name, 0)
                part = PartFile(
                    path, fd, start, header.data_offset, start + length, length, BlockSums(header.blocks), reserved
                )
                stored = await commits.commit_part(entry, part, tag, token) and stored
        except (OSError, StorageError) as error:
            self._disk.note(error, "completing an upload")
            stored = False
        await self.discard(assembly.digest)
        return stored

    async def give_up(self, digest: bytes) -> None:
        """A part could not be kept, so that the object cannot be either: forget the others, and take no more."""
        if len(self._dead) >= _MOST_DEAD:
            self._dead.pop(next(iter(self._dead)))
        self._dead[digest] = None
        await self.discard(digest)

    async def discard(self, digest: bytes) -> None:
        """Forget an upload: it is complete, or was given up."""
        await self._forget(digest, self._uploads.pop(digest, _Upload()))

    async def _forget(self, digest: bytes, upload: _Upload) -> None:
        try:
            await self._disk.io.run(self._disk.files.end_upload, digest)
        except (OSError, StorageError) as error:
            self._disk.note(error, layout.upload_directory(digest))
        self._uncount(upload)

    def _uncount(self, upload: _Upload) -> None:
        self._staging.count(-upload.total)
        self._disk.space.free(sum(upload.reserved.values()))
        upload.total = 0
        upload.reserved.clear()

    # -- what others completed, and what nobody does

    def _look_later(self) -> None:
        if self._timer is None and not self._closed and (self._uploads or self._watching):
            loop = asyncio.get_running_loop()
            self._look_at = loop.time() + self._every
            self._timer = loop.call_later(min(self._every, _TICK) if self.others else self._every, self._look)

    def _changes(self, digest: bytes) -> int:
        share = self._disk.share
        return 0 if share is None else share.memory.changes(digest)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        removed = any(upload.changes != self._changes(digest) for digest, upload in self._uploads.items())
        if not removed and loop.time() < self._look_at and not self._closed:
            self._timer = loop.call_later(_TICK, self._look)
        elif self._disk.io.available:
            self._disk.spawn(self._look_around(), "fastcache-uploads")
        else:
            self._look_later()

    async def _look_around(self) -> None:
        resting = {digest: one.staged for digest, one in self._uploads.items() if not one.beginning}
        for digest, one in self._uploads.items():
            one.changes = self._changes(digest)
        try:
            there = await self._disk.io.run(self._disk.files.uploads)
            for digest in () if self._ended is None else self._ended.among(there.ended):
                await self._disk.io.run(self._disk.files.forget_upload, digest)
        except (OSError, StorageError) as error:
            self._disk.note(error, layout.FILLS)
            there = None
        if there is not None:
            for digest in resting.keys() - there.staged.keys():
                upload = self._uploads.get(digest)
                if upload is not None and not upload.beginning and upload.staged == resting[digest]:
                    self._uncount(self._uploads.pop(digest))
            for digest in () if self._unused is None else self._unused.among(there.staged):
                await self.discard(digest)
        self._look_later()

    def close(self) -> None:
        """Nothing is looked for any more; what is staged is removed by the next start."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()


class Unused:
    """Tells for how long nothing came to an upload, by the boot clock."""

    def __init__(self, clock: Clock, expiry: float) -> None:
        self._clock = clock
        self._expiry = expiry
        self._seen: dict[bytes, tuple[int, float]] = {}

    def among(self, there: Mapping[bytes, int]) -> list[bytes]:
        """Those to which nothing came for as long as ``expiry``. ``there``: when each was changed, by any clock."""
        now, seen = self._clock.boot(), self._seen
        self._seen = {
            digest: seen[digest] if digest in seen and seen[digest][0] == changed else (changed, now)
            for digest, changed in there.items()
        }
        return [digest for digest, (_, since) in self._seen.items() if now - since >= self._expiry]


def _pieces_of(
    there: dict[tuple[int, str], list[StagedName]], number: int, etag: bytes
) -> tuple[bytes, list[StagedName]] | None:
    """The generation tag and the pieces of a part in order, when they are all of it."""
    for (found, generation), pieces in there.items():
        if found != number:
            continue
        tag = Generation(etag, pieces[0].size).tag
        if layout.generation_name(tag) != generation:
            continue
        ordered = sorted(pieces, key=lambda piece: piece.start)
        position = 0
        for piece in ordered:
            if piece.start != position:
                return None
            position = piece.end
        return (tag, ordered) if position == ordered[0].size else None
    return None
