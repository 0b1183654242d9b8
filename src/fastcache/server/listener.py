"""Listening sockets."""

from __future__ import annotations

import socket
from typing import Any

from fastcache.errors import ConfigError

BACKLOG = 4096
"""Asked for; the kernel caps it at net.core.somaxconn."""


def open_listener(
    host: str, port: int, *, congestion: str | None = None, one_of_several: bool | None = None
) -> socket.socket:
    """A non-blocking listening socket. Raises ConfigError naming the address when it cannot be had.

    ``congestion`` selects a TCP congestion control for accepted connections; the kernel may refuse it.
    ``one_of_several``: whether it joins others of ours on the same address (SO_REUSEPORT); False for the first of them,
    which must find the address free; None for one that stays alone.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
    except OSError as error:
        raise ConfigError(f"host: {host!r} cannot be resolved: {error.strerror or error}") from error
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if one_of_several is False:
            _check_free(family, address)
        if one_of_several is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if congestion:
            _set_congestion(listener, congestion)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    except ConfigError:
        listener.close()
        raise
    return listener


def _check_free(family: int, address: Any) -> None:
    """Another instance that shares its port could be joined by mistake, and take a part of its connections."""
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)


def _set_congestion(listener: socket.socket, congestion: str) -> None:
    try:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode("ascii"))
    except OSError as error:
        raise ConfigError(
            f"tcp-congestion: the kernel refuses {congestion!r} ({error.strerror or error}); "
            "see net.ipv4.tcp_allowed_congestion_control"
        ) from error


def address_of(listener: socket.socket) -> tuple[str, int]:
    """The numeric host and port a listener got."""
    name = listener.getsockname()
    return str(name[0]), int(name[1])
