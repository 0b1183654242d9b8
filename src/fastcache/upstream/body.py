"""A response body between the connection that receives it and the one consumer that reads it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fastcache.errors import UpstreamError

EMPTY = memoryview(b"")

Trailers = tuple[tuple[bytes, bytes], ...]


class ReceivedBody:
    """Pieces that were received and not read yet.

    A piece is a stretch of a block; stretches that touch become one piece, so a consumer that falls behind gets fewer
    and larger ones. The blocks belong to whoever holds a view of them and are never written again where one was
    handed out. ``on_read`` is called after each piece with the bytes still unread, until the body has ended: from then
    on the connection may belong to somebody else.
    """

    __slots__ = ("_error", "_finished", "_on_read", "_pieces", "_reader", "received", "trailers", "unread")

    def __init__(self, on_read: Callable[[int], None]) -> None:
        self._pieces: deque[tuple[memoryview, int, int]] = deque()
        self._on_read: Callable[[int], None] | None = on_read
        self._reader: asyncio.Future[None] | None = None
        self._error: UpstreamError | None = None
        self._finished = False
        self.unread = 0
        self.received = 0
        self.trailers: Trailers = ()

    @property
    def ended(self) -> bool:
        """The whole body has been received, or it failed: nothing more will be put."""
        return self._finished or self._error is not None

    def put(self, block: memoryview, start: int, end: int) -> None:
        """Take ``block[start:end]``; the caller never writes there again."""
        size = end - start
        if size == 0:
            return
        self.received += size
        self.unread += size
        if self._pieces:
            last_block, last_start, last_end = self._pieces[-1]
            if last_block is block and last_end == start:
                self._pieces[-1] = (block, last_start, end)
                return
        self._pieces.append((block, start, end))
        self._wake()

    def finish(self, trailers: Trailers = ()) -> None:
        """The body is complete."""
        self._finished = True
        self._on_read = None
        self.trailers = trailers
        self._wake()

    def fail(self, error: UpstreamError) -> None:
        """No more will come: the reader gets what was received, then ``error``."""
        if not self.ended:
            self._error = error
            self._on_read = None
            self._wake()

    def discard(self, error: UpstreamError) -> None:
        """The consumer has lost interest: free the pieces; a read that still waits gets ``error``."""
        self._pieces.clear()
        self.unread = 0
        self._finished = False
        self._error = error
        self._on_read = None
        self._wake()

    async def read(self) -> memoryview:
        """The next piece; an empty one at the proper end, again and again; UpstreamError when it was cut."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._finished:
                return EMPTY
            if self._reader is not None:
                raise RuntimeError("a body has one reader")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        block, start, end = self._pieces.popleft()
        self.unread -= end - start
        if self._on_read is not None:
            self._on_read(self.unread)
        return block[start:end]

    def give_back(self, pieces: list[memoryview]) -> None:
        """Put what was read last in front again."""
        for piece in reversed(pieces):
            self._pieces.appendleft((piece, 0, len(piece)))
            self.unread += len(piece)

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
