"""A proxy in front of an origin that asks for no signatures, spoken to in raw bytes."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import attach_log
from tests.harness import processes
from tests.harness.origin import make_clean, running_origin
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawConnection

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess

MIB = 1024 * 1024


class Front:
    """One running proxy, its origin, and what can be seen of the process from outside."""

    def __init__(self, origin: OriginProcess, proxy: FastcacheProcess) -> None:
        self.origin = origin
        self.proxy = proxy

    def connect(self, **options: Any) -> RawConnection:
        return RawConnection(self.proxy.endpoint, **options)

    def request(
        self,
        key: str = "o",
        *fields: bytes,
        method: bytes = b"GET",
        version: bytes = b"HTTP/1.1",
        host: bytes = b"127.0.0.1",
        body: bytes | None = None,
    ) -> bytes:
        """A request for an object of bucket ``bkt``, with Content-Length when ``body`` is given."""
        lines = [b"%b /bkt/%b %b" % (method, key.encode(), version), b"Host: " + host, *fields]
        if body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*lines, b"", b""]) + (body or b"")

    def sockets(self) -> int:
        """Open sockets of the proxy without the pool's, which keeps idle connections to the origin on purpose."""
        count = 0
        for entry in Path(f"/proc/{self.proxy.worker}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(entry).startswith("socket:")
        return count - int(self.proxy.metric("fastcache_origin_pool_connections"))

    def resident(self) -> int:
        """Bytes of memory the proxy holds and no file backs: what buffers cost (RssAnon, proc(5))."""
        for line in Path(f"/proc/{self.proxy.worker}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon")

    def cpu_seconds(self) -> float:
        """Processor time the proxy has used so far."""
        fields = Path(f"/proc/{self.proxy.worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
        processes.wait_until(condition, seconds, what, step=0.02)

    def until_idle(self, sockets: int | None = None) -> None:
        """Wait until no client is connected and no fill runs; then until only so many :meth:`sockets` are open."""
        self.until(lambda: self.proxy.metric("fastcache_open_connections") == 0, "every client connection is closed")
        self.until(lambda: self.proxy.metric("fastcache_fills_active") == 0, "every fill has ended")
        if sockets is not None:
            self.until(lambda: self.sockets() <= sockets, f"no more than {sockets} sockets are open")


class ScriptedOrigin:
    """A listening socket that a test answers by hand, step by step."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"

    @contextlib.contextmanager
    def accept(self) -> Iterator[socket.socket]:
        """The proxy's next connection."""
        self.listener.settimeout(20)
        peer, _ = self.listener.accept()
        peer.settimeout(20)
        with peer:
            yield peer


def read_until(peer: socket.socket, end: bytes) -> bytes:
    """What ``peer`` sends up to and with ``end``; more may follow it in the same segment."""
    received = b""
    while end not in received:
        piece = peer.recv(65536)
        assert piece, f"the connection ended after {received[-200:]!r}"
        received += piece
    return received


@pytest.fixture
def scripted() -> Iterator[ScriptedOrigin]:
    """An origin that does exactly what the test does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield ScriptedOrigin(listener)


def content(key: str, start: int, end: int, generation: int = 1) -> bytes:
    """What the origin holds of a synthetic object."""
    return pattern(key.encode(), generation, start, end - start)


@pytest.fixture(scope="module")
def _open_origin() -> Iterator[OriginProcess]:
    with running_origin(auth=False) as process:
        yield process


@pytest.fixture
def open_origin(_open_origin: OriginProcess) -> OriginProcess:
    """An origin that lets everybody read and write; clean, with the empty bucket ``bkt``."""
    make_clean(_open_origin)
    _open_origin.control.bucket("bkt")
    return _open_origin


@pytest.fixture
def start_front(open_origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]) -> Callable[..., Front]:
    """``start_front("--flag", ...)``: a proxy of the test's own."""

    def start(*flags: str, endpoint: str | None = None, **options: Any) -> Front:
        return Front(open_origin, start_fastcache(endpoint or open_origin.endpoint, *flags, **options))

    return start


@pytest.fixture(scope="module")
def proxy_flags() -> tuple[str, ...]:
    """Flags of the module's proxy; a module may override it."""
    return ("--authorization", "none", "--ttl", "1h")


@pytest.fixture(scope="module")
def _shared_proxy(
    _open_origin: OriginProcess, tmp_path_factory: pytest.TempPathFactory, proxy_flags: tuple[str, ...]
) -> Iterator[FastcacheProcess]:
    directory = tmp_path_factory.mktemp("front")
    process = FastcacheProcess(_open_origin.endpoint, directory / "cache", directory / "log", arguments=proxy_flags)
    try:
        yield process
        process.stop()
    finally:
        process.kill()


@pytest.fixture
def front(_shared_proxy: FastcacheProcess, open_origin: OriginProcess, request: pytest.FixtureRequest) -> Front:
    """The module's proxy; tests use keys of their own, because it remembers."""
    attach_log(request, _shared_proxy.logs)
    return Front(open_origin, _shared_proxy)


def wait(seconds: float) -> None:
    """Let time pass where nothing can be waited for: that something does *not* happen."""
    time.sleep(seconds)
