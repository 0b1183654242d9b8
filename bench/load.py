"""The load: keep-alive connections that ask, check status and length, and discard bodies without copying them.

One request is under way on each connection. Bodies are taken with MSG_TRUNC, so that the kernel drops them where they
are: a client that copies them measures itself from 64 KiB on.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bench.congestion import set_congestion

HEAD_ROOM = 8192
"""Bytes read at once while a response head is awaited: a small answer comes with one call."""
DISCARD = 4 << 20
"""Most bytes discarded by one call."""
STALL = 20.0
"""Seconds without any event after which the server is taken to hang."""

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class LoadError(Exception):
    """The server answered something else than what was asked for, or not at all; nothing was measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a run moved. ``load_cpu`` is CPU seconds of the client: near ``seconds``, the client was the limit."""

    requests: int
    body_bytes: int
    seconds: float
    load_cpu: float


class _Connection:
    __slots__ = ("buffer", "have", "left", "socket", "view")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=STALL)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        set_congestion(self.socket)
        self.socket.setblocking(False)
        self.buffer = bytearray(HEAD_ROOM)
        self.view = memoryview(self.buffer)
        self.have = 0
        """Bytes of an incomplete head in the buffer."""
        self.left = 0
        """Body bytes still to come; 0 while a head is awaited."""


class Load:
    """``connections`` connections to one server, kept for all runs."""

    def __init__(self, address: tuple[str, int], connections: int) -> None:
        self._sink = bytearray(DISCARD)
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        for _ in range(connections):
            connection = _Connection(address)
            self._connections[connection.socket.fileno()] = connection
            self._epoll.register(connection.socket.fileno(), select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._epoll.close()
        for connection in self._connections.values():
            connection.socket.close()

    def run(self, requests: Iterable[bytes], seconds: float | None = None) -> Sample:
        """Send ``requests`` in order, each once, over all connections; with ``seconds`` no more after that time.

        Returns when every answer is complete. Raises LoadError.
        """
        cpu = time.process_time()
        began = time.perf_counter()
        deadline = float("inf") if seconds is None else began + seconds
        pending = iter(requests)
        active = sum(_ask(connection, pending) for connection in self._connections.values())
        done = body_bytes = 0
        while active:
            events = self._epoll.poll(STALL)
            if not events:
                raise LoadError(f"no byte for {STALL:g} s")
            for fd, _ in events:
                connection = self._connections[fd]
                if connection.left:
                    received = self._discard(connection)
                else:
                    received = _begin(connection)
                body_bytes += received
                if connection.left or connection.have:
                    continue
                done += 1
                if time.perf_counter() >= deadline or not _ask(connection, pending):
                    active -= 1
        return Sample(done, body_bytes, time.perf_counter() - began, time.process_time() - cpu)

    def _discard(self, connection: _Connection) -> int:
        received = connection.socket.recv_into(self._sink, min(connection.left, DISCARD), socket.MSG_TRUNC)
        if not received:
            raise LoadError("the connection ended inside a body")
        connection.left -= received
        return received


def _ask(connection: _Connection, pending: Iterator[bytes]) -> bool:
    request = next(pending, None)
    if request is None:
        return False
    if connection.socket.send(request) != len(request):
        raise LoadError("a request did not fit into the socket")
    return True


def _begin(connection: _Connection) -> int:
    """Take (more of) a head, and the body bytes that came with it; how many those were."""
    received = connection.socket.recv_into(connection.view[connection.have :])
    if not received:
        raise LoadError("the connection ended where an answer was due")
    have = connection.have + received
    end = connection.buffer.find(b"\r\n\r\n", 0, have)
    if end < 0:
        if have == HEAD_ROOM:
            raise LoadError("a response head is longer than expected")
        connection.have = have
        return 0
    length = _LENGTH.search(connection.buffer, 0, end)
    if not connection.buffer.startswith(b"HTTP/1.1 20") or length is None:
        raise LoadError(f"unexpected answer: {bytes(connection.buffer[:end])!r}")
    body = have - end - 4
    connection.have = 0
    connection.left = int(length[1]) - body
    if connection.left < 0:
        raise LoadError("more bytes than the answer announced")
    return body


def fetch(address: tuple[str, int], request: bytes) -> tuple[bytes, bytes]:
    """One answer whole: head and body. Raises LoadError."""
    with socket.create_connection(address, timeout=STALL) as connection:
        connection.sendall(request)
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            _receive(connection, data)
        head = bytes(data[:end])
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 20") or length is None:
            raise LoadError(f"unexpected answer: {bytes(data)!r}")
        total = end + 4 + int(length[1])
        while len(data) < total:
            _receive(connection, data)
    return head, bytes(data[end + 4 :])


def _receive(connection: socket.socket, data: bytearray) -> None:
    piece = connection.recv(1 << 20)
    if not piece:
        raise LoadError("the connection ended inside an answer")
    data += piece
