"""Scripted origins on real sockets: each connection is answered by a coroutine that the test writes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from fastcache.model import OriginId

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
        self.writer.transport.abort()


@dataclass
class Origin:
    """A listening origin and what it has seen."""

    id: OriginId
    accepted: int = 0
    open: int = 0
    errors: list[BaseException] = field(default_factory=list)


@contextlib.asynccontextmanager
async def origin(script: Script, *, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> AsyncIterator[Origin]:
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
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            pass
        except BaseException as error:
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
