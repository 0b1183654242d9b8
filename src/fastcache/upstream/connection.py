"""One HTTP/1.1 connection to the origin: requests out, heads and bodies in, one exchange at a time.

States:  IDLE --start()--> HEAD --final head--> BODY --end of body--> IDLE (reusable) or CLOSED
         IDLE --lend()--> LENT --take_back()--> IDLE, or --go_on()--> HEAD
         any state --failure, abort(), close by the peer--> CLOSED

While it is LENT its socket is not looked at here: somebody else has exchanges of the same kind on it, one at a time.
A byte that arrives in IDLE belongs to nobody and closes the connection, as do bytes behind a response's end.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
from typing import Protocol, cast

from fastcache._core.block import Block
from fastcache._core.chunked import ChunkedDecoder
from fastcache._core.silence import is_silent
from fastcache.errors import UpstreamError, UpstreamProtocolError, UpstreamSurplusError, UpstreamTimeoutError
from fastcache.protocol.framing import Framing
from fastcache.protocol.responses import ResponseHead, parse_response_head
from fastcache.upstream.exchange import Exchange, UnansweredError
from fastcache.upstream.metrics import UpstreamMetrics
from fastcache.upstream.sending import Sending
from fastcache.upstream.settings import UpstreamSettings

MAX_HEAD = 64 * 1024
"""Bytes of one response head, its empty line included."""
MAX_INFORMATIONAL = 64
"""1xx responses before a final one."""
MIN_ROOM = 4096
"""The least a receive call is offered, and what a block holds beyond a known length, so that surplus bytes show."""


class Owner(Protocol):
    """Who is told what becomes of a connection: the pool."""

    def connection_idle(self, connection: Connection) -> None: ...
    def connection_lost(self, connection: Connection) -> None: ...


class State(enum.Enum):
    """Where the connection stands; see the module's docstring."""

    IDLE = enum.auto()
    LENT = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    CLOSED = enum.auto()


class Connection(Sending):
    """Receives into blocks of its own and hands out views of them; a stretch that was handed out is never reused."""

    def __init__(self, owner: Owner, settings: UpstreamSettings, metrics: UpstreamMetrics, sock: socket.socket) -> None:
        super().__init__(metrics)
        self._owner = owner
        self._settings = settings
        self._sock = sock
        self._state = State.IDLE
        self.exchanges = 0
        self.idle_since = 0.0
        """Loop time of the last return to the pool; the pool's to write."""
        # Receiving: _block is a view of the current block, _filled the bytes of it that are in use. Heads are received
        # into _store, which is empty while a block for bodies is in its place.
        self._store = bytearray()
        self._block = memoryview(self._store)
        self._filled = 0
        self._read_paused = False
        self._head_start = 0
        self._head_scanned = 0
        self._framing = Framing.NONE
        self._remaining = 0
        self._chunks: ChunkedDecoder | None = None
        self._reusable = False
        # What sweep() compares: set by whatever counts as progress, and the time of the last sweep that saw some.
        self._progress_time = 0.0
        self._unsent = 0

    # Life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._settings.write_high, low=self._settings.write_low)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._receive_rest()
        self._peer_closed(clean=exc is None)
        self._owner.connection_lost(self)

    def eof_received(self) -> bool:
        self._peer_closed(clean=True)
        return False

    @property
    def is_closed(self) -> bool:
        return self._state is State.CLOSED

    def _receive_rest(self) -> None:
        """Take an early answer that stands in the socket although sending failed.

        An origin that refuses a body answers and closes; its RST makes our next write fail, and the loop would drop
        the answer unread. Under TLS the bytes are out of reach.
        """
        exchange = self._exchange
        if self._state is not State.HEAD or self._transport is None or self._transport.get_extra_info("sslcontext"):
            return
        with contextlib.suppress(OSError):  # the reset itself, behind the last byte
            while self._exchange is exchange:
                count = self._sock.recv_into(self.get_buffer(-1), 0, socket.MSG_DONTWAIT)
                if count == 0:
                    return
                self.buffer_updated(count)

    @property
    def is_idle(self) -> bool:
        """No exchange is under way and none is kept from beginning, as far as the loop knows."""
        return self._state is State.IDLE and self._transport is not None and not self._transport.is_closing()

    def is_usable(self) -> bool:
        """Idle, and neither a FIN nor a stray byte waits in the socket although the loop has not seen it yet.

        One recv() per reuse is what keeps most requests that cannot be repeated off connections that are dead already.
        """
        return self.is_idle and is_silent(self._sock.fileno())

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._sock.fileno()

    def lend(self) -> None:
        """Leave the socket of this idle connection to somebody else."""
        if self._state is not State.IDLE or self._transport is None:
            raise RuntimeError("the connection is not idle")
        self._state = State.LENT
        self._transport.pause_reading()

    def take_back(self) -> None:
        """The socket is ours again, with no exchange under way."""
        if self._state is State.LENT and self._transport is not None:
            self._state = State.IDLE
            self._transport.resume_reading()

    def go_on(self, method: bytes, *, unsent: bytes, received: bytes, seconds: float) -> Exchange:
        """The socket is ours again, with an exchange under way that began ``seconds`` ago: ``unsent`` is left of its
        request, or ``received`` is what has come of its answer."""
        if self._state is not State.LENT or self._transport is None:
            raise RuntimeError("the connection is not lent")
        exchange = self._begin(method, has_body=False)
        self._progress_time -= seconds
        self._progressed = False  # what was seen of an exchange before is none of this one's progress
        self._transport.resume_reading()  # first: an answer that is complete may end in the connection being lent again
        if unsent:
            self.write(exchange, unsent, last=True)
        if received:
            if len(self._block) - self._filled < len(received):
                self._new_block(len(received) + MIN_ROOM)
            self.get_buffer(-1)[: len(received)] = received
            self.buffer_updated(len(received))
        return exchange

    def abort(self, exchange: Exchange | None = None) -> None:
        """Drop the connection now, unsent and unread bytes included; with ``exchange``, only while it serves that."""
        if exchange is None or self._exchange is exchange:
            self._fail(UpstreamError("the request was given up"))

    def _fail(self, error: UpstreamError) -> None:
        """Drop the connection now; whoever waits for its answer gets ``error``."""
        self._state = State.CLOSED
        if self._exchange is not None:
            self._exchange.fail(error)
            self._exchange = None
        self._wake_writer()
        if self._transport is not None:
            self._transport.abort()

    def _peer_closed(self, *, clean: bool) -> None:
        exchange = self._exchange
        if exchange is not None and self._state is State.BODY:
            if self._framing is Framing.CLOSE and clean:
                self._reusable = False
                self._end_of_body(exchange)
            else:
                self._fail(UpstreamProtocolError("the origin closed the connection before the end of its answer"))
        elif exchange is not None and not exchange.answered:
            self._fail(UnansweredError("the origin closed the connection before answering"))
        else:
            self._fail(UpstreamProtocolError("the origin closed the connection in the middle of a response head"))

    # Time

    def restart_patience(self, exchange: Exchange) -> None:
        """Something other than received or sent bytes counts as progress of ``exchange``."""
        if self._exchange is exchange:
            self._progressed = True

    def sweep(self, now: float) -> None:
        """Fail an exchange that has made no progress for too long. ``now`` is the loop's time."""
        exchange = self._exchange
        if exchange is None or self._transport is None:
            return
        limit = self._patience(exchange)
        unsent = self._transport.get_write_buffer_size()
        if limit is None or self._progressed or unsent != self._unsent:
            self._progressed = False
            self._unsent = unsent
            self._progress_time = now
        elif now - self._progress_time >= limit:
            self._fail(UpstreamTimeoutError(f"no progress of the origin for {limit:g} s"))

    def _patience(self, exchange: Exchange) -> float | None:
        """Seconds without progress that are tolerable now; None while the slow side is our consumer or the client."""
        if self._state is State.BODY:
            return None if self._read_paused else self._settings.idle_timeout
        if exchange.awaiting_client:
            return None
        return self._settings.first_byte_timeout if exchange.request_complete else self._settings.idle_timeout

    # Sending

    def start(self, method: bytes, head: bytes, *, has_body: bool) -> Exchange:
        """Begin an exchange on this idle connection: its head goes out now."""
        if self._state is not State.IDLE:
            raise RuntimeError("the connection is not idle")
        exchange = self._begin(method, has_body=has_body)
        self._metrics.request_sent(method)
        self.write(exchange, head, last=not has_body)
        return exchange

    def _begin(self, method: bytes, *, has_body: bool) -> Exchange:
        exchange = self._exchange = Exchange(method, self._on_read, self.loop, has_body=has_body)
        self._state = State.HEAD
        self.exchanges += 1
        self._chunks = None
        if not self._store or len(self._block) - self._filled < self._settings.first_block // 4:
            self._new_block(self._settings.first_block)
        self._head_start = self._head_scanned = self._filled
        self._progress_time = self.loop.time()
        return exchange

    # Receiving

    def get_buffer(self, sizehint: int) -> memoryview:
        if len(self._block) - self._filled < MIN_ROOM:
            self._new_block(self._next_block_size())
        return self._block[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        start = self._filled
        end = self._filled = start + nbytes
        exchange = self._exchange
        if exchange is None:
            self._fail(UpstreamProtocolError("the origin sent bytes that nobody asked for"))
        elif self._state is State.HEAD:
            exchange.answered = True
            try:
                self._head_bytes(exchange, end)
            except UpstreamProtocolError as error:
                self._fail(error)
        else:
            self._body_bytes(exchange, start, end)

    def _next_block_size(self) -> int:
        if self._state is State.HEAD:
            return MAX_HEAD + MIN_ROOM
        if self._state is not State.BODY:
            return MIN_ROOM
        if self._framing is Framing.LENGTH and self._remaining < self._settings.receive_block // 2:
            return self._remaining + MIN_ROOM
        return self._settings.receive_block

    def _new_block(self, size: int) -> None:
        """Leave the current block to whoever holds views of it; a head that is not complete moves along."""
        partial = self._store[self._head_start : self._filled] if self._state is State.HEAD else b""
        if self._state is State.BODY and size == self._settings.receive_block:
            self._store = bytearray()
            self._block = memoryview(Block(size))
        else:
            self._store = bytearray(size)
            self._block = memoryview(self._store)
            self._store[: len(partial)] = partial
        self._filled = len(partial)
        self._head_scanned -= self._head_start
        self._head_start = 0

    def _head_bytes(self, exchange: Exchange, end: int) -> None:
        """Take every whole head in the block up to ``end``, and the body's beginning behind the final one."""
        while self._state is State.HEAD and self._head_start < end:
            if not b"HTTP/1.".startswith(self._store[self._head_start : min(end, self._head_start + 7)]):
                raise UpstreamProtocolError("the origin's answer has no HTTP/1.x status line")
            found = self._store.find(b"\r\n\r\n", max(self._head_start, self._head_scanned - 3), end)
            if (end if found < 0 else found + 4) - self._head_start > MAX_HEAD:
                raise UpstreamProtocolError(f"the origin's answer has a head of more than {MAX_HEAD} bytes")
            if found < 0:
                self._head_scanned = end
                return
            raw = bytes(self._block[self._head_start : found + 4])
            self._head_start = self._head_scanned = found + 4
            self._one_head(exchange, parse_response_head(raw, exchange.method))
        if self._state is State.BODY:
            self._begin_body(exchange, self._head_start, end)

    def _one_head(self, exchange: Exchange, head: ResponseHead) -> None:
        self._progressed = True
        if head.status >= 200:
            self._final_head(exchange, head)
        else:
            exchange.informational += 1
            if head.status == 101:
                raise UpstreamProtocolError("the origin switched protocols although nobody asked")
            if exchange.informational > MAX_INFORMATIONAL:
                raise UpstreamProtocolError(f"the origin sent more than {MAX_INFORMATIONAL} informational answers")
        exchange.put_head(head)

    def _final_head(self, exchange: Exchange, head: ResponseHead) -> None:
        self._state = State.BODY
        self._framing = head.framing.kind
        self._remaining = head.framing.length
        if self._framing is Framing.CHUNKED:
            self._chunks = ChunkedDecoder()
        # An answer to a request that is still being sent ends the sending, and with it the connection's use.
        everything_sent = (
            exchange.request_complete and self._transport is not None and self._transport.get_write_buffer_size() == 0
        )
        self._reusable = head.keep_alive and everything_sent
        self._wake_writer()

    def _begin_body(self, exchange: Exchange, start: int, end: int) -> None:
        if self._framing is Framing.NONE or (self._framing is Framing.LENGTH and self._remaining == 0 and start == end):
            self._end_of_body(exchange, surplus=start < end)
        elif start < end:
            self._body_bytes(exchange, start, end)

    def _body_bytes(self, exchange: Exchange, start: int, end: int) -> None:
        self._progressed = True
        body = exchange.body
        before = body.received
        if self._framing is Framing.LENGTH:
            if end - start > self._remaining:
                # The last piece is held back: what is not whole cannot be taken for whole, by a client or by a cache.
                self._fail(UpstreamSurplusError("the origin sent more than it announced"))
                return
            self._remaining -= end - start
            body.put(self._block, start, end)
            if self._remaining == 0:
                self._end_of_body(exchange)
        elif self._chunks is not None:
            self._chunked_bytes(exchange, self._chunks, start, end)
        else:
            body.put(self._block, start, end)
        self._metrics.body_received(body.received - before)
        if body.unread >= 2 * self._settings.receive_block and not body.ended and not self._read_paused:
            self._pause_reading()

    def _chunked_bytes(self, exchange: Exchange, chunks: ChunkedDecoder, start: int, end: int) -> None:
        try:
            offset, length, consumed = chunks.compact(self._block[start:end])
        except ValueError as error:
            self._fail(UpstreamProtocolError(f"the origin's answer has a malformed chunked body: {error}"))
            return
        exchange.body.put(self._block, start + offset, start + offset + length)
        if chunks.done:
            self._end_of_body(exchange, surplus=start + consumed < end)
        else:
            self._filled = start + offset + length  # what held the framing is free again

    def _end_of_body(self, exchange: Exchange, *, surplus: bool = False) -> None:
        exchange.body.finish(() if self._chunks is None else self._chunks.trailers)
        self._exchange = None
        self._resume_reading()
        if self._reusable and not surplus:
            self._state = State.IDLE
            if not self._store or len(self._block) - self._filled < self._settings.first_block // 4:
                self._new_block(0)  # an idle connection holds no memory worth mentioning
            self._owner.connection_idle(self)
        else:
            self._state = State.CLOSED
            if self._transport is not None:
                self._transport.abort()

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._read_paused = True
            self._transport.pause_reading()

    def _on_read(self, unread: int) -> None:
        if unread < self._settings.receive_block:
            self._resume_reading()

    def _resume_reading(self) -> None:
        if self._read_paused:
            self._read_paused = False
            self._progressed = True
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()
