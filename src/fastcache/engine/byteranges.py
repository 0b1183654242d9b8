"""Several ranges of one request, answered as ``multipart/byteranges`` from committed extents (SEMANTICS 27)."""

from __future__ import annotations

import secrets
from dataclasses import replace

from fastcache.engine.exchange import Exchange
from fastcache.engine.gaps import open_extents
from fastcache.engine.sources import AbortedAnswerError, PiecedSource
from fastcache.errors import StorageError
from fastcache.model import HeadRecord, Interval
from fastcache.policy.byteranges import Multipart, multipart
from fastcache.policy.local_answer import LocalAnswer
from fastcache.policy.overrides import with_overrides
from fastcache.policy.read_request import ReadRequest
from fastcache.storage.entry import Entry
from fastcache.storage.store import Store


class ByterangesSource(PiecedSource):
    """The ranges, opened and pinned, each behind its delimiter."""

    __slots__ = ("_body",)

    def __init__(self, body: Multipart) -> None:
        super().__init__()
        self._body = body

    def framed(self, read: ReadRequest) -> tuple[ReadRequest, LocalAnswer]:
        """Request and answer as they are sent: the head describes the multipart body, and the object's Content-Type
        stands in the parts."""
        described = with_overrides(read.overrides, ((b"Content-Type", self._body.content_type),))
        length = self._body.length
        answer = LocalAnswer(206, Interval(0, length), ((b"Content-Length", b"%d" % length),))
        return replace(read, overrides=described), answer

    async def send(self, exchange: Exchange, interval: Interval) -> None:
        """Send the whole body. Raises StorageError when a range cannot be completed: no origin could continue a body
        whose delimiters are ours, so the connection is reset."""
        try:
            for head, (source, part) in zip(self._body.heads, self._parts, strict=True):
                await exchange.write(head)
                await source.send(exchange, part)
        except AbortedAnswerError as error:
            raise StorageError(str(error)) from error
        await exchange.write(self._body.closing)


async def open_ranges(
    store: Store, entry: Entry, record: HeadRecord, read: ReadRequest, ranges: tuple[Interval, ...]
) -> ByterangesSource | None:
    """Every range from extents, checked; None when one of them is not here."""
    described = dict(read.overrides).get(b"Content-Type", record.get(b"content-type"))
    boundary = secrets.token_hex(16).encode("ascii")
    source = ByterangesSource(multipart(ranges, record.generation.size, described, boundary))
    try:
        for interval in ranges:
            source.add(await open_extents(store, entry, record, interval), interval)
    except StorageError:
        source.close()
        return None
    except BaseException:
        source.close()
        raise
    return source
