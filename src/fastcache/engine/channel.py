"""The client's side of one exchange, as coroutines over the connection core.

A :class:`Channel` lives as long as the connection; the exchange on it changes with every request. The plain one speaks
to ``_core.reactor`` by connection id; a TLS connection offers the same methods over another sink, so nothing above this
module knows what carries the bytes.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from fastcache._core.reactor import OUT_DEAD, OUT_DONE, OUT_FILE, Reactor
from fastcache.errors import FastcacheError, StorageError
from fastcache.model import BytesLike

_EMPTY = b""


class ClientGoneError(FastcacheError):
    """The client left, stalled past its limit, or sent less than it announced. Nobody is there to be told."""

    log_level = 10


class FileSendError(StorageError):
    """``sendfile`` could not read the file (EIO, ESTALE) or it was shorter than it should be; the client is there."""


class Channel(Protocol):
    """What an exchange needs from its connection. Lengths and limits are bytes."""

    async def read(self, limit: int) -> bytes:
        """Next bytes of the request's body, b"" when the client sends no more. Raises ClientGoneError."""
        ...

    def has_input(self) -> bool:
        """Whether bytes of the request's body have come already."""
        ...

    def unread(self, data: BytesLike) -> None:
        """Give back bytes that belong to the next request."""
        ...

    async def write(self, data: BytesLike, more: bool = False) -> None:
        """Hand all of ``data`` to the kernel; waits while the client is slow. Raises ClientGoneError."""
        ...

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send a file interval by ``sendfile``. Raises ClientGoneError or FileSendError."""
        ...

    def write_interim(self, data: bytes) -> None:
        """Send a 1xx answer if the socket takes it at once: an interim answer may be lost, it may not cause a stall."""
        ...

    def sent(self) -> int:
        """Bytes of this exchange's response that the kernel took."""
        ...

    @property
    def peer(self) -> tuple[str, int]:
        """The client's numeric address and port."""
        ...


class PlainChannel:
    """A plain-HTTP connection of the reactor."""

    __slots__ = ("_loop", "_reactor", "_readable", "_writable", "cid", "gone", "peer")

    def __init__(self, reactor: Reactor, cid: int, loop: asyncio.AbstractEventLoop) -> None:
        self._reactor = reactor
        self._loop = loop
        self.cid = cid
        self.gone = False
        self.peer = reactor.peer(cid)
        self._readable: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[bool] | None = None

    # ---- from the reactor

    def notify_readable(self) -> None:
        """The reactor has bytes, or the end, for a pending :meth:`read`."""
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    def notify_writable(self, ok: bool) -> None:
        """The pending output is done; ``ok`` is False when the file under it failed."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(ok)

    def notify_gone(self) -> None:
        """The client left: whoever waits on the connection learns it now."""
        self.gone = True
        for future in (self._readable, self._writable):
            if future is not None and not future.done():
                future.set_exception(ClientGoneError("the client closed the connection"))
                future.exception()  # retrieved here: a cancelled waiter would leave it unseen

    # ---- for the exchange

    async def read(self, limit: int) -> bytes:
        while True:
            if self.gone:
                raise ClientGoneError("the client closed the connection")
            piece = self._reactor.recv(self.cid, limit)
            if piece is not None:
                return piece
            self._readable = self._loop.create_future()
            try:
                await self._readable
            finally:
                self._readable = None

    def has_input(self) -> bool:
        return self._reactor.has_input(self.cid)

    def unread(self, data: BytesLike) -> None:
        self._reactor.unread(self.cid, data)

    async def write(self, data: BytesLike, more: bool = False) -> None:
        if self.gone or self._writable is not None:
            await self._settle()
        outcome = self._reactor.write(self.cid, data, more)
        if outcome != OUT_DONE:
            await self._finish(outcome)

    async def send_file(self, fd: int, offset: int, count: int) -> None:
        if self.gone or self._writable is not None:
            await self._settle()
        outcome = self._reactor.send_file(self.cid, fd, offset, count)
        if outcome != OUT_DONE:
            await self._finish(outcome)

    def write_interim(self, data: bytes) -> None:
        if self.gone or self._writable is not None:
            return
        if self._reactor.write(self.cid, data) == 0:
            self._writable = self._loop.create_future()

    def sent(self) -> int:
        return self._reactor.sent(self.cid)

    async def _settle(self) -> None:
        """Wait for an interim answer that the socket did not take at once."""
        if self.gone:
            raise ClientGoneError("the client closed the connection")
        if self._writable is not None:
            try:
                await self._writable
            finally:
                self._writable = None

    async def _finish(self, outcome: int) -> None:
        """See an output through that the core did not finish at once."""
        if outcome == OUT_DEAD:
            self.gone = True
            raise ClientGoneError("the client closed the connection")
        if outcome == OUT_FILE:
            raise FileSendError("a cache file could not be sent")
        self._writable = self._loop.create_future()
        try:
            ok = await self._writable
        except asyncio.CancelledError:
            # The caller lets the file or the memory go now, and the core would go on sending from it.
            self.gone = True
            self._reactor.abort(self.cid)
            raise
        finally:
            self._writable = None
        if not ok:
            raise FileSendError("a cache file could not be sent")
