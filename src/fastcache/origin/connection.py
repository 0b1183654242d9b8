"""One client connection: HTTP/1.1 parsed by httptools, requests answered in order."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import httptools

from fastcache.origin import faults
from fastcache.origin.message import Field, Response
from fastcache.origin.request import Request
from fastcache.origin.service import Job, Service
from fastcache.origin.transmission import Pacer, Transmission

MAX_HEAD = 64 * 1024
"""Largest request head, bytes."""
MAX_QUEUE = 64
"""Pipelined requests parsed ahead of their answers."""
WRITE_HIGH = 1 << 20
WRITE_LOW = 256 * 1024
SMALL_BODY = 64 * 1024
"""Bodies up to this size go out in one write with their head."""


class Connection(asyncio.Protocol):
    """A client's connection from accept to close."""

    def __init__(self, service: Service, pacer: Pacer, connections: set[Connection]) -> None:
        self._service = service
        self._pacer = pacer
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Job] = deque()
        self._busy: Job | None = None
        self._sending: Transmission | None = None
        self._incoming: Job | None = None
        self._discard = False
        self._continue_owed = False
        self._target = b""
        self._fields: list[Field] = []
        self._head_size = 0
        self.paused = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface of asyncio.Transport but not the class.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        self._connections.add(self)
        self._service.state.stats.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._discard = True
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._sending is not None:
            self._sending.resume()

    def data_received(self, data: bytes) -> None:
        if self._discard:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            # A defect of ours, not of the request: let the loop log it, and let nobody wait for an answer.
            self._discard = True
            self.transport.abort()
            raise
        except httptools.HttpParserUpgrade:
            self._refuse("Upgrade is not supported.")
        except httptools.HttpParserError as error:
            self._refuse(f"The request is not well-formed HTTP: {type(error).__name__}.")

    # httptools calls these.

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = []
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value.rstrip(b" \t")))
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        request = Request(self._parser.get_method(), self._target, self._fields, self._parser.should_keep_alive())
        fields = request.fields
        has_body = b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0"
        job = self._service.begin(request, has_body)
        self._incoming = job
        if b"expect" in fields and fields[b"expect"].lower() == b"100-continue" and has_body:
            if job.refusal is not None:
                # The client has not sent its body and must not: the answer ends the connection.
                request.keep_alive = False
                self._discard = True
                self._take(job)
            elif self._busy is None:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            else:
                self._continue_owed = True

    def on_body(self, body: bytes) -> None:
        job = self._incoming
        if job is not None and job.request.body is not None and job.refusal is None:
            job.request.body.feed(body)

    def on_message_complete(self) -> None:
        job, self._incoming = self._incoming, None
        if job is not None and not self._discard:
            self._take(job)

    def _count_head(self, count: int) -> None:
        self._head_size += count
        if self._head_size > MAX_HEAD and not self._discard:
            self._refuse("Your request head exceeds the maximum allowed size.")

    def _refuse(self, message: str) -> None:
        self._discard = True
        self._take(self._service.malformed(message))

    def _take(self, job: Job) -> None:
        if self._busy is not None:
            self._queue.append(job)
            if len(self._queue) >= MAX_QUEUE:
                self.transport.pause_reading()
            return
        self._answer(job)

    def _answer(self, job: Job) -> None:
        self._busy = job
        request, wire = job.request, job.wire
        service = self._service
        response = service.answer(job)
        close = not request.keep_alive or response.close or response.framing == "close"
        head = service.head(request, response, close=close, garbage=wire.garbage)
        stats = service.state.stats
        record = stats.begin(request, response.status)
        latency = service.state.settings.latency
        plain = wire is faults.CLEAN and not latency and not self._pacer.active and response.framing == "length"
        if plain and response.length <= SMALL_BODY:
            self._write_whole(request, response, head)
            if response.content is not None and request.method != b"HEAD":
                stats.sent(request, record, response.length)
            record.complete = True
            self._answered(not close)
            return
        sending = Transmission(
            self,
            request,
            response,
            head,
            wire=wire,
            close=close,
            pacer=self._pacer,
            stats=stats,
            record=record,
            done=self._answered,
        )
        self._sending = sending
        sending.start(latency)

    def _write_whole(self, request: Request, response: Response, head: bytes) -> None:
        content = response.content
        if content is None or not response.length or request.method == b"HEAD":
            self.transport.write(head)
            return
        body = content.read(response.start, response.length)
        if len(body) == response.length:
            self.transport.write(head + body)
            return
        self.transport.write(head)
        position = 0
        while position < response.length:
            piece = content.read(response.start + position, response.length - position)
            self.transport.write(piece)
            position += len(piece)

    def _answered(self, keep: bool) -> None:
        self._busy = None
        self._sending = None
        if not keep:
            self._discard = True
            self._queue.clear()
            self.transport.close()
            return
        if self._queue:
            if len(self._queue) >= MAX_QUEUE:
                self.transport.resume_reading()
            # By way of the loop, so that a long pipeline does not become a deep recursion.
            job = self._queue.popleft()
            self._busy = job
            asyncio.get_running_loop().call_soon(self._answer_queued, job)
        elif self._continue_owed:
            self._continue_owed = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer_queued(self, job: Job) -> None:
        if self.transport.is_closing():
            return
        try:
            self._answer(job)
        except BaseException:
            self.transport.abort()
            raise
