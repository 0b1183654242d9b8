"""Connections for the load generator, and one answer in whole over one of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable

from fastcache._core.answers import Answer, parse_answer

CONNECT_TIMEOUT = 20.0
"""Seconds for connecting, and for each piece of a fetched answer."""


class LoadError(Exception):
    """A server answered something else than what was asked for, or not at all; nothing was measured."""


def opener(address: tuple[str, int], *, congestion: str | None = None) -> Callable[[], socket.socket]:
    """For ``Load.add``: each call is a new connection to ``address``, non-blocking, without Nagle's delay.

    ``congestion`` names a TCP congestion control; PermissionError where the kernel refuses it.
    """

    def connected() -> socket.socket:
        one = socket.create_connection(address, timeout=CONNECT_TIMEOUT)
        try:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if congestion is not None:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode("ascii"))
            one.setblocking(False)
        except BaseException:
            one.close()
            raise
        return one

    return connected


def fetch(address: tuple[str, int], head: bytes) -> tuple[Answer, bytes]:
    """The answer to ``head`` whole: what its head says, and all bytes as they came.

    Raises LoadError for what is not framed by a Content-Length, and OSError.
    """
    with socket.create_connection(address, timeout=CONNECT_TIMEOUT) as connection:
        connection.sendall(head)
        data = bytearray()
        while (answer := _parsed(data)) is None:
            _receive(connection, data)
        bodiless = head.startswith(b"HEAD ") or answer.status == 304
        if answer.length is None or answer.chunked:
            raise LoadError(f"an answer without Content-Length: {bytes(data[: answer.size])!r}")
        total = answer.size + (0 if bodiless else answer.length)
        while len(data) < total:
            _receive(connection, data)
    return answer, bytes(data)


def _parsed(data: bytearray) -> Answer | None:
    try:
        return parse_answer(bytes(data)) if data else None
    except ValueError:
        raise LoadError(f"unexpected answer: {bytes(data[:200])!r}") from None


def _receive(connection: socket.socket, data: bytearray) -> None:
    piece = connection.recv(1 << 20)
    if not piece:
        raise LoadError("the connection ended inside an answer")
    data += piece
