"""What a caller with a bug, a finalizer at a bad moment or a peer that knows the code could do to the connection core's
memory: every one of these took a slot twice, spoke to the wrong connection, or closed what was not the reactor's."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.harness.reactor import GET, Recorder, connect, expected, receive, running, until

from fastcache._core.handles import held_now
from fastcache._core.reactor import OUT_DEAD, OUT_PENDING, Reactor

MORE_THAN_A_SOCKET_TAKES = 20 * 1024 * 1024


class Finalized(bytearray):
    """A buffer whose last reference is the reactor's, and that does something when it is given back."""

    def then(self, action: Any) -> Finalized:
        self.action = action
        return self

    def __del__(self) -> None:
        self.action()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_buffer_whose_finalizer_ends_the_connection_does_not_end_it_twice(end: str) -> None:
    async with running() as (recorder, address):
        reactor = recorder.reactor

        def answer(cid: int, head: bytes) -> None:
            data = Finalized(MORE_THAN_A_SOCKET_TAKES).then(lambda: reactor.close(cid))
            assert reactor.write(cid, data) == OUT_PENDING

        recorder.answer = answer
        with await connect(address) as sock:
            sock.send(GET % 1)
            (_, cid, _), *_ = await recorder.until("request")
            getattr(reactor, end)(cid)
            assert reactor.stats()["closed"] == 1
            assert reactor.connections() == 0


async def test_a_finalizer_that_runs_when_the_peer_left_harms_nobody_in_the_same_slot() -> None:
    async with running() as (recorder, address):
        reactor = recorder.reactor

        def answer(cid: int, head: bytes) -> None:
            data = Finalized(MORE_THAN_A_SOCKET_TAKES).then(lambda: reactor.close(cid))
            assert reactor.write(cid, data) == OUT_PENDING

        recorder.answer = answer
        sock = await connect(address)
        sock.send(GET % 1)
        await recorder.until("request")
        reset(sock)
        await until(lambda: reactor.connections() == 0)
        assert reactor.stats()["closed"] == 1
        assert [event[1] for event in recorder.events if event[0] == "abort"] == [recorder.events[0][1]]
        recorder.answer = recorder.reply
        with await connect(address) as one, await connect(address) as two:
            for number, other in enumerate((one, two)):
                other.send(GET % number)
            for number, other in enumerate((one, two)):
                assert await receive(other, len(expected(number))) == expected(number)


async def test_shutting_down_under_pending_output_gives_every_buffer_back_once() -> None:
    given_back: list[int] = []
    async with running() as (recorder, address):
        reactor = recorder.reactor

        def answer(cid: int, head: bytes) -> None:
            def gone() -> None:
                given_back.append(cid)
                reactor.close(cid)

            reactor.write(cid, Finalized(MORE_THAN_A_SOCKET_TAKES).then(gone))

        recorder.answer = answer
        socks = [await connect(address) for _ in range(3)]
        for sock in socks:
            sock.send(GET % 1)
        await recorder.until("request", 3)
        reactor.shut_down()
        assert reactor.connections() == 0
        assert reactor.stats()["closed"] == 3
        assert len(given_back) == 3
        for sock in socks:
            sock.close()


async def test_a_negative_length_sends_nothing_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a secret of another object")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        async with running() as (recorder, address):
            recorder.answer = lambda cid, head: None
            with await connect(address) as sock:
                sock.send(GET % 1)
                (_, cid, _), *_ = await recorder.until("request")
                for offset, count in ((0, -1), (-1, 1), (2**63 - 1, 2)):
                    with pytest.raises(ValueError, match="interval"):
                        recorder.reactor.send_file(cid, fd, offset, count)
                recorder.reactor.finish(cid, False)
                assert await receive(sock, 1) == b""
    finally:
        os.close(fd)


async def test_asking_for_no_bytes_is_refused_and_not_taken_for_the_end_of_the_body() -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: None
        with await connect(address) as sock:
            sock.send(GET % 1)
            (_, cid, _), *_ = await recorder.until("request")
            assert recorder.reactor.recv(cid, 10) is None
            sock.send(b"body")
            await recorder.until("readable")
            for limit in (0, -1):
                with pytest.raises(ValueError, match="limit"):
                    recorder.reactor.recv(cid, limit)
            assert recorder.reactor.recv(cid, 10) == b"body"


async def test_an_id_of_an_exchange_that_is_over_does_not_touch_the_next_head() -> None:
    """The next request of the connection is complete and waits to be handed over, while a caller that is late still
    uses the id, which is the same for all requests of a connection."""
    async with running() as (recorder, address):
        reactor = recorder.reactor
        outcomes: list[Any] = []

        def late(cid: int, head: bytes) -> None:
            recorder.reply(cid, head)
            recorder.answer = recorder.reply
            reactor.drain()  # parses the second request, and leaves it to be handed over by the loop
            assert reactor.parked() == 1
            outcomes.append(reactor.write(cid, b"of the first exchange"))
            outcomes.append(reactor.recv(cid, 5))
            reactor.unread(cid, b"xx")
            reactor.finish(cid, True)

        recorder.answer = late
        with await connect(address) as sock:
            sock.send(GET % 1 + GET % 2)
            assert await receive(sock, len(expected(1, 2))) == expected(1, 2)
        assert outcomes == [OUT_DEAD, b""]
        assert recorder.kinds().count("request") == 2
        assert "bad" not in recorder.kinds()


async def test_a_head_is_handed_over_once_even_where_its_slot_is_queued_for_an_earlier_connection_too() -> None:
    """The earlier connection ends with a head that waits; its slot gets a new connection before the queue is read."""
    async with running() as (recorder, address):
        reactor = recorder.reactor
        first, helper = await connect(address), await connect(address)
        first.send(GET % 1)
        assert await receive(first, len(expected(1))) == expected(1)
        newcomers: list[socket.socket] = []
        later = asyncio.get_running_loop().call_soon

        def while_another_is_served(cid: int, head: bytes) -> None:
            recorder.reply(cid, head)
            recorder.answer = lambda cid, head: later(recorder.reply, cid, head)  # as an engine does
            first.send(GET % 2)
            reactor.drain()  # its second request is complete and waits to be handed over
            reset(first)
            reactor.drain()  # and now it is gone

        def on_abort(cid: int) -> None:
            Recorder.on_abort(recorder, cid)
            newcomer = socket.create_connection(address)
            newcomers.append(newcomer)
            newcomer.send(GET % 3)
            reactor.drain()  # accepts it
            reactor.drain()  # reads its request

        recorder.answer = while_another_is_served
        recorder.on_abort = on_abort  # type: ignore[method-assign]
        helper.send(GET % 9)
        assert await receive(helper, len(expected(9))) == expected(9)
        await recorder.until("abort")
        newcomers[0].setblocking(False)
        assert await receive(newcomers[0], len(expected(3))) == expected(3)
        helper.send(GET % 9)
        assert await receive(helper, len(expected(9))) == expected(9)
        assert "bad" not in recorder.kinds()
        newcomers[0].close()
        helper.close()


async def test_however_often_a_slot_is_taken_and_freed_in_a_callback_nobody_else_s_request_is_lost() -> None:
    async with running(max_connections=2) as (recorder, address):
        reactor = recorder.reactor
        socks: list[socket.socket] = []

        def come(number: int) -> None:
            socks.append(socket.create_connection(address))
            socks[-1].sendall(GET % number)
            for _ in range(3):  # to be accepted, to be read
                reactor.drain()

        def answer(cid: int, head: bytes) -> None:
            recorder.answer = recorder.reply
            come(1)
            for number in range(2, 12):
                reactor.close(cid)
                come(number)
                cid += 1 << 32  # the slot's next generation
            assert held_now()["queued_slots"] <= 5 * 2  # queues, slots

        recorder.answer = answer
        with await connect(address) as sock:
            sock.send(GET % 0)
            await recorder.until("request", 3)
            for number, other in ((1, socks[0]), (11, socks[-1])):
                other.setblocking(False)
                assert await receive(other, len(expected(number))) == expected(number)
        for other in socks:
            other.close()


@pytest.mark.parametrize("again", ["drain", "sweep"])
async def test_a_callback_that_drains_or_sweeps_is_not_called_inside_itself(again: str) -> None:
    """As many requests as came together would lie on the stack."""
    async with running() as (recorder, address):
        inside = deepest = 0

        def answer(cid: int, head: bytes) -> None:
            nonlocal inside, deepest
            inside += 1
            deepest = max(deepest, inside)
            getattr(recorder.reactor, again)()
            recorder.reply(cid, head)
            inside -= 1

        recorder.answer = answer
        socks = [await connect(address) for _ in range(20)]
        await until(lambda: recorder.reactor.connections() == 20)
        for number, sock in enumerate(socks):
            sock.send(GET % number)
        for number, sock in enumerate(socks):
            assert await receive(sock, len(expected(number))) == expected(number)
            sock.close()
        assert deepest == 1


@pytest.mark.parametrize("option", ["head_timeout", "idle_timeout", "stall_timeout", "rate_window"])
@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 1e300])
def test_a_time_that_does_not_fit_the_clock_is_refused(option: str, seconds: float) -> None:
    """Converted as it is, it became a deadline in the past, and every connection timed out at once."""
    with pytest.raises(ValueError, match="seconds"):
        Reactor(Recorder(), **{option: seconds})  # type: ignore[arg-type]


def test_a_constructor_that_fails_closes_no_descriptor_of_the_process() -> None:
    """Arguments are looked at before anything is set, and descriptor 0 is what an unset one looks like."""
    program = (
        "import os\n"
        "from fastcache._core.reactor import Reactor\n"
        "for wrong in (dict(), dict(handler=None, nonsense=1), dict(handler=None, max_connections=-1)):\n"
        "    try:\n"
        "        Reactor(**wrong)\n"
        "    except (TypeError, OverflowError):\n"
        "        os.fstat(0)\n"
        "    else:\n"
        "        raise AssertionError(wrong)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


async def test_nothing_happens_on_a_reactor_that_was_shut_down() -> None:
    async with running() as (recorder, address):
        reactor = recorder.reactor
        recorder.answer = lambda cid, head: None
        with await connect(address) as sock:
            sock.send(GET % 1)
            (_, cid, _), *_ = await recorder.until("request")
            asyncio.get_running_loop().remove_reader(reactor.fileno())
            descriptors = len(os.listdir("/proc/self/fd"))
            reactor.shut_down()
            assert len(os.listdir("/proc/self/fd")) == descriptors - 3  # the client's, the epoll and its eventfd
            assert reactor.write(cid, b"x") == OUT_DEAD
            assert reactor.recv(cid, 1) == b""
            reactor.close(cid)
            reactor.drain()
            reactor.sweep()
            reactor.shut_down()
            assert len(os.listdir("/proc/self/fd")) == descriptors - 3
