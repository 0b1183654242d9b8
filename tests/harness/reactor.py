"""A reactor on this test's loop, a handler that records what it says, and plain sockets to speak to it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastcache._core.reactor import Reactor

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
WITHIN = 60.0
"""Seconds for what takes milliseconds on an idle machine."""


class Recorder:
    """Records what the reactor says; ``answer`` is what it does with a request."""

    def __init__(self) -> None:
        self.reactor: Reactor
        self.events: list[tuple[Any, ...]] = []
        self.answer: Callable[[int, bytes], None] = self.reply
        self.happened = asyncio.Event()

    def _note(self, *event: Any) -> None:
        self.events.append(event)
        self.happened.set()

    def reply(self, cid: int, head: bytes) -> None:
        body = head.split(b" ", 2)[1]
        self.reactor.write(cid, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        self.reactor.finish(cid, True)

    def on_request(self, cid: int, head: bytes) -> None:
        self._note("request", cid, head)
        self.answer(cid, head)

    def on_bad_head(self, cid: int, status: int) -> None:
        self._note("bad", cid, status)
        self.reactor.write(cid, b"HTTP/1.1 %d x\r\nConnection: close\r\n\r\n" % status)
        self.reactor.finish(cid, False)

    def on_readable(self, cid: int) -> None:
        self._note("readable", cid)

    def on_writable(self, cid: int, ok: bool) -> None:
        self._note("writable", cid, ok)

    def on_abort(self, cid: int) -> None:
        self._note("abort", cid)
        self.reactor.close(cid)

    def on_takeover(self, cid: int, head: bytes, lease: int, request_id: int, sent: int, seconds: float) -> None:
        self._note("takeover", cid, head, lease, sent)
        self.reactor.abort(cid)

    def on_leases_released(self) -> None:
        self._note("released")

    def on_callback_error(self, cid: int, error: Exception) -> None:
        self._note("error", cid, error)

    def kinds(self) -> list[str]:
        return [event[0] for event in self.events]

    async def until(self, kind: str, count: int = 1) -> list[tuple[Any, ...]]:
        async with asyncio.timeout(WITHIN):
            while self.kinds().count(kind) < count:
                self.happened.clear()
                await self.happened.wait()
        return [event for event in self.events if event[0] == kind]


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[Recorder, tuple[str, int]]]:
    recorder = Recorder()
    reactor = recorder.reactor = Reactor(recorder, **options)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        reactor.listen(server.fileno())
        epoll = reactor.fileno()
        loop.add_reader(epoll, reactor.drain)
        try:
            yield recorder, server.getsockname()
        finally:
            loop.remove_reader(epoll)
            reactor.shut_down()


async def connect(address: tuple[str, int]) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    return sock


async def receive(sock: socket.socket, length: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    async with asyncio.timeout(WITHIN):
        while len(data) < length:
            piece = await loop.sock_recv(sock, length - len(data))
            if not piece:
                break
            data += piece
    return data


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not condition():  # noqa: ASYNC110 - what is waited for is a C counter
            await asyncio.sleep(0.01)


def expected(*numbers: int) -> bytes:
    return b"".join(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n/%d" % (len(b"/%d" % n), n) for n in numbers)
