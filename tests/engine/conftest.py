"""The engine inside this process, in front of our own origin, so that its counters can be looked at."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from tests.harness.signing import signed_request

from fastcache.lifecycle.settings import load
from fastcache.lifecycle.worker import Worker, _worker
from fastcache.origin.process import OriginProcess

WITHIN = 20.0
"""Seconds for what takes milliseconds on an idle machine."""
PATIENT = {"fill_detach_after": "60s", "fill_follow_wait": "30s"}
"""How fast this machine is at the moment is not what is tested: nothing is left unstored or asked for twice."""
AS_SHIPPED = {"fill_detach_after": "100ms", "fill_follow_wait": "1s"}
"""For tests of what happens without that patience, or of everything at once."""


class Embedded:
    """A worker on this test's loop."""

    def __init__(self, worker: Worker, origin: OriginProcess) -> None:
        self.worker = worker
        self.origin = origin
        host, _, port = worker.url.removeprefix("http://").rpartition(":")
        self.address = (host, int(port))

    def request(
        self, key: str, *, method: str = "GET", signed: dict[str, str] | None = None, body: bytes = b""
    ) -> bytes:
        return signed_request(
            method,
            f"{self.worker.url}/bkt/{key}",
            self.origin.access_key,
            self.origin.secret_key,
            signed=tuple((signed or {}).items()),
            body=body,
            **({"payload_sha256": "UNSIGNED-PAYLOAD"} if body else {}),
        )

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)

    async def get(self, key: str, *, method: str = "GET", signed: dict[str, str] | None = None) -> tuple[bytes, bytes]:
        """Head and body of one answer with a Content-Length."""
        reader, writer = await self.connect()
        try:
            async with asyncio.timeout(WITHIN):
                writer.write(self.request(key, method=method, signed=signed))
                return await read_answer(reader, method)
        finally:
            writer.close()
            await writer.wait_closed()


async def read_answer(reader: asyncio.StreamReader, method: str = "GET") -> tuple[bytes, bytes]:
    """Head and body; an answer that ends early is an asyncio.IncompleteReadError."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
    )
    if method == "HEAD" or head.startswith((b"HTTP/1.1 304", b"HTTP/1.1 204")):
        length = 0
    return head, await reader.readexactly(length)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a counter of the worker."""
    try:
        async with asyncio.timeout(WITHIN):
            while not condition():  # noqa: ASYNC110 - what is waited for is a plain number
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {WITHIN:g} s: {what}") from None


Embed = Callable[..., AbstractAsyncContextManager[Embedded]]


@pytest.fixture
def embed(origin: OriginProcess, tmp_path: Path) -> Embed:
    """``async with embed(authorization="none") as proxy``: settings by flag name, underscores for dashes, and PATIENT
    unless they say otherwise."""

    @contextlib.asynccontextmanager
    async def start(**flags: str) -> AsyncIterator[Embedded]:
        origin.control.bucket("bkt")
        settings = load(
            {
                "endpoint": origin.endpoint,
                "port": "0",
                "admin-port": "0",
                "cache-dir": str(tmp_path / "cache"),
                "access-log": "off",
                **{name.replace("_", "-"): value for name, value in (PATIENT | flags).items()},
            },
            {},
        )
        async with _worker(settings) as worker:
            yield Embedded(worker, origin)

    return start


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
