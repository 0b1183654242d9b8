"""Uploads: what they cost through fastcache, kept on their way or not, beside the same ones sent straight."""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.cases.setup import NONE, Setup, told
from bench.findings import Finding
from bench.objects import KIB, MIB
from bench.servers import Server, fastcache, origin
from fastcache.load.connections import CONNECT_TIMEOUT

_BUCKET = "uploads"
_KEYS = 4
"""As many objects are written over and over."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Some uploads one after the other on one connection."""

    seconds: Sequence[float]
    cpu: float
    """Of the server, with what it did behind its answers."""
    size: int

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size * len(self.seconds) / sum(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def cpu_per_gb(self) -> float:
        return self.cpu / (self.size * len(self.seconds) / 1e9)


def uploads(setup: Setup) -> Iterator[Finding]:
    """Kept, not kept, and without fastcache, in turns. The origin behind fastcache shares the client's core, and the
    one without fastcache does too: both stand for another machine."""
    wanted = [
        ("upload-64MiB", 64 * MIB, 2 if setup.quick else 6),
        ("upload-4KiB", 4 * KIB, 200 if setup.quick else 2000),
    ]
    wanted = [case for case in wanted if setup.wants(case[0])]
    if not wanted:
        return
    with contextlib.ExitStack() as stack:
        server, control = stack.enter_context(origin(setup.load_core, "--discard-uploads", auth=False))
        control.bucket(_BUCKET)
        kept = stack.enter_context(fastcache(setup.server_core, server, setup.directory / "kept", *NONE))
        passed = stack.enter_context(
            fastcache(setup.server_core, server, setup.directory / "passed", *NONE, "--write-through", "off")
        )
        for name, size, count in wanted:
            contenders = {"kept": kept, "not kept": passed, "directly": server}
            turns: dict[str, list[Turn]] = {which: [] for which in contenders}
            for _ in range(3 if setup.quick else 7):
                for which, one in contenders.items():
                    turns[which].append(_turn(one, size, count))
            yield Finding(name, f"{count} uploads of {told(size)} one after the other, in turns", _told(turns))


def _turn(server: Server, size: int, count: int) -> Turn:
    body = bytes(size)
    seconds = []
    host, port = server.address
    before = server.settle()
    with socket.create_connection(server.address, CONNECT_TIMEOUT) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(count):
            target = f"/{_BUCKET}/{size}-{number % _KEYS}"
            head = f"PUT {target} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {size}\r\n\r\n"
            begun = time.perf_counter()
            one.sendall(head.encode() + body if size <= MIB else head.encode())
            if size > MIB:
                one.sendall(body)
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += one.recv(65536)
            seconds.append(time.perf_counter() - begun)
            assert answer.startswith(b"HTTP/1.1 200 "), answer
    return Turn(seconds, server.settle() - before, size)


def _told(turns: dict[str, list[Turn]]) -> str:
    def ratio(one: str, other: str) -> str:
        ratios = [a.rate / b.rate for a, b in zip(turns[one], turns[other], strict=True)]
        return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"

    def later(one: str, other: str) -> float:
        return statistics.median(a.median - b.median for a, b in zip(turns[one], turns[other], strict=True)) * 1e6

    def cpu(which: str) -> str:
        return f"{statistics.median(turn.cpu_per_gb for turn in turns[which]):.2f}"

    return (
        f"rate kept ÷ directly {ratio('kept', 'directly')}, not kept ÷ directly {ratio('not kept', 'directly')}, "
        f"kept ÷ not kept {ratio('kept', 'not kept')}; median latency {later('kept', 'not kept'):,.0f} µs more than "
        f"not kept, {later('kept', 'directly'):,.0f} µs more than directly; CPU s/GB of fastcache {cpu('kept')} kept, "
        f"{cpu('not kept')} not kept"
    )
