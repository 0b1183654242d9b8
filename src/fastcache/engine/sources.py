"""Where the bytes of an answer come from: committed extents, or fills that are under way, here or in another worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from fastcache.engine.channel import FileSendError
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.fill import Fill
from fastcache.engine.follower import FillEndedError
from fastcache.errors import CorruptFileError, StorageError, UpstreamError
from fastcache.model import HeadRecord, Interval, ObjectId
from fastcache.storage.neighbour_fill import NeighbourFill
from fastcache.storage.reader import RangeReader
from fastcache.storage.store import Store

SEND_WINDOW = 1024 * 1024
"""Bytes per sendfile call, and per trip to the I/O threads for pages that are not resident."""
VERIFY_AHEAD = 8 * 1024 * 1024
"""Bytes whose checksums are looked at before the head goes out, so that rot in them is a miss and not a cut."""
_OPEN_AHEAD = 32 * 1024 * 1024
_PATIENCE = 50
"""Looks for bytes that another worker has stored, until they are given up."""
_RENAMED_WITHIN = 0.02
"""Seconds between two of them."""
_COMMIT_WAIT = 10.0
"""Seconds a follower waits for bytes it needs to be committed, before it goes on as if they were lost."""


class AbortedAnswerError(UpstreamError):
    """The answer was begun and cannot be completed: the connection is reset, never ended cleanly."""


class NotBegunError(UpstreamError):
    """What an answer was to be made of is gone, and nothing of it was sent: it can be made anew, of something else."""

    status: ClassVar[int] = 503
    code: ClassVar[str] = "ServiceUnavailable"

    @property
    def told(self) -> str:
        return "The object is being changed. Please try again."


class ExtentSource:
    """Committed extents that cover the whole answer, opened and pinned before anything else happens."""

    __slots__ = ("_reader",)

    def __init__(self, reader: RangeReader | None) -> None:
        self._reader = reader

    async def prepare(self, interval: Interval) -> None:
        """Check what the head's promise rests on. Raises CorruptFileError (the extent is gone from the index then)."""
        if self._reader is not None and interval.length:
            first = Interval(interval.start, min(interval.end, interval.start + VERIFY_AHEAD))
            for window in windows(first):
                if self._reader.unverified_or_cold(window):
                    await self._reader.verify(window)

    async def send(self, exchange: Exchange, interval: Interval) -> None:
        """Send the interval. Raises AbortedAnswerError when it cannot be completed."""
        if self._reader is not None:
            await send_extents(exchange, self._reader, interval)

    def close(self) -> None:
        """Give up the pins."""
        if self._reader is not None:
            self._reader.close()


class FillSource:
    """A fill that holds or will hold the whole answer, joined as a follower."""

    __slots__ = ("_ctx", "_fill", "_follower", "_object_id")

    def __init__(self, ctx: Context, object_id: ObjectId, fill: Fill, interval: Interval) -> None:
        self._ctx = ctx
        self._object_id = object_id
        self._fill = fill
        self._follower = fill.attach(interval)

    async def prepare(self, interval: Interval) -> None:
        """Wait for the first byte. Raises FillEndedError when none will come."""
        if interval.length and not await self._fill.until_readable(self._follower):
            raise FillEndedError("the transfer that was followed ended early")

    async def send(self, exchange: Exchange, interval: Interval) -> None:
        """Send the interval behind the watermark. Raises FillEndedError when the fill ends before its end, and
        AbortedAnswerError when bytes that came are lost."""
        fill, follower = self._fill, self._follower
        while follower.position < follower.end:
            view = fill.view(follower)
            if view is not None:
                await exchange.write(view)
                fill.advanced(follower, len(view))
            elif not await fill.until_readable(follower):
                raise FillEndedError("the origin's transfer ended before its announced length")
            elif fill.view(follower) is None:
                await self._send_committed(exchange)

    async def _send_committed(self, exchange: Exchange) -> None:
        """The follower fell out of the window: go on from committed extents, a bounded stretch at a time."""
        fill, follower = self._fill, self._follower
        store = self._ctx.store
        if store is None:
            raise AbortedAnswerError("fell behind a transfer that is not stored")
        if follower.dropped:
            raise AbortedAnswerError("fell behind a transfer that is not stored any more")
        await fill.commit_so_far(_COMMIT_WAIT)
        left = Interval(follower.position, follower.end)
        reader = await open_committed(store, self._object_id, fill.record, left)
        if reader is None:
            if fill.view(follower) is not None:
                return
            raise AbortedAnswerError("bytes that were followed are gone from the cache")
        try:
            for window in windows(reader.interval):
                await send_extents(exchange, reader, window)
                fill.advanced(follower, window.length)
        finally:
            reader.close()

    def close(self) -> None:
        """Leave the fill."""
        self._fill.detach(self._follower)


class NeighbourSource:
    """A fill of another worker, read behind its watermark out of the files that it writes."""

    __slots__ = ("_ctx", "_end", "_fill", "_object_id", "_position", "_reader")

    def __init__(self, ctx: Context, object_id: ObjectId, fill: NeighbourFill, interval: Interval) -> None:
        self._ctx = ctx
        self._object_id = object_id
        self._fill = fill
        self._position = interval.start
        self._end = interval.end
        self._reader: RangeReader | None = None
        """What is committed of the bytes that come next, open."""
        fill.joined()

    async def prepare(self, interval: Interval) -> None:
        """Wait for the first byte, and have it open: whatever is written to the object meanwhile, it can be sent.
        Raises FillEndedError when none will come."""
        if not interval.length or self._reader is not None:
            return
        if not await self._fill.until_readable(self._position):
            raise FillEndedError("the transfer of another worker ended early")
        async with self._fill.part_at(self._position) as part:
            if part is None and not await self._open_committed():
                raise FillEndedError("what another worker had stored is gone")

    async def send(self, exchange: Exchange, interval: Interval) -> None:
        """Send the interval behind the watermark. Raises AbortedAnswerError when the fill ends before it."""
        while self._position < self._end:
            if self._reader is None and not await self._fill.until_readable(self._position):
                raise AbortedAnswerError("another worker's transfer ended before its announced length")
            if self._reader is not None or not await self._send_part(exchange):
                await self._send_committed(exchange)

    async def _send_part(self, exchange: Exchange) -> bool:
        """Send what the file in progress holds; False: our bytes are in another one, committed by now or soon."""
        async with self._fill.part_at(self._position) as part:
            if part is None:
                return False
            for window in windows(Interval(self._position, min(self._end, part.end))):
                try:
                    await part.have_in_memory(window)
                    await exchange.send_file(part.fd, part.offset_of(window.start), window.length)
                except (FileSendError, StorageError) as error:
                    raise AbortedAnswerError(f"another worker's file could not be read: {error}") from error
                self._position = window.end
        return True

    async def _open_committed(self) -> bool:
        """Open what is committed of the bytes that come next; False: they are gone. A file that has just been given its
        name is known a moment later."""
        store = self._ctx.store
        assert store is not None, "only a store knows other workers"
        for _ in range(_PATIENCE):
            left = Interval(self._position, min(self._end, self._fill.watermark))
            self._reader = await open_committed(store, self._object_id, self._fill.record, left)
            if self._reader is not None:
                return True
            await self._fill.moved(_RENAMED_WITHIN)
        return False

    async def _send_committed(self, exchange: Exchange) -> None:
        if self._reader is None and not await self._open_committed():
            raise AbortedAnswerError("bytes that another worker had stored are gone from the cache")
        reader, self._reader = self._reader, None
        assert reader is not None
        try:
            for window in windows(reader.interval):
                await send_extents(exchange, reader, window)
                self._position = window.end
        finally:
            reader.close()

    def close(self) -> None:
        """Leave the fill."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._fill.left()


async def open_committed(store: Store, object_id: ObjectId, record: HeadRecord, left: Interval) -> RangeReader | None:
    """The beginning of ``left`` out of extents of this generation, a bounded stretch of it; None when it has none."""
    entry = await store.lookup(object_id)
    await store.refresh_if_changed(entry)
    if entry.head is None or entry.head.generation != record.generation:
        return None
    wanted = Interval(left.start, min(left.end, left.start + _OPEN_AHEAD))
    gaps = store.missing(entry, wanted)
    stretch = Interval(wanted.start, gaps[0].start if gaps else wanted.end)
    reader = await store.open_range(entry, stretch) if stretch.length else None
    if reader is not None and reader.head.generation != record.generation:
        reader.close()  # another one came while it was opened
        return None
    return reader


def follow(
    ctx: Context, object_id: ObjectId, fill: Fill | NeighbourFill, interval: Interval
) -> FillSource | NeighbourSource:
    """Join a fill as a reader of ``interval``."""
    if isinstance(fill, Fill):
        return FillSource(ctx, object_id, fill, interval)
    return NeighbourSource(ctx, object_id, fill, interval)


class PartSource(Protocol):
    """Where a part of an answer comes from."""

    async def send(self, exchange: Exchange, interval: Interval) -> None: ...
    def close(self) -> None: ...


class PiecedSource:
    """Extents and fills one behind the other, each for its part of the answer."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[tuple[PartSource, Interval]] = []

    @property
    def asked(self) -> list[Interval]:
        """What of it the origin is asked for on its behalf."""
        return []

    def add(self, source: PartSource, interval: Interval) -> None:
        """The next part; the source is ours to close."""
        self._parts.append((source, interval))

    async def prepare(self, interval: Interval) -> None:
        """Wait for the first byte of what is under way. Raises FillEndedError when none will come."""
        for source, part in self._parts:
            if isinstance(source, FillSource | NeighbourSource):
                await source.prepare(part)
                return

    async def send(self, exchange: Exchange, interval: Interval) -> None:
        """Send the parts in order. Raises AbortedAnswerError or FillEndedError when one cannot be completed."""
        for source, part in self._parts:
            await source.send(exchange, part)

    def close(self) -> None:
        """Give up every part."""
        for source, _ in self._parts:
            source.close()


Source = ExtentSource | FillSource | NeighbourSource | PiecedSource


def windows(interval: Interval) -> Iterator[Interval]:
    """The interval in pieces of at most SEND_WINDOW."""
    position = interval.start
    while position < interval.end:
        end = min(interval.end, position + SEND_WINDOW)
        yield Interval(position, end)
        position = end


async def send_extents(exchange: Exchange, reader: RangeReader, interval: Interval) -> None:
    """``sendfile`` an interval out of its pieces, never reading a page on the loop that is not resident."""
    try:
        for piece in reader.pieces:
            begin = max(piece.start, interval.start)
            end = min(piece.start + piece.length, interval.end)
            if begin >= end:
                continue
            for window in windows(Interval(begin, end)):
                if reader.unverified_or_cold(window):
                    await reader.verify(window)
                offset = piece.offset_in_file + (window.start - piece.start)
                await exchange.send_file(piece.fd, offset, window.length)
    except (CorruptFileError, FileSendError, StorageError) as error:
        raise AbortedAnswerError(f"a cached byte could not be read any more: {error}") from error
