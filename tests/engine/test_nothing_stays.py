"""After a mixed load whose clients leave at any moment, every counter is back where it began."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import socket
import struct

import pytest
from tests.engine.conftest import AS_SHIPPED, Embed, Embedded, open_descriptors, read_answer, until

from fastcache.origin.pattern import pattern

KIB = 1024
SIZES = {"small": 3000, "middle": 900 * KIB, "large": 9 * KIB * KIB}


def a_request(proxy: Embedded, dice: random.Random) -> tuple[str, bytes, bytes | None]:
    """Method, bytes, and the body of the answer where it is known."""
    key = dice.choice(list(SIZES))
    size = SIZES[key]
    kind = dice.random()
    if kind < 0.35:
        return "GET", proxy.request(key), pattern(key.encode(), 1, 0, size)
    if kind < 0.7:
        start = dice.randrange(size)
        end = min(size, start + dice.randrange(1, size))
        sent = proxy.request(key, signed={"Range": f"bytes={start}-{end - 1}"})
        return "GET", sent, pattern(key.encode(), 1, start, end - start)
    if kind < 0.8:
        return "HEAD", proxy.request(key, method="HEAD"), b""
    if kind < 0.85:
        return "GET", proxy.request("missing"), None
    if kind < 0.95:
        return "PUT", proxy.request(f"put-{dice.randrange(4)}", method="PUT", body=dice.randbytes(300 * KIB)), None
    return "DELETE", proxy.request(f"put-{dice.randrange(4)}", method="DELETE"), None


async def one(proxy: Embedded, dice: random.Random) -> None:
    """One request, read to its end and compared, or left at a random moment: in its head, its body, or its answer."""
    method, sent, body = a_request(proxy, dice)
    patience = dice.choice([None, None, 0.0, 0.001, 0.01, 0.05, 0.2])
    if patience is not None and dice.random() < 0.3:
        sent = sent[: dice.randrange(len(sent))]
    reader, writer = await proxy.connect()
    try:
        writer.write(sent)
        if patience is None:
            async with asyncio.timeout(60):
                head, got = await read_answer(reader, method)
            assert body is None or got == body, head
            return
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            async with asyncio.timeout(patience):
                if dice.random() < 0.5:
                    await read_answer(reader, method)
                else:
                    await asyncio.sleep(patience)
        if dice.random() < 0.5:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def nothing_is_left(proxy: Embedded) -> None:
    ctx, frontend, store = proxy.worker.ctx, proxy.worker.frontend, proxy.worker.ctx.store
    assert store is not None
    assert await frontend.drain(30.0)
    await until(lambda: ctx.flights.active() == 0, "no fill is left")
    await until(lambda: frontend.reactor.connections() == 0, "no connection is left")
    await until(lambda: not ctx.flights._tasks, "nothing runs behind the requests")
    await until(lambda: not store._disk._tasks, "the disk is settled")
    assert (frontend.in_flight, frontend.reactor.parked(), len(frontend._channels)) == (0, 0, 0)
    assert (ctx.requests_in_flight, ctx.window_budget.used, ctx.window_budget.fills) == (0, 0, 0)
    assert (ctx.flights._leaders, ctx.flights._provers, ctx.flights._fills) == ({}, {}, {})
    assert (store.stats().fills, store._fills.write_behind) == (0, 0)
    for entry in store._entries.values():
        assert (entry.users, entry.doomed) == (0, [])
        assert not any(extent.is_read for extent in entry.extents)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("authorization", ["revalidate", "none"])
async def test_every_counter_is_back_after_clients_left_at_any_moment(
    embed: Embed, caplog: pytest.LogCaptureFixture, authorization: str, seed: int
) -> None:
    dice = random.Random(seed)
    gc.collect()
    descriptors = open_descriptors()
    async with embed(authorization=authorization, cache_size="64MiB", fill_linger="1s", **AS_SHIPPED) as proxy:
        for key, size in SIZES.items():
            proxy.origin.control.synthetic("bkt", key, size)
        turns = asyncio.Semaphore(12)

        async def in_turn() -> None:
            async with turns:
                await one(proxy, dice)

        async with asyncio.TaskGroup() as group:
            for _ in range(200):
                group.create_task(in_turn())
        await nothing_is_left(proxy)
    lessor = proxy.worker.ctx.lessor
    assert lessor is not None
    assert (lessor._held, len(lessor._leases), lessor._leases.memo_bytes) == ({}, 0, 0)
    gc.collect()  # what nobody retrieved or aborted is told of now
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    await until(lambda: open_descriptors() == descriptors, f"as many descriptors as before: {descriptors}")
