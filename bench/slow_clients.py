"""Clients that are slow on purpose, in a process of their own: heads that drip, and readers that hardly take anything.

``python -m bench.slow_clients HOST PORT COUNT`` reads one request from standard input, says ``ready`` when all are
connected and ends with its input, or with an error when the server ends the connection of one that moves something.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.load import STALL
from fastcache.load.connections import LoadError

_RECEIVE_BUFFER = 16 * 1024
"""Bytes of a reader's socket buffer, so that the server's output waits for it and not in the kernel."""
_ROUND = 0.5
"""Seconds in which each of them does its one small step: sends a byte, or takes some."""
_TAKES = 2048
"""Bytes a slow reader takes in a step: above the floor below which it would be cut off, far below what is sent."""


@contextlib.contextmanager
def slow_clients(address: tuple[str, int], request: bytes, count: int) -> Iterator[None]:
    """``count`` of them at ``address`` while inside. ``request`` is for an object larger than any socket buffer.

    Raises LoadError when they cannot connect, or were sent away meanwhile.
    """
    command = [sys.executable, "-m", "bench.slow_clients", address[0], str(address[1]), str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as child:
        assert child.stdin is not None, "started with a pipe"
        assert child.stdout is not None, "started with a pipe"
        try:
            child.stdin.write(request)
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], STALL)
            if not ready or child.stdout.readline() != b"ready\n":
                raise LoadError("the slow clients could not connect")
            yield
            if child.poll() is not None:
                raise LoadError("the slow clients were sent away while others were measured")
        finally:
            child.stdin.close()


def main(host: str, port: str, count: str) -> None:
    """Be slow until standard input ends."""
    request = _request()
    sockets = [_connected((host, int(port))) for _ in range(int(count))]
    drips, takers, others = sockets[::3], sockets[1::3], sockets[2::3]
    for one in drips:
        one.send(request.partition(b"\r\n")[0] + b"\r\nX-Slow: ")
    for one in takers + others:  # the others take nothing at all
        one.send(request)
    time.sleep(_ROUND)  # what they set off at once is over: the question is what they cost by being there
    print("ready", flush=True)
    steps: list[Callable[[], None]] = [partial(_drip, one) for one in drips]
    steps += [partial(_take, one) for one in takers]
    for step in itertools.cycle(steps):
        step()
        if select.select([sys.stdin], [], [], _ROUND / len(steps))[0]:
            return


def _drip(one: socket.socket) -> None:
    one.send(b"a")


def _take(one: socket.socket) -> None:
    if not one.recv(_TAKES):
        raise LoadError("the end of an answer that nobody can have taken")


def _request() -> bytes:
    lines = [sys.stdin.buffer.readline()]
    while lines[-1] not in (b"\r\n", b""):
        lines.append(sys.stdin.buffer.readline())
    return b"".join(lines)


def _connected(address: tuple[str, int]) -> socket.socket:
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    one.settimeout(STALL)
    one.connect(address)
    return one


if __name__ == "__main__":
    main(*sys.argv[1:])
