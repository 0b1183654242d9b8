"""An origin's answer in the hands of its reader."""

from __future__ import annotations

import contextlib
import warnings

from fastcache.errors import UpstreamError
from fastcache.protocol.responses import ResponseHead
from fastcache.upstream.body import Trailers
from fastcache.upstream.connection import Connection
from fastcache.upstream.exchange import Exchange


class Response:
    """A final head and the body behind it. Read it to the end or abort() it.

    The connection goes back to the pool when the body's last byte has arrived, read or not.
    """

    __slots__ = ("_connection", "_exchange", "head", "request_complete")

    def __init__(self, head: ResponseHead, connection: Connection, exchange: Exchange) -> None:
        self.head = head
        self.request_complete = exchange.request_complete
        """The whole request body had been sent when the final head arrived."""
        self._connection = connection
        self._exchange = exchange

    async def read(self) -> memoryview:
        """The next piece of the decoded body, never copied; an empty one at its proper end.

        The memory belongs to whoever holds a view of it and is not written again. UpstreamProtocolError when the body
        was cut or malformed, UpstreamTimeoutError when the origin made no progress; what had arrived comes before.
        A cancelled read aborts the response.
        """
        try:
            return await self._exchange.body.read()
        except BaseException:
            self.abort()
            raise

    async def peek(self, limit: int) -> bytes:
        """The body's beginning, at least ``limit`` bytes of it or all there is; ``read`` gives it again."""
        pieces: list[memoryview] = []
        size = 0
        with contextlib.suppress(UpstreamError):  # whoever reads the rest learns it
            while size < limit and (piece := await self.read()):
                pieces.append(piece)
                size += len(piece)
        self._exchange.body.give_back(pieces)
        return b"".join(pieces)

    @property
    def trailers(self) -> Trailers:
        """The trailer fields of a chunked body; empty before its end."""
        return self._exchange.body.trailers

    @property
    def bytes_received(self) -> int:
        """Bytes of the body that have arrived, read or not."""
        return self._exchange.body.received

    def abort(self) -> None:
        """Drop the connection at once, and what was not read. After the end of the body it does nothing."""
        body = self._exchange.body
        if not body.ended:
            self._connection.abort(self._exchange)
        if body.unread:
            body.discard(UpstreamError("the response was aborted"))

    def __del__(self) -> None:
        if not self._exchange.body.ended:
            warnings.warn("a response was neither read to its end nor aborted", ResourceWarning, stacklevel=2)
            self.abort()
