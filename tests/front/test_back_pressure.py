"""Whoever is slow makes the other side wait, and no memory grows meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from tests.front.conftest import MIB, Front, ScriptedOrigin, content, read_until, wait

StartFront = Callable[..., Front]


@pytest.mark.parametrize("mode", ["off", "on"])
@pytest.mark.memory
def test_clients_that_read_nothing_cost_no_more_than_their_windows(start_front: StartFront, mode: str) -> None:
    count, size = 6, 32 * MIB
    flags = ("--cache", "off") if mode == "off" else ("--authorization", "none", "--cache-size", "2GiB")
    front = start_front(*flags)
    front.origin.control.synthetic("bkt", [f"o{n}" for n in range(count)], size)
    with front.connect() as warm:
        warm.send(front.request("o0", b"Range: bytes=0-100000"))
        warm.read_response()
    before = front.resident()
    with contextlib.ExitStack() as stack:
        connections = []
        for n in range(count):
            connection = stack.enter_context(front.connect())
            connection.send(front.request(f"o{n}"))
            connections.append(connection)
        most = 0
        for _ in range(8):
            wait(0.1)
            most = max(most, front.resident() - before)
        # A piece or two of the pool's each without the cache; with it the window's 4 MiB too, and its writer's buffer.
        assert most < count * (2 if mode == "off" else 8) * MIB + 8 * MIB
        if mode == "off":
            assert front.origin.control.body_sent("bkt") < count * 20 * MIB, "the origin was not made to wait"
        for n in (0, count - 1):
            head = connections[n].read_head()
            assert connections[n].read_exactly(size, head) == content(f"o{n}", 0, size)


@pytest.mark.memory
@pytest.mark.parametrize(
    ("flags", "kept"),
    [(("--write-through", "off"), 0), (("--write-through-backlog", "16MiB"), 16 * MIB)],
    ids=["passed-on", "kept"],
)
def test_an_origin_that_does_not_read_makes_the_uploading_client_wait(
    start_front: StartFront, scripted: ScriptedOrigin, flags: tuple[str, ...], kept: int
) -> None:
    front = start_front(*flags, endpoint=scripted.endpoint)
    most = 8 * MIB + kept  # what waits for the disk is bounded, and its memory need not come back at once
    size = 400 * MIB
    with front.connect() as connection, contextlib.ExitStack() as stack:
        before = front.resident()
        connection.send(front.request("o", b"Content-Length: %d" % size, method=b"PUT"))
        peer = stack.enter_context(scripted.accept())
        received = len(read_until(peer, b"\r\n\r\n").partition(b"\r\n\r\n")[2])
        connection.socket.settimeout(1.0)
        sent = 0
        piece = b"x" * MIB
        with contextlib.suppress(TimeoutError):
            while sent < size:
                sent += connection.socket.send(piece)
        # What the kernel's buffers on four ends take is all that can be gone.
        assert sent < 64 * MIB
        assert front.resident() - before < most
        connection.socket.settimeout(20)
        connection.socket.setblocking(False)
        while received < 30 * MIB:  # it moves again as soon as the origin reads
            received += len(peer.recv(MIB))
            with contextlib.suppress(BlockingIOError):
                sent += connection.socket.send(piece)
        assert front.resident() - before < most


def test_a_slow_reader_gets_every_byte_and_holds_up_nobody(front: Front) -> None:
    size = 12 * MIB
    front.origin.control.synthetic("bkt", ["slow", "quick"], size)
    with front.connect() as slow, front.connect() as quick:
        slow.send(front.request("slow"))
        head = slow.read_head()
        received = slow.read_exactly(1000, head)
        for _ in range(5):
            quick.send(front.request("quick"))
            assert quick.read_response().body == content("quick", 0, size)
            received += slow.read_exactly(MIB, head)
        received += slow.read_exactly(size - len(received), head)
    assert received == content("slow", 0, size)
