"""Listens: the S3 port and the control port, in one event loop."""

from __future__ import annotations

import asyncio
import ssl

from fastcache.origin.connection import Connection
from fastcache.origin.control_server import serve_control
from fastcache.origin.service import Service
from fastcache.origin.state import OriginState
from fastcache.origin.transmission import Pacer


class OriginServer:
    """A running origin. ``port`` and ``control_port`` are set once it listens."""

    def __init__(self, state: OriginState) -> None:
        self.state = state
        self.port = 0
        self.control_port = 0
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []

    async def start(self, host: str, port: int, *, control_port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Bind both ports; 0 picks free ones. The control port is always on the loopback interface."""
        service, pacer = Service(self.state), Pacer(self.state.settings)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(service, pacer, self._connections), host, port, ssl=tls, backlog=1024
        )
        control = await serve_control(self.state, "127.0.0.1", control_port, self.drop_connections)
        self._servers = [server, control]
        self.port = server.sockets[0].getsockname()[1]
        self.control_port = control.sockets[0].getsockname()[1]

    def drop_connections(self) -> int:
        """Abort all client connections, idle ones included; how many there were."""
        dropped = list(self._connections)
        for connection in dropped:
            connection.transport.abort()
        return len(dropped)

    async def stop(self) -> None:
        """Close both ports and every connection."""
        for server in self._servers:
            server.close()
        self.drop_connections()
        for server in self._servers:
            await server.wait_closed()
