"""The connection core on real sockets: heads, order, back-pressure, ends, timeouts."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any

import pytest
from tests.harness.reactor import GET, connect, expected, receive, running, until

from fastcache._core.reactor import OUT_DEAD, OUT_DONE, OUT_FILE, OUT_PENDING


async def test_pipelined_requests_are_answered_in_order_however_they_are_cut() -> None:
    loop = asyncio.get_running_loop()
    stream = b"".join(GET % n for n in range(20))
    for step in (1, 7, 40, len(stream)):
        async with running() as (_, address):
            with await connect(address) as sock:
                for start in range(0, len(stream), step):
                    await loop.sock_sendall(sock, stream[start : start + step])
                    if step < 40:
                        await asyncio.sleep(0)
                want = expected(*range(20))
                assert await receive(sock, len(want)) == want


async def test_empty_lines_before_a_request_are_skipped() -> None:
    async with running() as (recorder, address):
        with await connect(address) as sock:
            sock.send(b"\r\n\r\n" + GET % 1)
            assert await receive(sock, len(expected(1))) == expected(1)
        assert recorder.events[0][2] == GET % 1


async def test_a_bare_lf_ends_a_head_too_so_that_the_parser_can_refuse_it() -> None:
    async with running() as (recorder, address):
        with await connect(address) as sock:
            sock.send(b"GET / HTTP/1.1\nHost: a\n\n")
            await recorder.until("request")
        assert recorder.events[0][2] == b"GET / HTTP/1.1\nHost: a\n\n"


async def test_a_head_over_the_limit_is_reported_once_and_the_answer_survives_unread_input() -> None:
    loop = asyncio.get_running_loop()
    async with running(head_limit=8192) as (recorder, address):
        with await connect(address) as sock:
            await loop.sock_sendall(sock, b"GET / HTTP/1.1\r\nX: " + b"x" * 60000)
            assert (await receive(sock, 1000)).startswith(b"HTTP/1.1 431")
        assert recorder.kinds().count("bad") == 1
        await until(lambda: recorder.reactor.connections() == 0)


async def test_a_head_exactly_below_the_limit_passes() -> None:
    async with running(head_limit=8192) as (recorder, address):
        with await connect(address) as sock:
            head = b"GET /1 HTTP/1.1\r\nX: "
            head += b"x" * (8191 - len(head) - 4) + b"\r\n\r\n"
            sock.send(head)
            await recorder.until("request")
        assert recorder.events[0][2] == head


async def test_output_larger_than_the_socket_waits_for_the_client_and_arrives_whole() -> None:
    async with running() as (recorder, address):
        body = os.urandom(20 * 1024 * 1024)
        outcomes = []
        recorder.answer = lambda cid, head: outcomes.append(recorder.reactor.write(cid, body))
        with await connect(address) as sock:
            sock.send(GET % 1)
            await recorder.until("request")
            assert outcomes == [OUT_PENDING]
            assert await receive(sock, len(body)) == body
            await recorder.until("writable")
            cid = recorder.events[0][1]
            assert recorder.events[-1] == ("writable", cid, True)
            assert recorder.reactor.sent(cid) == len(body)


async def test_a_second_write_while_output_is_pending_is_an_error() -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: recorder.reactor.write(cid, bytes(20 * 1024 * 1024))
        with await connect(address) as sock:
            sock.send(GET % 1)
            await recorder.until("request")
            with pytest.raises(RuntimeError, match="pending"):
                recorder.reactor.write(recorder.events[0][1], b"x")


async def test_send_file_sends_the_interval_and_says_when_the_file_is_too_short(tmp_path: Any) -> None:
    data = os.urandom(3 * 1024 * 1024)
    (tmp_path / "file").write_bytes(data)
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        async with running() as (recorder, address):
            outcomes = []
            recorder.answer = lambda cid, head: outcomes.append(recorder.reactor.send_file(cid, fd, 1000, 2_000_000))
            with await connect(address) as sock:
                sock.send(GET % 1)
                assert await receive(sock, 2_000_000) == data[1000:2_001_000]
            assert outcomes[0] in (OUT_DONE, OUT_PENDING)
        async with running() as (recorder, address):
            recorder.answer = lambda cid, head: outcomes.append(
                recorder.reactor.send_file(cid, fd, len(data) - 10, 100)
            )
            with await connect(address) as sock:
                sock.send(GET % 1)
                await recorder.until("request")
                assert outcomes[-1] == OUT_FILE
                assert await receive(sock, 10) == data[-10:]
    finally:
        os.close(fd)


async def test_body_bytes_are_pulled_and_what_belongs_to_the_next_request_is_given_back() -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: None
        with await connect(address) as sock:
            sock.send(GET % 1 + b"hello" + GET % 2)
            (_, cid, _), *_ = await recorder.until("request")
            taken = recorder.reactor.recv(cid, 1000)
            assert taken == b"hello" + GET % 2
            recorder.reactor.unread(cid, taken[5:])
            recorder.reactor.write(cid, b"one")
            recorder.answer = recorder.reply
            recorder.reactor.finish(cid, True)
            assert await receive(sock, 3 + len(expected(2))) == b"one" + expected(2)


async def test_what_came_with_the_head_and_what_has_come_since_is_one_piece() -> None:
    body = os.urandom(100_000)
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: None
        with await connect(address) as sock:
            sock.send(GET % 1 + body)
            (_, cid, _), *_ = await recorder.until("request")
            assert recorder.reactor.has_input(cid)
            taken = recorder.reactor.recv(cid, 50_000)
            assert taken == body[:50_000]
            while len(taken) < len(body):  # as the kernel cuts what is left
                piece = recorder.reactor.recv(cid, len(body) - len(taken))
                assert piece, "it was sent before the head was answered"
                taken += piece
            assert taken == body
            assert not recorder.reactor.has_input(cid)
            assert recorder.reactor.recv(cid, 10) is None
            sock.send(b"more")
            await until(lambda: recorder.reactor.has_input(cid))
            await recorder.until("readable")
            assert recorder.reactor.recv(cid, 10) == b"more"


@pytest.mark.parametrize("size", [0, 10, 5000])
@pytest.mark.parametrize("limit", [5000, 100_000])
async def test_the_end_behind_a_body_that_was_taken_whole_is_the_connections(size: int, limit: int) -> None:
    body = os.urandom(size)
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: None
        with await connect(address) as sock:
            sock.send(GET % 1 + body)
            sock.shutdown(socket.SHUT_WR)
            (_, cid, _), *_ = await recorder.until("request")
            if size:
                assert recorder.reactor.recv(cid, limit) == body
            recorder.reactor.write(cid, b"one")
            recorder.reactor.finish(cid, True)
            assert await receive(sock, 4) == b"one"
            await until(lambda: recorder.reactor.connections() == 0)


async def test_a_reader_without_bytes_is_told_once_when_they_come() -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: None
        with await connect(address) as sock:
            sock.send(GET % 1)
            (_, cid, _), *_ = await recorder.until("request")
            assert recorder.reactor.recv(cid, 10) is None
            sock.send(b"abc")
            await recorder.until("readable")
            assert recorder.reactor.recv(cid, 10) == b"abc"
            assert recorder.reactor.recv(cid, 10) is None
            sock.shutdown(socket.SHUT_WR)
            await recorder.until("readable", 2)
            assert recorder.reactor.recv(cid, 10) == b""


async def test_a_client_that_leaves_while_its_request_is_with_the_engine_is_reported_once() -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: None
        sock = await connect(address)
        sock.send(GET % 1)
        await recorder.until("request")
        sock.close()
        await recorder.until("abort")
        assert recorder.kinds() == ["request", "abort"]
        assert recorder.reactor.connections() == 0
        assert recorder.reactor.write(recorder.events[0][1], b"x") == OUT_DEAD


async def test_a_stale_id_reaches_nobody_else() -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: None
        with await connect(address) as first:
            first.send(GET % 1)
            (_, stale, _), *_ = await recorder.until("request")
            recorder.reactor.close(stale)
        with await connect(address) as second:
            second.send(GET % 2)
            requests = await recorder.until("request", 2)
            fresh = requests[1][1]
            assert fresh != stale
            assert fresh & 0xFFFFFFFF == stale & 0xFFFFFFFF  # the slot is reused, the generation is not
            assert recorder.reactor.write(stale, b"x") == OUT_DEAD
            recorder.reactor.abort(stale)
            assert recorder.reactor.connections() == 1


async def test_a_callback_that_raises_costs_its_own_connection_only() -> None:
    async with running() as (recorder, address):

        def broken(cid: int, head: bytes) -> None:
            if head.startswith(b"GET /1 "):
                raise ValueError("a bug")
            recorder.reply(cid, head)

        recorder.answer = broken
        with await connect(address) as one, await connect(address) as two:
            one.send(GET % 1)
            two.send(GET % 2)
            assert await receive(two, len(expected(2))) == expected(2)
            await recorder.until("error")
            with pytest.raises(ConnectionResetError):
                await receive(one, 1)


async def test_abort_resets_so_that_nobody_takes_a_part_for_the_whole() -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: recorder.reactor.abort(cid)
        with await connect(address) as sock:
            sock.send(GET % 1)
            with pytest.raises(ConnectionResetError):
                await receive(sock, 1)


async def test_a_dripped_head_is_timed_from_its_first_byte_and_an_idle_connection_is_closed() -> None:
    async with running(head_timeout=0.2, idle_timeout=0.2) as (recorder, address):
        with await connect(address) as dripping, await connect(address) as idle:
            dripping.send(b"G")
            await until(lambda: recorder.reactor.connections() == 2)
            for _ in range(10):
                await asyncio.sleep(0.05)
                dripping.send(b"E")
            recorder.reactor.sweep()
            bad = await recorder.until("bad")
            assert bad[0][2] == 408
            assert await receive(idle, 1) == b""


async def test_a_client_that_takes_nothing_is_given_up_after_the_stall_limit() -> None:
    async with running(stall_timeout=0.2) as (recorder, address):
        recorder.answer = lambda cid, head: recorder.reactor.write(cid, bytes(20 * 1024 * 1024))
        with await connect(address) as sock:
            sock.send(GET % 1)
            await recorder.until("request")
            for _ in range(3):  # what its kernel took at first still counts as taken
                await asyncio.sleep(0.3)
                recorder.reactor.sweep()
            await recorder.until("abort")
        assert recorder.reactor.connections() == 0


async def test_a_full_table_leaves_newcomers_in_the_backlog_and_serves_them_later() -> None:
    async with running(max_connections=2) as (recorder, address):
        socks = [await connect(address) for _ in range(3)]
        try:
            for number, sock in enumerate(socks):
                sock.send(GET % number)
            for number in (0, 1):
                assert await receive(socks[number], len(expected(number))) == expected(number)
            await asyncio.sleep(0.05)
            assert recorder.reactor.connections() == 2
            socks[0].close()
            assert await receive(socks[2], len(expected(2))) == expected(2)
        finally:
            for sock in socks:
                sock.close()


async def test_only_addresses_of_the_networks_are_admitted() -> None:
    loopback = (socket.inet_aton("127.0.0.0"), 8)
    other = (socket.inet_aton("10.1.2.0"), 23)
    for networks, admitted in (((), True), ((loopback,), True), ((other,), False), ((other, loopback), True)):
        async with running(networks=networks) as (recorder, address):
            with await connect(address) as sock:
                sock.send(GET % 1)
                (_, cid, _), *_ = await recorder.until("request")
                assert recorder.events[0][0] == "request"
                del cid
            assert (recorder.reactor.stats()["refused"] == 0) is admitted


async def test_idle_connections_hold_no_buffer_and_close_idle_ends_them() -> None:
    async with running() as (recorder, address):
        socks = [await connect(address) for _ in range(50)]
        for number, sock in enumerate(socks):
            sock.send(GET % number)
        for number, sock in enumerate(socks):
            await receive(sock, len(expected(number)))
        assert recorder.reactor.parked() == 0
        assert recorder.reactor.close_idle() == 50
        assert recorder.reactor.connections() == 0
        for sock in socks:
            assert await receive(sock, 1) == b""
            sock.close()


async def test_a_reset_while_output_is_pending_is_an_abort() -> None:
    async with running() as (recorder, address):
        recorder.answer = lambda cid, head: recorder.reactor.write(cid, bytes(20 * 1024 * 1024))
        sock = await connect(address)
        sock.send(GET % 1)
        await recorder.until("request")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        await recorder.until("abort")
        assert recorder.reactor.connections() == 0


async def test_a_flood_of_empty_lines_is_handed_over_as_a_bad_head() -> None:
    """They were skipped without end, in one go as long as they came, and each began the head's time limit anew."""
    async with running() as (recorder, address):
        with await connect(address) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, b"\r\n" * 3 + GET % 1)
            assert await receive(sock, len(expected(1))) == expected(1)
            await asyncio.get_running_loop().sock_sendall(sock, b"\r\n" * 5000)
            heads = await recorder.until("request", 2)
            assert heads[1][2].strip() == b""


async def test_a_handler_that_fails_twice_does_not_stop_the_others() -> None:
    async with running() as (recorder, address):
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

        def fail(*_: Any) -> None:
            raise RuntimeError("a bug")

        answer, on_error = recorder.answer, recorder.on_callback_error
        recorder.answer, recorder.on_callback_error = fail, fail  # type: ignore[method-assign]
        with await connect(address) as first:
            await asyncio.get_running_loop().sock_sendall(first, GET % 1)
            await until(lambda: bool(failures))
        recorder.answer, recorder.on_callback_error = answer, on_error  # type: ignore[method-assign]
        with await connect(address) as second:
            await asyncio.get_running_loop().sock_sendall(second, GET % 2)
            assert await receive(second, len(expected(2))) == expected(2)


async def test_a_client_that_drips_below_the_floor_is_cut_off_and_a_slow_one_above_it_is_not() -> None:
    loop = asyncio.get_running_loop()
    async with running(min_rate=1_000_000, rate_window=0.3) as (recorder, address):
        body = bytes(30 * 1024 * 1024)
        recorder.answer = lambda cid, head: recorder.reactor.write(cid, body)
        with await connect(address) as dripping, await connect(address) as steady:
            for sock in (dripping, steady):
                sock.send(GET % 1)
            requests = await recorder.until("request", 2)
            for _ in range(12):
                await loop.sock_recv(dripping, 1)
                await receive(steady, 400_000)
                recorder.reactor.sweep()
                await asyncio.sleep(0.1)
            aborted = await recorder.until("abort")
            assert len(aborted) == 1
            assert recorder.reactor.connections() == 1
            assert {event[1] for event in requests} - {aborted[0][1]}


async def test_time_in_which_nobody_waits_for_the_client_does_not_count_against_it() -> None:
    async with running(min_rate=1_000_000, rate_window=0.2) as (recorder, address):
        recorder.answer = lambda cid, head: None
        with await connect(address) as sock:
            sock.send(GET % 1)
            (_, cid, _), *_ = await recorder.until("request")
            for _ in range(8):
                recorder.reactor.sweep()
                await asyncio.sleep(0.05)
            recorder.reactor.write(cid, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            assert (await receive(sock, 12)).startswith(b"HTTP/1.1 200")
