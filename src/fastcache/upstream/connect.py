"""Opening a connection: name, addresses in turn, TCP, TLS, within one budget of time."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable

from fastcache.errors import UpstreamConnectError, UpstreamError, UpstreamTimeoutError
from fastcache.model import OriginId
from fastcache.upstream.connection import Connection
from fastcache.upstream.resolver import Address, Resolver
from fastcache.upstream.settings import UpstreamSettings
from fastcache.upstream.tls import client_context, handshake_error

MAX_ADDRESSES = 4
"""Addresses tried for one connection; with more, each one's share of the time would be too short to mean anything."""


class Connector:
    """Makes connections to one origin. The TLS context is built once; ConfigError when that is not possible."""

    def __init__(self, origin: OriginId, settings: UpstreamSettings) -> None:
        self._origin = origin
        self._settings = settings
        self._tls = client_context(settings.ca_file) if origin.scheme == "https" else None

    async def connect(self, resolver: Resolver, make: Callable[[socket.socket], Connection]) -> Connection:
        """A new connection to the first address that answers.

        UpstreamConnectError or, when it was a matter of time, UpstreamTimeoutError: that of the last address tried.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.connect_timeout
        try:
            async with asyncio.timeout_at(deadline):
                addresses = (await resolver.addresses())[:MAX_ADDRESSES]
        except TimeoutError:
            raise UpstreamTimeoutError(f"resolving {self._origin.host} took too long", sent=False) from None
        failure: UpstreamError = UpstreamConnectError(f"{self._origin.host} has no address")
        for tried, address in enumerate(addresses):
            share = (deadline - loop.time()) / (len(addresses) - tried)
            try:
                connection = await self._attempt(address, share, make)
            except UpstreamError as error:
                resolver.failed(address)
                failure = error
            else:
                resolver.succeeded(address)
                return connection
        raise failure

    async def _attempt(
        self, address: Address, seconds: float, make: Callable[[socket.socket], Connection]
    ) -> Connection:
        where = f"{self._origin} at {address.sockaddr[0]}"
        try:
            sock = socket.socket(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        except OSError as error:
            raise UpstreamConnectError(f"no socket to connect to {where}: {error.strerror}") from None
        try:
            async with asyncio.timeout(seconds):
                return await self._open(sock, address, make)
        except ssl.SSLError as error:
            raise handshake_error(where, error) from None
        except TimeoutError:
            raise UpstreamTimeoutError(f"connecting to {where} took too long", sent=False) from None
        except OSError as error:
            # asyncio puts a text of its own where the kernel's belongs.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UpstreamConnectError(f"cannot connect to {where}: {reason}") from None

    async def _open(
        self, sock: socket.socket, address: Address, make: Callable[[socket.socket], Connection]
    ) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _choose_congestion_control(sock, self._settings.tcp_congestion)
            await loop.sock_connect(sock, address.sockaddr)
        except BaseException:
            sock.close()
            raise
        # From here on the loop owns the socket and closes it, on failure and cancellation too.
        if self._tls is None:
            _, connection = await loop.create_connection(lambda: make(sock), sock=sock)
        else:
            _, connection = await loop.create_connection(
                lambda: make(sock), sock=sock, ssl=self._tls, server_hostname=self._origin.host
            )
        return connection


def _choose_congestion_control(sock: socket.socket, name: str | None) -> None:
    if name is None:
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except OSError as error:
        raise UpstreamConnectError(f"the kernel refuses congestion control {name!r}: {error.strerror}") from None
