"""One request and its response on a channel: the bookkeeping and the framing that every way of answering shares."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from fastcache._core.chunked import ChunkedDecoder
from fastcache._core.conditions import http_date
from fastcache.clock import Clock
from fastcache.engine.channel import Channel, ClientGoneError
from fastcache.errors import RequestError
from fastcache.model import BytesLike, Headers, Result
from fastcache.policy.cache_status import cache_status_headers
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.responses import REASONS, render_response_head
from fastcache.protocol.s3errors import render_error

if TYPE_CHECKING:
    from fastcache.engine.payload import ClientPayload
    from fastcache.policy.admission import Admission

_BODY_READ = 256 * 1024
HOST_ID = b"fastcache/"
"""What stands before a request id of ours in ``x-amz-id-2``."""


class Exchange:
    """Bookkeeping for one request. Response methods are called in order: one head, body pieces, ``end``."""

    __slots__ = (
        "_body_from",
        "_body_left",
        "_chunked_out",
        "_decoder",
        "_head_request",
        "_held",
        "admission",
        "body_read",
        "bucket",
        "channel",
        "clock",
        "collected",
        "ended",
        "error_code",
        "first_byte_at",
        "head",
        "head_sent",
        "keep_alive",
        "key",
        "object_size",
        "origin_bytes",
        "origin_status",
        "payload",
        "request_id",
        "result",
        "started",
        "status",
        "version",
        "watch_body",
    )

    def __init__(self, channel: Channel, head: RequestHead, request_id: str, clock: Clock) -> None:
        self.channel = channel
        self.head = head
        self.request_id = request_id
        self.clock = clock
        self.started = time.perf_counter()
        self.first_byte_at: float | None = None
        self.keep_alive = head.keep_alive
        self.status = 0
        self.error_code = ""
        self.result = Result.PASS
        self.origin_status: int | None = None
        self.origin_bytes = 0
        self.object_size: int | None = None
        self.bucket: bytes | None = None
        self.key: bytes | None = None
        self.version: bytes | None = None
        self.admission: Admission | None = None
        """What the gateway found out of the request; None without a gateway."""
        self.payload: ClientPayload | None = None
        """The request's body, proved while it is read, where it goes to the origin in our name."""
        self.collected: bytes | None = None
        """The whole of a body that had to be looked at before anything was asked."""
        self.watch_body: Callable[[AsyncIterator[bytes | memoryview]], AsyncIterator[bytes | memoryview]] | None = None
        """What passes a streamed body on, and sees it."""
        self.head_sent = False
        self._held: tuple[int, bytes] | None = None
        """Status and head of an answer of which nothing is sent yet."""
        self.ended = False
        self.body_read = head.framing.kind is not Framing.CHUNKED and head.framing.length == 0
        """The request's body was taken in whole; else the connection cannot carry another request."""
        self._body_left = head.framing.length
        self._body_from = 0
        self._decoder = ChunkedDecoder() if head.framing.kind is Framing.CHUNKED else None
        self._chunked_out = False
        self._head_request = head.method == b"HEAD"

    def watched(self, body: AsyncIterator[bytes | memoryview]) -> AsyncIterator[bytes | memoryview]:
        """The request's body, seen on its way by whoever keeps it."""
        return body if self.watch_body is None else self.watch_body(body)

    # ---- request body ----------------------------------------------------------------------------------------------

    async def body(self) -> AsyncIterator[bytes | memoryview]:
        """The request's decoded body, piece by piece. Raises ClientGoneError when it ends early and RequestError when
        its chunked framing is broken."""
        if self._decoder is None:
            while self._body_left:
                piece = await self.channel.read(min(_BODY_READ, self._body_left))
                if not piece:
                    raise ClientGoneError("the client ended before its announced body")
                self._body_left -= len(piece)
                self.body_read = self._body_left == 0
                yield piece
            self.body_read = True
            return
        while not self.body_read:
            raw = await self.channel.read(_BODY_READ)
            if not raw:
                raise ClientGoneError("the client ended inside its chunked body")
            for part in self._decode(raw):
                yield part

    def _decode(self, raw: bytes) -> list[memoryview]:
        assert self._decoder is not None
        view = memoryview(raw)
        try:
            slices, consumed = self._decoder.feed(view)
        except ValueError as error:
            raise RequestError(f"malformed chunked body: {error}") from error
        if self._decoder.done:
            self.body_read = True
            self.channel.unread(view[consumed:])
        return [view[offset : offset + length] for offset, length in slices]

    # ---- response --------------------------------------------------------------------------------------------------

    async def send_head(self, status: int, headers: Headers, framing: BodyFraming, *, hold: bool = False) -> None:
        """Send the response head. ``framing`` says how the body that follows is delimited; ``headers`` carry
        Content-Length themselves where it describes something else than a body (HEAD, 304).

        ``hold``: it goes out together with the first byte of its body, and may be withdrawn as long as there is none.
        """
        fields = list(headers)
        self._chunked_out = False
        if framing.kind is Framing.CHUNKED:
            if self.head.http_10:
                self.keep_alive = False  # no chunks for HTTP/1.0: the body ends with the connection
            else:
                self._chunked_out = True
                fields.append((b"Transfer-Encoding", b"chunked"))
        if not self.body_read:
            self.keep_alive = False
        if not self.keep_alive:
            fields.append((b"Connection", b"close"))
        elif self.head.http_10:
            fields.append((b"Connection", b"keep-alive"))
        self._held = status, render_response_head(status, REASONS.get(status, b""), fields)
        if not hold:
            await self._send_held(more=False)

    def withdraw_head(self) -> None:
        """Unsay a head that is held: another answer may be given."""
        self._held = None

    async def _send_held(self, *, more: bool) -> None:
        if self._held is None:
            return
        (self.status, data), self._held = self._held, None
        self.head_sent = True
        await self.channel.write(data, more)
        self._body_from = self.channel.sent()
        self.first_byte_at = time.perf_counter()

    def resume(self, sent: int, seconds: float) -> None:
        """Go on with an answer whose head and ``sent`` body bytes are out, begun ``seconds`` ago."""
        self.head_sent = True
        self.started -= seconds
        self.first_byte_at = self.started
        self._body_from = self.channel.sent() - sent

    async def write(self, piece: BytesLike) -> None:
        """Send body bytes."""
        if self._held is not None:
            await self._send_held(more=True)
        if not self._chunked_out:
            await self.channel.write(piece)
            return
        length = len(memoryview(piece))
        if length:
            await self.channel.write(b"%x\r\n" % length, True)
            await self.channel.write(piece, True)
            await self.channel.write(b"\r\n")

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send body bytes out of a file, of a body that is not chunked. Raises as :meth:`Channel.send_file`."""
        if self._held is not None:
            await self._send_held(more=True)
        await self.channel.send_file(fd, offset, count)

    def body_sent(self) -> int:
        """Bytes of the response's body that the kernel took; exact for bodies that are not chunked."""
        return self.channel.sent() - self._body_from if self.first_byte_at is not None else 0

    async def end(self) -> None:
        """The body is complete."""
        await self._send_held(more=False)
        if self._chunked_out:
            await self.channel.write(b"0\r\n\r\n")
        self.ended = True

    def now_headers(self) -> Headers:
        """``Date``: always now, because SDKs derive their clock from it (SEMANTICS 16)."""
        return ((b"Date", http_date(int(self.clock.wall()))),)

    def request_ids(self) -> Headers:
        """Ids of our own, for answers that no origin gave."""
        return ((b"x-amz-request-id", self.request_id.encode("ascii")), (b"x-amz-id-2", _host_id(self.request_id)))

    async def send_error(
        self, status: int, code: str, message: str, *, extra: Headers = (), result: Result = Result.ERROR
    ) -> None:
        """An S3 error of our own; without a body to HEAD."""
        self.result = result
        self.error_code = code
        body = render_error(
            code,
            message,
            resource=self.head.target.split(b"?", 1)[0],
            request_id=self.request_id,
            host_id=_host_id(self.request_id).decode("ascii"),
        )
        headers = (
            (b"Content-Type", b"application/xml"),
            (b"Content-Length", b"%d" % len(body)),
            *self.request_ids(),
            *self.now_headers(),
            *extra,
            *cache_status_headers(result),
        )
        if self._head_request:
            await self.send_head(status, headers, NO_BODY)
        else:
            await self.send_head(status, headers, BodyFraming(Framing.LENGTH, len(body)), hold=True)
            await self.write(body)
        await self.end()


def _host_id(request_id: str) -> bytes:
    return HOST_ID + request_id.encode("ascii")
