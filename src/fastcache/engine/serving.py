"""Answer a read from bytes that are here: committed extents, or a fill that is under way."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from fastcache.engine.channel import FileSendError
from fastcache.engine.context import Context
from fastcache.engine.exchange import Exchange
from fastcache.engine.fill import Fill, FillEndedError
from fastcache.engine.forwarding import ask
from fastcache.engine.lessons import forget
from fastcache.errors import CorruptFileError, FastcacheError, StorageError, UpstreamError
from fastcache.model import Headers, HeadRecord, Interval, ObjectId, Result
from fastcache.policy.cache_status import cache_status_headers
from fastcache.policy.local_answer import LocalAnswer
from fastcache.policy.overrides import with_overrides
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import NotStorable, judge_body
from fastcache.policy.stored_headers import cors_headers, not_modified_headers, replayed_headers
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing
from fastcache.storage.reader import RangeReader

_log = logging.getLogger("fastcache.engine.serving")

SEND_WINDOW = 1024 * 1024
"""Bytes per sendfile call, and per trip to the I/O threads for pages that are not resident."""
VERIFY_AHEAD = 8 * 1024 * 1024
"""Bytes whose checksums are looked at before the head goes out, so that rot in them is a miss and not a cut."""
_OPEN_AHEAD = 32 * 1024 * 1024
_COMMIT_WAIT = 10.0
"""Seconds a follower waits for bytes it needs to be committed, before it goes on as if they were lost."""
_REPEAT_LIMIT = 64 * 1024 * 1024
"""Bytes of an answer that the origin is made to send once more so that the rest behind them can be had."""
REFUSALS = {
    412: ("PreconditionFailed", "At least one of the preconditions you specified did not hold."),
    416: ("InvalidRange", "The requested range is not satisfiable"),
}
"""Code and message of what a stored head alone refuses."""
_SAYS_OTHER = frozenset({200, 206, 404, 412, 416})
"""Statuses that speak of the object; a 403 or a 503 says nothing about it."""


class AbortedAnswerError(UpstreamError):
    """The answer was begun and cannot be completed: the connection is reset, never ended cleanly."""


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
        """Send the interval behind the watermark. Raises AbortedAnswerError when the fill ends before it."""
        fill, follower = self._fill, self._follower
        while follower.position < follower.end:
            view = fill.view(follower)
            if view is not None:
                await exchange.write(view)
                fill.advanced(follower, len(view))
            elif not await fill.until_readable(follower):
                raise AbortedAnswerError("the origin's transfer ended before its announced length")
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
        entry = await store.lookup(self._object_id)
        reader = None
        stretch = Interval(follower.position, follower.position)
        if entry.head is not None and entry.head.generation == fill.record.generation:
            gaps = store.missing(entry, Interval(follower.position, min(follower.end, follower.position + _OPEN_AHEAD)))
            end = gaps[0].start if gaps else min(follower.end, follower.position + _OPEN_AHEAD)
            stretch = Interval(follower.position, end)
            if stretch.length:
                reader = await store.open_range(entry, stretch)
        if reader is None:
            if fill.view(follower) is not None:
                return
            raise AbortedAnswerError("bytes that were followed are gone from the cache")
        try:
            for window in windows(stretch):
                await send_extents(exchange, reader, window)
                fill.advanced(follower, window.length)
        finally:
            reader.close()

    def close(self) -> None:
        """Leave the fill."""
        self._fill.detach(self._follower)


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
            if isinstance(source, FillSource):
                await source.prepare(part)
                return

    async def send(self, exchange: Exchange, interval: Interval) -> None:
        """Send the parts in order. Raises AbortedAnswerError when one cannot be completed."""
        for source, part in self._parts:
            await source.send(exchange, part)

    def close(self) -> None:
        """Give up every part."""
        for source, _ in self._parts:
            source.close()


Source = ExtentSource | FillSource | PiecedSource


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
                await exchange.channel.send_file(piece.fd, offset, window.length)
    except (CorruptFileError, FileSendError, StorageError) as error:
        raise AbortedAnswerError(f"a cached byte could not be read any more: {error}") from error


async def send_body(
    ctx: Context, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, source: Source | None
) -> None:
    """Send the body behind a head that is out. What the source cannot give any more is asked of the origin; where the
    signature forbids to ask for the rest alone, the request is repeated as long as little of it was sent. Otherwise
    AbortedAnswerError: the connection is reset, never ended cleanly."""
    if source is not None and interval.length:
        with _watched(ctx, exchange, read, record, interval, source):
            try:
                await source.send(exchange, interval)
            except (AbortedAnswerError, UpstreamError) as error:
                await continue_if_allowed(ctx, exchange, read, record, interval, error)
    await exchange.end()


def _watched(
    ctx: Context, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, source: Source
) -> AbstractContextManager[None]:
    if ctx.watcher is None:
        return contextlib.nullcontext()
    if isinstance(source, PiecedSource):
        asked = source.asked
    else:
        asked = [interval] if exchange.result is Result.MISS else []
    return ctx.watcher.reading(exchange, read, record, interval, asked)


async def continue_if_allowed(
    ctx: Context, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, error: FastcacheError
) -> None:
    """Ask the origin for what ``error`` kept from being sent, if that may be asked for; else AbortedAnswerError."""
    sent = exchange.body_sent()
    if not read.may_ask_for_part and sent > _REPEAT_LIMIT:
        raise AbortedAnswerError(str(error)) from error
    _log.warning("an answer is continued from the origin after %d bytes: %s", sent, error)
    await continue_from_origin(ctx, exchange, read, record, interval, sent)


async def continue_from_origin(
    ctx: Context, exchange: Exchange, read: ReadRequest, record: HeadRecord, interval: Interval, sent: int
) -> None:
    """The client's own request, for the rest of exactly this generation if it may be changed (SEMANTICS 28), streamed
    past the cache."""
    asked = interval
    if read.may_ask_for_part:
        asked = Interval(interval.start + sent, interval.end)
        added = ((b"Range", b"bytes=%d-%d" % (asked.start, asked.end - 1)), (b"If-Match", record.generation.etag))
        response = await ask(ctx, exchange, add=added, without=frozenset({b"range"}))
    else:
        response = await ask(ctx, exchange)
    try:
        judged = judge_body(
            response.head,
            requested=asked,
            range_asked=read.may_ask_for_part or read.range_field_sent,
            checksum_mode=False,
            at=ctx.clock.wall(),
            honour_no_store=False,
            allow_kms=True,  # nothing of it is stored
        )
        if (
            isinstance(judged, NotStorable)
            or judged.interval != asked
            or judged.record.generation != record.generation
            or response.head.status not in (200, 206)
        ):
            if ctx.store is not None and response.head.status in _SAYS_OTHER:
                # It was overwritten, or never had the size that its head announced: either way not to be served again.
                forget(ctx, ctx.store, read)
            raise AbortedAnswerError("the origin does not have the rest of this generation any more")
        skip = interval.start + sent - asked.start
        while piece := await response.read():
            wanted = piece[skip:]
            skip -= len(piece) - len(wanted)
            if wanted:
                await exchange.write(wanted)
    finally:
        exchange.origin_bytes += response.bytes_received
        response.abort()


async def send_stored(
    ctx: Context,
    exchange: Exchange,
    read: ReadRequest,
    record: HeadRecord,
    answer: LocalAnswer,
    source: Source | None,
    result: Result,
    *,
    age: float,
    validation: Headers | None,
    ttl: float | None = None,
) -> None:
    """Send head and body of an answer that is known to be current.

    ``validation`` holds the headers of the origin's answer to this very request, None when there was none: then the
    request ids are ours.
    """
    exchange.result = result
    exchange.object_size = record.generation.size
    whole = answer.status == 200
    headers: Headers = (
        replayed_headers(
            record,
            age=age,
            whole_object=whole,
            checksum_mode=read.checksum_mode,
            validation=validation or (),
            stored_for=max(0.0, ctx.clock.wall() - record.stored_at),
        )
        if answer.status != 412 and answer.status != 416
        else ()
    )
    if answer.interval is not None and read.overrides:
        headers = with_overrides(headers, read.overrides)
    if answer.status == 304:
        headers = not_modified_headers(headers)
    if validation is None or not any(name.lower() == b"x-amz-request-id" for name, _ in validation):
        headers += exchange.request_ids()
    headers += ((b"Age", b"%d" % max(0, int(age))),)
    status = cache_status_headers(
        result,
        forward_status=exchange.origin_status,
        ttl=None if ttl is None else max(0, int(ttl - age)),
    )
    if answer.status in (412, 416):
        await _send_refusal(exchange, answer, cors_headers(validation or ()), result)
        return
    if answer.interval is None or read.method == b"HEAD":
        length = answer.headers if read.method == b"HEAD" and answer.interval is not None else ()
        await exchange.send_head(answer.status, headers + length + exchange.now_headers() + status, NO_BODY)
        await exchange.end()
        return
    framing = BodyFraming(Framing.LENGTH, answer.interval.length)
    fields = headers + answer.headers + exchange.now_headers() + status
    await exchange.send_head(answer.status, fields, framing, more=_follows_at_once(answer.interval, source))
    await send_body(ctx, exchange, read, record, answer.interval, source)


def _follows_at_once(interval: Interval, source: Source | None) -> bool:
    """Whether body bytes are at hand, so that the head may wait for them in the kernel; a span just asked for may
    still be on its way, and a head sent with MSG_MORE would wait 200 ms for it."""
    return interval.length > 0 and not isinstance(source, PiecedSource)


async def _send_refusal(exchange: Exchange, answer: LocalAnswer, cors: Headers, result: Result) -> None:
    """``cors`` comes from the origin's answer to this very request: without it a browser hides even the status."""
    code, message = REFUSALS[answer.status]
    await exchange.send_error(answer.status, code, message, extra=answer.headers + cors, result=result)
