"""A connection that somebody else uses between two exchanges, and in the middle of one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator

import pytest
from tests.upstream.origins import GET, Origin, Peer, origin, pool_for, read_all, settled, sized

from fastcache.errors import UpstreamProtocolError, UpstreamTimeoutError
from fastcache.upstream.connection import Connection
from fastcache.upstream.pool import Pool
from fastcache.upstream.settings import UpstreamSettings

HEAD = b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n"


async def echo(peer: Peer) -> None:
    """Answers each request with its number."""
    count = 0
    while True:
        await peer.answer(sized(b"answer %d" % count))
        count += 1


@contextlib.asynccontextmanager
async def lent(source: Origin, settings: UpstreamSettings | None = None) -> AsyncIterator[tuple[Pool, Connection]]:
    """A connection that has served one exchange and is lent."""
    async with pool_for(source, settings) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"answer 0"
        connection = pool._idle.pop()
        connection.lend()
        yield pool, connection


async def received(connection: Connection, length: int) -> bytes:
    """Read from the socket behind the loop's back."""
    got = b""
    async with asyncio.timeout(30):
        while len(got) < length:
            with contextlib.suppress(BlockingIOError):
                got += os.read(connection.fileno(), length - len(got))
            await asyncio.sleep(0.005)
    return got


async def test_what_comes_while_it_is_lent_is_the_borrowers_and_afterwards_it_is_as_good_as_before() -> None:
    async with origin(echo) as source, lent(source) as (pool, connection):
        assert not connection.is_usable()
        for count in (1, 2):
            os.write(connection.fileno(), GET)
            expected = sized(b"answer %d" % count)
            assert await received(connection, len(expected)) == expected
        connection.take_back()
        assert connection.is_usable()
        pool.connection_idle(connection)
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"answer 3"
        assert source.accepted == 1


@pytest.mark.parametrize("cut", [0, 1, 9, len(sized(b"answer 1")) - 3, len(sized(b"answer 1"))])
async def test_an_exchange_goes_on_from_whatever_has_come_of_its_answer(cut: int) -> None:
    async with origin(echo) as source, lent(source) as (pool, connection):
        os.write(connection.fileno(), GET)
        taken = await received(connection, cut)
        response = await pool.go_on(connection, b"GET", GET, unsent=b"", received=taken, seconds=0.0)
        assert (response.head.status, await read_all(response)) == (200, b"answer 1")
        await settled(lambda: pool.idle_connections == 1)
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"answer 2"
        assert source.accepted == 1


async def test_what_was_not_sent_of_the_request_goes_out_first() -> None:
    async with origin(echo) as source, lent(source) as (pool, connection):
        os.write(connection.fileno(), GET[:20])
        response = await pool.go_on(connection, b"GET", GET, unsent=GET[20:], received=b"", seconds=0.0)
        assert await read_all(response) == b"answer 1"


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_that_ends_unanswered_is_replaced_once(reset: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"answer 0"))
        await peer.head()
        if peer.number:
            await peer.send(sized(b"after all"))
        elif reset:
            peer.reset()

    async def first_is_read_already(peer: Peer) -> None:
        if peer.number == 0:
            await script(peer)
        else:
            await peer.answer(sized(b"after all"))

    async with origin(first_is_read_already) as source, lent(source) as (pool, connection):
        os.write(connection.fileno(), GET)
        await settled(lambda: source.open == 0)
        response = await pool.go_on(connection, b"GET", GET, unsent=b"", received=b"", seconds=0.0)
        assert await read_all(response) == b"after all"
        assert source.accepted == 2


async def test_bytes_behind_the_answer_end_the_connection() -> None:
    async with origin(echo) as source, lent(source) as (pool, connection):
        response = await pool.go_on(connection, b"GET", GET, unsent=b"", received=HEAD + HEAD, seconds=0.0)
        assert (response.head.status, await read_all(response)) == (304, b"")
        await settled(lambda: pool.open_connections == 0)


async def test_garbage_fails_the_exchange_and_ends_the_connection() -> None:
    async with origin(echo) as source, lent(source) as (pool, connection):
        with pytest.raises(UpstreamProtocolError):
            await pool.go_on(connection, b"GET", GET, unsent=b"", received=b"nonsense", seconds=0.0)
        await settled(lambda: pool.open_connections == 0)


async def test_the_time_before_counts() -> None:
    settings = UpstreamSettings(first_byte_timeout=60.0)

    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"answer 0"))
        await peer.gone()

    async with origin(script) as source, lent(source, settings) as (pool, connection):
        began = time.monotonic()
        with pytest.raises(UpstreamTimeoutError):
            await pool.go_on(connection, b"GET", GET, unsent=b"", received=b"", seconds=60.0)
        assert time.monotonic() - began < 30


async def test_a_connection_in_use_is_not_lent_and_one_that_is_not_lent_not_gone_on_with() -> None:
    async with origin(echo) as source, lent(source) as (pool, connection):
        with pytest.raises(RuntimeError):
            connection.lend()
        connection.take_back()
        connection.take_back()  # nothing happens
        with pytest.raises(RuntimeError):
            connection.go_on(b"GET", unsent=b"", received=b"", seconds=0.0)
        pool.connection_idle(connection)
