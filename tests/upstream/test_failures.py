"""Origins that are slow, silent, gone or short of patience, and requesters that leave."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from tests.harness.processes import refusing_port
from tests.upstream.origins import GET, Peer, origin, pool_for, put, read_all, settled, sized

from fastcache.errors import UpstreamConnectError, UpstreamError, UpstreamProtocolError, UpstreamTimeoutError
from fastcache.model import OriginId
from fastcache.upstream.pool import Pool
from fastcache.upstream.resolver import Address, Resolver
from fastcache.upstream.settings import UpstreamSettings

SHORT = UpstreamSettings(connect_timeout=0.4, first_byte_timeout=0.2, idle_timeout=0.2)
LONGER = UpstreamSettings(first_byte_timeout=2.0, idle_timeout=2.0)
"""For what must *not* time out although all of it takes longer: on a busy machine a step of 0.25 s takes more."""


async def silent(peer: Peer) -> None:
    await peer.head()
    await peer.gone()


async def closes_at_the_second(peer: Peer) -> None:
    await peer.answer(sized(b"fine"))
    await peer.head()


# Retry


async def test_a_reused_connection_that_dies_unanswered_is_replaced_once() -> None:
    async with origin(closes_at_the_second) as source, pool_for(source) as pool:
        for _ in range(5):
            assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
        assert source.accepted == 5


async def test_the_retry_is_one_and_only_one() -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.answer(sized(b"fine"))
        await peer.head()

    async with origin(script) as source, pool_for(source) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
        with pytest.raises(UpstreamProtocolError, match="before answering"):
            await pool.request(b"GET", GET, retry_safe=True)
        assert source.accepted == 2


async def test_the_retry_needs_no_slot_beyond_the_limit() -> None:
    settings = UpstreamSettings(max_connections=1)
    async with origin(closes_at_the_second) as source, pool_for(source, settings) as pool:
        for _ in range(5):
            assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
        assert source.accepted == 5


async def test_the_retry_finds_a_slot_although_all_were_taken() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"fine"))
        await peer.head()

    async with origin(script) as source, pool_for(source, UpstreamSettings(max_connections=2)) as pool:
        for response in await asyncio.gather(*(pool.request(b"GET", GET, retry_safe=True) for _ in range(2))):
            assert await read_all(response) == b"fine"
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
        assert source.accepted == 3


async def test_a_new_connection_that_dies_is_not_retried() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()

    async with origin(script) as source, pool_for(source) as pool:
        with pytest.raises(UpstreamProtocolError):
            await pool.request(b"GET", GET, retry_safe=True)
        assert source.accepted == 1


async def test_what_must_not_be_repeated_is_not() -> None:
    async def one_piece() -> AsyncIterator[bytes]:
        yield b"12345"

    async with origin(closes_at_the_second) as source, pool_for(source) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
        with pytest.raises(UpstreamProtocolError):
            await pool.request(b"POST", GET, retry_safe=False)
        assert source.accepted == 1
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
        with pytest.raises(UpstreamProtocolError):
            await pool.request(b"PUT", put(5), body=one_piece(), content_length=5, retry_safe=True)
        assert source.accepted == 2


async def test_an_answer_that_began_is_not_asked_for_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"fine"))
        await peer.answer(b"H")

    async with origin(script) as source, pool_for(source) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
        with pytest.raises(UpstreamProtocolError, match="in the middle"):
            await pool.request(b"GET", GET, retry_safe=True)
        assert source.accepted == 1


async def test_an_idle_connection_that_the_origin_closed_is_not_used() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"fine"))

    async with origin(script) as source, pool_for(source) as pool:
        for count in range(3):
            assert await read_all(await pool.request(b"POST", GET, retry_safe=False)) == b"fine"
            await settled(lambda: pool.open_connections == 0)
            assert source.accepted == count + 1


# Time


async def test_no_first_byte_in_time() -> None:
    async with origin(silent) as source, pool_for(source, SHORT) as pool:
        with pytest.raises(UpstreamTimeoutError):
            await pool.request(b"GET", GET, retry_safe=True)
        await settled(lambda: pool.open_connections == 0 and source.open == 0)
        assert source.accepted == 1


async def test_a_head_that_drips_is_no_progress() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nA: ")
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.01)

    async with origin(script) as source, pool_for(source, SHORT) as pool:
        with pytest.raises(UpstreamTimeoutError):
            await pool.request(b"GET", GET, retry_safe=True)


async def test_a_stall_in_the_body() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"x" * 1000)[:-500])
        await peer.gone()

    async with origin(script) as source, pool_for(source, LONGER) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        assert len(await response.read()) == 500
        with pytest.raises(UpstreamTimeoutError):
            await response.read()
        with pytest.raises(UpstreamTimeoutError):
            await response.read()
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_a_slow_body_that_makes_progress_is_not_a_stall() -> None:
    async def script(peer: Peer) -> None:
        answer = sized(b"x" * 9)
        await peer.answer(answer[:-9])
        for byte in answer[-9:]:
            await asyncio.sleep(0.25)
            await peer.send(bytes([byte]))

    async with origin(script) as source, pool_for(source, LONGER) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"x" * 9


async def test_an_origin_that_does_not_take_the_body() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async with origin(script) as source, pool_for(source, SHORT) as pool:
        with pytest.raises(UpstreamTimeoutError):
            await pool.request(b"PUT", put(2**40), body=endless(), content_length=2**40, retry_safe=False)
        await settled(lambda: pool.open_connections == 0)


async def test_no_time_runs_while_the_client_gives_no_body() -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(2):
            await asyncio.sleep(2.1)
            yield b"x"

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(2)
        await peer.send(sized(b"stored"))
        await peer.gone()

    async with origin(script) as source, pool_for(source, LONGER) as pool:
        response = await pool.request(b"PUT", put(2), body=slow(), content_length=2, retry_safe=False)
        assert await read_all(response) == b"stored"


async def test_no_time_runs_while_our_consumer_is_slow_and_memory_stays_bounded() -> None:
    size, block = 64 << 20, 64 << 10

    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(64):
            await peer.send(bytes(1 << 20))
        await peer.gone()

    settings = replace(LONGER, receive_block=block, first_block=block)
    async with origin(script) as source, pool_for(source, settings) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        read = 0
        for stop in (0, 30 << 20):
            while read < stop:
                read += len(await response.read())
            await asyncio.sleep(2.1)
            held = response.bytes_received - read
            assert block <= held < 4 * block
        most = 0
        while piece := await response.read():
            most = max(most, response.bytes_received - read)
            read += len(piece)
        assert read == size
        assert most < 4 * block


async def test_each_informational_answer_starts_the_wait_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        for _ in range(9):
            await peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await asyncio.sleep(0.25)
        await peer.send(sized(b"at last"))
        await peer.gone()

    async with origin(script) as source, pool_for(source, LONGER) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"at last"


# Connecting


class BlackHole:
    """A listener whose queue is full: Linux drops further SYNs, so that connecting goes nowhere."""

    def __enter__(self) -> int:
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0)
        self.fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(self.listener.getsockname())
            self.fillers.append(filler)
        port: int = self.listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        for sock in (self.listener, *self.fillers):
            sock.close()


class Addresses:
    """A lookup that gives these ports of 127.0.0.1, or fails when there are none."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked += 1
        if not self.ports:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [Address(socket.AF_INET, ("127.0.0.1", port)) for port in self.ports]


async def test_connection_refused() -> None:
    with refusing_port() as port:
        pool = Pool(OriginId("http", "127.0.0.1", port), UpstreamSettings())
        with pytest.raises(UpstreamConnectError, match="refused") as raised:
            await pool.request(b"GET", GET, retry_safe=True)
        assert not raised.value.sent
        await pool.close()


async def test_a_black_hole() -> None:
    with BlackHole() as port:
        pool = Pool(OriginId("http", "127.0.0.1", port), SHORT)
        with pytest.raises(UpstreamTimeoutError) as raised:
            await pool.request(b"GET", GET, retry_safe=True)
        assert not raised.value.sent
        await pool.close()


async def test_a_congestion_control_that_the_kernel_knows_and_one_it_does_not() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"fine"))

    async with origin(script) as source:
        for name in ("reno", "nonsense"):
            async with pool_for(source, UpstreamSettings(tcp_congestion=name)) as pool:
                if name == "reno":
                    assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
                else:
                    with pytest.raises(UpstreamConnectError, match="congestion control 'nonsense'"):
                        await pool.request(b"GET", GET, retry_safe=True)


async def test_closing_the_pool_ends_what_is_still_connecting() -> None:
    with BlackHole() as hole:
        pool = Pool(OriginId("http", "127.0.0.1", hole), UpstreamSettings(connect_timeout=60))
        task = asyncio.create_task(pool.request(b"GET", GET, retry_safe=True))
        await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            await pool.close()
            with pytest.raises(UpstreamError, match="closed"):
                await task


async def test_closing_the_pool_ends_what_is_still_resolving() -> None:
    async def hangs(host: str, port: int) -> Sequence[Address]:
        await asyncio.sleep(60)
        return []

    pool = Pool(OriginId("http", "slow.invalid", 80), UpstreamSettings(connect_timeout=60), lookup=hangs)
    task = asyncio.create_task(pool.request(b"GET", GET, retry_safe=True))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        await pool.close()
        with pytest.raises(UpstreamError, match="closed"):
            await task


async def test_an_unknown_name() -> None:
    pool = Pool(OriginId("http", "nowhere.invalid", 80), SHORT, lookup=Addresses())
    with pytest.raises(UpstreamConnectError, match=r"nowhere\.invalid"):
        await pool.request(b"GET", GET, retry_safe=True)
    await pool.close()


async def test_a_lookup_that_hangs() -> None:
    async def hangs(host: str, port: int) -> Sequence[Address]:
        await asyncio.sleep(60)
        return []

    pool = Pool(OriginId("http", "slow.invalid", 80), SHORT, lookup=hangs)
    with pytest.raises(UpstreamTimeoutError, match="resolving"):
        await pool.request(b"GET", GET, retry_safe=True)
    await pool.close()


async def test_the_next_address_is_tried_when_one_is_a_hole_and_one_refuses() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"fine", extra=b"Connection: close\r\n"))

    async with origin(script) as source:
        with BlackHole() as hole, refusing_port() as refusing:
            settings = UpstreamSettings(connect_timeout=3.0)
            pool = Pool(source.id, settings, lookup=Addresses(hole, refusing, source.id.port))
            assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
            for _ in range(5):
                assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"fine"
            assert source.accepted == 6
            await pool.close()


def resolver(lookup: Addresses, now: list[float]) -> Resolver:
    return Resolver("name", 80, lookup, 10.0, lambda: now[0])


def ports(addresses: Sequence[Address]) -> list[int]:
    return [address.sockaddr[1] for address in addresses]


async def test_addresses_take_turns_failed_ones_come_last_until_their_time_is_over() -> None:
    now = [1000.0]
    names = resolver(Addresses(1, 2, 3), now)

    async def orders() -> list[list[int]]:
        return [ports(await names.addresses()) for _ in range(6)]

    everyone_first = {1, 2, 3}
    assert {order[0] for order in await orders()} == everyone_first
    bad = next(address for address in await names.addresses() if address.sockaddr[1] == 2)
    names.failed(bad)
    assert {order[-1] for order in await orders()} == {2}
    now[0] += 1.01
    assert {order[0] for order in await orders()} == everyone_first
    names.failed(bad)
    now[0] += 1.5  # twice as long after the second failure in a row
    assert {order[-1] for order in await orders()} == {2}
    names.succeeded(bad)
    assert {order[0] for order in await orders()} == everyone_first


async def test_a_refresh_does_not_make_a_dead_address_good() -> None:
    now = [1000.0]
    lookup = Addresses(1, 2)
    names = resolver(lookup, now)
    bad = next(address for address in await names.addresses() if address.sockaddr[1] == 1)
    for _ in range(6):
        names.failed(bad)
    now[0] += 11.0
    assert ports(await names.addresses()) == [2, 1]
    assert lookup.asked == 2


async def test_old_addresses_outlive_a_failing_name_server_and_lookups_are_shared() -> None:
    now = [1000.0]
    lookup = Addresses(1)
    names = resolver(lookup, now)
    await asyncio.gather(*(names.addresses() for _ in range(10)))
    assert lookup.asked == 1
    lookup.ports = ()
    now[0] += 11.0
    assert ports(await names.addresses()) == [1]
    assert lookup.asked == 2


# Leaving


async def test_cancelling_a_request_at_any_point_leaves_nothing_open() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield b"x" * 1000

    async with origin(silent) as source, pool_for(source) as pool:
        for turns in range(30):
            for body in (None, endless()):
                task = asyncio.create_task(
                    pool.request(b"PUT", put(10**9), body=body, content_length=10**9, retry_safe=True)
                )
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        await settled(lambda: pool.open_connections == 0 and source.open == 0)
        assert pool._slots == UpstreamSettings().max_connections


async def stalls(peer: Peer) -> None:
    await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
    await peer.gone()


async def test_cancelling_a_read_drops_the_connection() -> None:
    async with origin(stalls) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        await response.read()
        task = asyncio.create_task(response.read())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_an_aborted_response_is_gone_with_its_connection() -> None:
    async with origin(stalls) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        response.abort()
        response.abort()
        with pytest.raises(UpstreamError):
            await response.read()
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_aborting_a_response_that_has_arrived_leaves_the_connection_to_others() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"whole"))
        await peer.answer(sized(b"next"))

    async with origin(script) as source, pool_for(source) as pool:
        first = await pool.request(b"GET", GET, retry_safe=True)
        await settled(lambda: pool.idle_connections == 1)
        second = await pool.request(b"GET", GET, retry_safe=True)
        first.abort()
        with pytest.raises(UpstreamError):
            await first.read()
        assert await read_all(second) == b"next"
        assert source.accepted == 1


async def test_a_forgotten_response_is_a_warning_and_no_leak() -> None:
    async with origin(stalls) as source, pool_for(source) as pool:
        held = [await pool.request(b"GET", GET, retry_safe=True)]
        with pytest.warns(ResourceWarning, match="neither read"):
            held.clear()
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_closing_the_pool_fails_everything_that_waits() -> None:
    settings = UpstreamSettings(max_connections=2)
    async with origin(stalls) as source:
        pool = Pool(source.id, settings)
        response = await pool.request(b"GET", GET, retry_safe=True)
        await response.read()
        reading = asyncio.create_task(response.read())
        held = await pool.request(b"GET", GET, retry_safe=True)
        queued = asyncio.create_task(pool.request(b"GET", GET, retry_safe=True))
        await settled(lambda: pool.waiting == 1)
        await pool.close()
        assert pool.open_connections == 0
        for task in (reading, queued):
            with pytest.raises(UpstreamError):
                await task
        with pytest.raises(UpstreamError, match="closed"):
            await pool.request(b"GET", GET, retry_safe=True)
        held.abort()


# Limits


async def test_requests_beyond_the_limit_wait_in_order_and_cancelled_ones_are_forgotten() -> None:
    gate = asyncio.Semaphore(0)
    served: list[bytes] = []

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            await gate.acquire()
            served.append(head.split(b" ")[1])
            await peer.send(sized(b"fine"))

    async def ask(number: int) -> bytes:
        head = b"GET /%d HTTP/1.1\r\nHost: o\r\n\r\n" % number
        return await read_all(await pool.request(b"GET", head, retry_safe=True))

    async with origin(script) as source, pool_for(source, UpstreamSettings(max_connections=1)) as pool:
        tasks = []
        for number in range(6):
            tasks.append(asyncio.create_task(ask(number)))
            await asyncio.sleep(0)
        await settled(lambda: pool.waiting == 5)
        tasks[2].cancel()
        await asyncio.wait({tasks[2]})
        assert pool.waiting == 4
        for _ in range(5):
            gate.release()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in done] == [
            False, False, True, False, False, False,
        ]  # fmt: skip
        assert served == [b"/0", b"/1", b"/3", b"/4", b"/5"]
        assert source.accepted == 1


async def test_a_slot_of_a_connection_that_died_goes_to_the_next_in_line() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"fine", extra=b"Connection: close\r\n"))
        await peer.gone()

    async with origin(script) as source, pool_for(source, UpstreamSettings(max_connections=2)) as pool:

        async def ask() -> bytes:
            return await read_all(await pool.request(b"GET", GET, retry_safe=True))

        assert await asyncio.gather(*(ask() for _ in range(20))) == [b"fine"] * 20
        assert source.accepted == 20


async def test_cancelling_whoever_was_just_given_a_connection_passes_it_on() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.answer(sized(b"fine"))

    async with origin(script) as source, pool_for(source, UpstreamSettings(max_connections=1)) as pool:
        first = await pool._acquire(fresh=False)
        second = asyncio.create_task(pool._acquire(fresh=False))
        third = asyncio.create_task(pool._acquire(fresh=False))
        await settled(lambda: pool.waiting == 2)
        pool.connection_idle(first)
        second.cancel()
        assert await asyncio.wait_for(third, 30) is first
        pool.connection_idle(first)
        assert (pool.idle_connections, pool._slots) == (1, 0)


async def test_the_queue_has_a_time_limit() -> None:
    async with (
        origin(stalls) as source,
        pool_for(source, UpstreamSettings(max_connections=1, queue_timeout=0.1)) as pool,
    ):
        response = await pool.request(b"GET", GET, retry_safe=True)
        with pytest.raises(UpstreamTimeoutError) as raised:
            await pool.request(b"GET", GET, retry_safe=True)
        assert not raised.value.sent
        response.abort()
        (await pool.request(b"GET", GET, retry_safe=True)).abort()


async def test_idle_connections_are_closed_after_a_while_and_beyond_a_number() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"fine"))
        await peer.gone()

    for pool_idle, left in ((60.0, 3), (0.2, 0)):
        settings = UpstreamSettings(pool_idle=pool_idle, max_idle=3)
        async with origin(script) as source, pool_for(source, settings) as pool:
            responses = await asyncio.gather(*(pool.request(b"GET", GET, retry_safe=True) for _ in range(8)))
            for response in responses:
                assert await read_all(response) == b"fine"
            await settled(lambda: pool.open_connections == pool.idle_connections == source.open == left)  # noqa: B023


async def test_an_early_refusal_is_read_although_the_reset_behind_it_fails_our_next_write() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    answer = sized(b"<Error/>", b"403 Forbidden")

    async def body() -> AsyncIterator[bytes]:
        accepted, _ = await asyncio.to_thread(listener.accept)
        accepted.sendall(answer)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        # The piece is written before the loop turns and could see that there is something to read.
        yield bytes(1000)
        await asyncio.Event().wait()

    pool = Pool(OriginId("http", *listener.getsockname()), UpstreamSettings())
    response = await pool.request(b"PUT", put(2000), body=body(), content_length=2000, retry_safe=False)
    assert response.head.status == 403
    assert await read_all(response) == b"<Error/>"
    await pool.close()
    listener.close()
