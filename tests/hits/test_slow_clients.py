"""Clients too slow for an answer of the hit branch are cut off there, and what was held for them is let go."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.engine.conftest import Embed, until
from tests.harness.reactor import connect, receive
from tests.hits.test_answers import Client, client_of, warm

from fastcache.origin.pattern import pattern

SIZE = 48 << 20
STEADY = 100_000
"""Bytes that a client which is slow, but not too slow, takes in a step."""
STEP = 0.1


async def begin(client: Client) -> tuple[socket.socket, bytearray]:
    """A connection on which the hit branch sends the object, and what has come of the body."""
    sock = await connect(client.proxy.address)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, client.proxy.request("o"))
    head, _, body = (await loop.sock_recv(sock, 4096)).partition(b"\r\n\r\n")
    assert b"\r\nX-Cache: HIT" in head
    return sock, bytearray(body)


async def read_on(sock: socket.socket, taken: bytearray) -> None:
    """As fast as it comes, to the end of the body or of the connection."""
    async with asyncio.timeout(20):
        while len(taken) < SIZE and (piece := await asyncio.get_running_loop().sock_recv(sock, 1 << 20)):
            taken += piece


@pytest.mark.parametrize(
    ("takes", "limits"),
    [
        pytest.param(0, {"timeouts_client_stall": "5s", "limits_min_client_rate": "0"}, id="takes nothing"),
        pytest.param(1000, {"limits_min_client_rate": "100KiB"}, id="drips below the floor"),
    ],
)
async def test_who_is_too_slow_for_a_hit_is_cut_off_alone_and_its_lease_let_go(
    embed: Embed, takes: int, limits: dict[str, str]
) -> None:
    loop = asyncio.get_running_loop()
    async with client_of(embed, cache_size="1GiB", **limits) as client:
        worker = client.proxy.worker
        reactor, ctx = worker.frontend.reactor, worker.ctx
        assert ctx.store is not None
        assert ctx.lessor is not None
        leases = ctx.lessor._leases
        client.proxy.origin.control.synthetic("bkt", "o", SIZE)
        await warm(client, "o")
        served = client.hits.served
        (slow, taken), (steady, whole) = await begin(client), await begin(client)
        with slow, steady:
            await until(lambda: reactor.answering() == 2, "the hit branch waits for both")
            ctx.store.drop(ctx.object_id(b"bkt", b"o"))  # from now on the lease is there for the two alone
            assert leases.open_extents
            async with asyncio.timeout(100):
                while reactor.answering() == 2:
                    whole += await receive(steady, STEADY)
                    taken += await loop.sock_recv(slow, takes) if takes else b""
                    await asyncio.sleep(STEP)
            assert reactor.answering() == 1
            assert leases.open_extents, "the other still needs it"
            await read_on(steady, whole)
            # What the kernel had taken can still be read; then the reset, never a clean end.
            with pytest.raises(ConnectionResetError):
                await read_on(slow, taken)
        content = pattern(b"o", 1, 0, SIZE)
        assert whole == content
        assert len(taken) < SIZE
        assert content.startswith(taken)
        await until(lambda: not leases.open_extents, "the lease was let go")
        assert len(leases) == 0
        assert reactor.stats()["timed_out"] == 1
        assert (client.hits.served, client.hits.taken_over) == (served + 1, 0)
        assert ctx.metrics.value("fastcache_requests_total", "GET", "200", "ERROR") == 1
