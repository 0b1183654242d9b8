"""Scripted origins on real sockets: each connection is answered by a coroutine that the test writes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fastcache.model import OriginId
from fastcache.upstream.pool import Pool
from fastcache.upstream.response import Response
from fastcache.upstream.settings import UpstreamSettings

Script = Callable[["Peer"], Awaitable[None]]


@dataclass
class Peer:
    """One accepted connection; ``number`` counts from 0 in order of acceptance."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        """The next request head, its empty line included."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, data: bytes) -> bytes:
        """Read a request head and send ``data``; the head is returned."""
        head = await self.head()
        await self.send(data)
        return head

    async def gone(self) -> None:
        """Wait until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Origin:
    """A listening origin and what it has seen."""

    id: OriginId
    accepted: int = 0
    open: int = 0
    errors: list[BaseException] = field(default_factory=list)


@contextlib.asynccontextmanager
async def origin(
    script: Script, *, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1"
) -> AsyncIterator[Origin]:
    """Run ``script`` for every connection; an exception in it fails the test at the end, a lost client does not."""
    seen = Origin(OriginId("https" if tls else "http", name, 0))
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(seen.accepted, reader, writer)
        seen.accepted += 1
        seen.open += 1
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, or the test is over
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails with it below
            seen.errors.append(error)
        finally:
            seen.open -= 1
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    seen.id = OriginId(seen.id.scheme, name, port)
    try:
        yield seen
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    for error in seen.errors:
        raise error


def sized(body: bytes, status: bytes = b"200 OK", extra: bytes = b"") -> bytes:
    """A whole answer with a Content-Length."""
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n%b\r\n" % (status, len(body), extra) + body


GET = b"GET /bucket/key HTTP/1.1\r\nHost: origin\r\n\r\n"
HEAD = b"HEAD /bucket/key HTTP/1.1\r\nHost: origin\r\n\r\n"


def put(length: int) -> bytes:
    return b"PUT /bucket/key HTTP/1.1\r\nHost: origin\r\nContent-Length: %d\r\n\r\n" % length


@contextlib.asynccontextmanager
async def pool_for(source: Origin, settings: UpstreamSettings | None = None) -> AsyncIterator[Pool]:
    """A pool to ``source`` that must leave nothing open."""
    pool = Pool(source.id, settings or UpstreamSettings())
    try:
        yield pool
    finally:
        await pool.close()
        assert (pool.open_connections, pool.idle_connections, pool.waiting) == (0, 0, 0)


async def read_all(response: Response) -> bytes:
    body = bytearray()
    while piece := await response.read():
        body += piece
    return bytes(body)


async def settled(condition: Callable[[], bool], within: float = 30.0) -> None:
    """Wait until ``condition`` holds; it is a failure when it does not become true."""
    deadline = asyncio.get_running_loop().time() + within
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "did not settle"
        await asyncio.sleep(0.005)
