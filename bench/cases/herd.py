"""Many first readers of one object, through several workers: what the origin sends, and how far behind the first one
the others get their first byte."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Iterator

from bench.cases.setup import NONE, Setup
from bench.findings import Finding
from bench.objects import MIB, create, request, whole_objects
from bench.servers import Server, fastcache, origin

_WORKERS = 4
_READERS = 100
_SIZE = 16 * MIB
_ORIGIN = ("--latency", "0.05", "--bandwidth", str(64 * MIB))
_ROUNDS = 5
_WAIT = 60.0
_HEAD_END = b"\r\n\r\n"


def herd(setup: Setup) -> Iterator[Finding]:
    """A hundred readers at once, spread over four workers, each over a connection of its own."""
    if not setup.wants("herd"):
        return
    with contextlib.ExitStack() as stack:
        behind, control = stack.enter_context(origin(setup.load_core, *_ORIGIN, auth=False))
        workers = ("--workers", str(_WORKERS))
        cache = stack.enter_context(fastcache(setup.server_core, behind, setup.directory / "herd", *NONE, *workers))
        late: list[float] = []
        moved = 0.0
        for number in range(_ROUNDS):
            (piece,) = pieces = whole_objects(f"herd-{number}", 1, _SIZE)
            create([control], pieces)
            control.reset()
            came = _first_bytes(cache, request(cache.address, piece))
            late += [moment - min(came) for moment in came]
            moved = max(moved, control.body_sent() / _SIZE)
        late.sort()
        text = (
            f"body bytes from the origin per byte of the object: {moved:.3f} at most; first byte behind the first "
            f"reader's: p50 {late[len(late) // 2] * 1e3:.1f} ms, p99 {late[len(late) * 99 // 100] * 1e3:.1f} ms"
        )
        what = f"{_READERS} first readers of {_SIZE // MIB} MiB over {_WORKERS} workers on one core, {_ROUNDS} times"
        yield Finding("herd", what, text)


def _first_bytes(server: Server, head: bytes) -> list[float]:
    """When each of the readers had the first byte of the body; all of them read to the end."""
    came: list[float] = []
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(socket.create_connection(server.address)) for _ in range(_READERS)]
        poll = select.poll()
        heads = {reader.fileno(): b"" for reader in readers}
        left = dict.fromkeys(heads, _SIZE)
        found = {reader.fileno(): reader for reader in readers}
        for reader in readers:
            reader.settimeout(_WAIT)
            poll.register(reader, select.POLLIN)
        for reader in readers:
            reader.sendall(head)
        buffer = bytearray(MIB)
        while left:
            ready = poll.poll(_WAIT * 1000)
            if not ready:
                raise TimeoutError("no answer")
            for fd, _ in ready:
                count = found[fd].recv_into(buffer)
                if not count:
                    raise ConnectionError("an answer ended early")
                if _HEAD_END not in heads[fd]:
                    before = len(heads[fd])
                    heads[fd] += bytes(buffer[:count])
                    if _HEAD_END not in heads[fd]:
                        continue
                    count = before + count - heads[fd].index(_HEAD_END) - len(_HEAD_END)
                if count and left[fd] == _SIZE:
                    came.append(time.monotonic())
                left[fd] -= count
                if not left[fd]:
                    poll.unregister(fd)
                    del left[fd]
    return came
