"""Writes one answer: head and body in pieces, at the pace and with the faults that were asked for."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from fastcache.origin.faults import Wire
from fastcache.origin.message import Late, Response
from fastcache.origin.request import Request
from fastcache.origin.state import Settings
from fastcache.origin.stats import Record, Stats

PIECE = 256 * 1024
"""Bytes of body in one write; small enough to stay in a core's cache between its making and its sending."""
TURN = 16
"""Pieces written before other connections get their turn."""


class Pacer:
    """The bandwidth that all connections of an origin share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._free_at = 0.0

    def piece(self) -> int:
        """Bytes to write at once: a fiftieth of a second's worth at the slower of both rates."""
        rates = [rate for rate in (self.settings.bandwidth_connection, self.settings.bandwidth_total) if rate]
        return max(1, min(PIECE, min(rates) // 50)) if rates else PIECE

    @property
    def active(self) -> bool:
        return bool(self.settings.bandwidth_connection or self.settings.bandwidth_total)

    def next_turn(self, count: int, now: float, own: float) -> float:
        """When the next piece may be written, ``count`` bytes having been written; times are the loop's."""
        if self.settings.bandwidth_connection:
            own = max(own, now) + count / self.settings.bandwidth_connection
        if self.settings.bandwidth_total:
            self._free_at = max(self._free_at, now) + count / self.settings.bandwidth_total
            return max(own, self._free_at)
        return own


class Peer(Protocol):
    """The connection as a transmission sees it."""

    paused: bool
    transport: asyncio.Transport


class Transmission:
    """One answer on its way; ``done`` is called when it is over, with whether the connection can go on."""

    def __init__(
        self,
        peer: Peer,
        request: Request,
        response: Response,
        head: bytes,
        *,
        wire: Wire,
        close: bool,
        pacer: Pacer,
        stats: Stats,
        record: Record,
        done: Callable[[bool], None],
    ) -> None:
        self._peer = peer
        self._request = request
        self._response = response
        self._head = head
        self._wire = wire
        self._close = close
        self._pacer = pacer
        self._stats = stats
        self._record = record
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._position = 0
        self._next = 0.0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._over = False
        self._silent = request.method == b"HEAD" or response.status in (204, 304)
        self._length = 0 if self._silent or response.content is None else response.length
        self._chunked = response.framing == "chunked" and not self._silent

    def start(self, latency: float) -> None:
        """Write the head after ``latency`` seconds, then the body."""
        delay = latency + self._wire.latency
        if self._wire.stall_at is not None and self._wire.stall_at < 0:
            delay += self._wire.stall_seconds
            self._wire = self._wire._replace(stall_at=None)
        if delay > 0:
            self._later(delay, self._begin)
        else:
            self._begin()

    def resume(self) -> None:
        """The peer's buffer has room again."""
        if self._timer is None and not self._over:
            self._pump()

    def cancel(self) -> None:
        """The connection is gone."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> None:
        self._timer = None
        cut = self._wire.cut_head
        if cut is not None:
            self._peer.transport.write(self._head[:cut])
            self._end(keep=False)
            return
        self._peer.transport.write(self._head)
        late = self._response.late
        if late is not None and not self._silent:
            prolog, _, root = late.payload.partition(b"\n")
            self._write_chunk(prolog + b"\n ")
            self._whitespace(late._replace(payload=root), self._loop.time() + late.seconds)
            return
        self._pump()

    def _pump(self) -> None:
        peer, response, wire = self._peer, self._response, self._wire
        turns = 0
        while self._position < self._length:
            if peer.paused:
                return
            count = min(self._pacer.piece(), self._length - self._position)
            stop = self._next_stop(wire)
            if stop is not None:
                count = min(count, stop - self._position)
                if count <= 0:
                    self._stop_reached(wire)
                    return
            assert response.content is not None, "a response with a length has content"
            data = response.content.read(response.start + self._position, count)
            self._position += len(data)
            self._stats.sent(self._request, self._record, len(data))
            if self._chunked:
                peer.transport.write(b"%x\r\n" % len(data))
                peer.transport.write(data)
                peer.transport.write(b"\r\n")
            else:
                peer.transport.write(data)
            if self._over:
                return
            if self._pacer.active:
                now = self._loop.time()
                self._next = self._pacer.next_turn(len(data), now, self._next)
                if self._next > now:
                    self._later(self._next - now, self._again)
                    return
            turns += 1
            if turns == TURN and self._position < self._length:
                self._timer = self._loop.call_soon(self._again)
                return
        if self._next_stop(wire) is not None:
            self._stop_reached(wire)
            return
        self._finish()

    def _finish(self) -> None:
        if self._chunked:
            self._peer.transport.write(b"0\r\n\r\n")
        if self._wire.extra:
            self._peer.transport.write(self._wire.extra)
        self._record.complete = True
        self._end(keep=not self._close)

    def _next_stop(self, wire: Wire) -> int | None:
        """The body position of the next fault; a position past the end is never reached."""
        stops = [at for at in (wire.cut_body, wire.stall_at) if at is not None and at <= self._length]
        return min(stops) if stops else None

    def _stop_reached(self, wire: Wire) -> None:
        if wire.stall_at is not None and wire.stall_at <= self._position:
            self._wire = wire._replace(stall_at=None)
            self._later(wire.stall_seconds, self._again)
        elif wire.reset:
            self._reset_when_flushed()
        else:
            self._end(keep=False)

    def _whitespace(self, late: Late, until: float) -> None:
        self._timer = None
        left = until - self._loop.time()
        if left > 0:
            self._write_chunk(b" ")
            self._timer = self._loop.call_later(min(left, late.interval), self._whitespace, late, until)
            return
        self._write_chunk(late.payload)
        self._finish()

    def _write_chunk(self, data: bytes) -> None:
        self._peer.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _reset_when_flushed(self) -> None:
        transport = self._peer.transport
        self._timer = None
        if transport.get_write_buffer_size():
            self._later(0.01, self._reset_when_flushed)
            return
        held = transport.get_extra_info("socket")
        if held is not None:
            # A duplicate shares the socket's options, and asyncio forbids changing those of its own.
            with socket.socket(fileno=os.dup(held.fileno())) as duplicate:
                duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._over = True
        transport.abort()

    def _again(self) -> None:
        self._timer = None
        if not self._over:
            self._pump()

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        self._timer = self._loop.call_later(delay, action)

    def _end(self, *, keep: bool) -> None:
        self._over = True
        self._done(keep)
