"""Many requesters, few connections, an origin that cuts at random and requesters that leave at random."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from tests.upstream.origins import Peer, origin, pool_for, settled

from fastcache.errors import UpstreamError
from fastcache.upstream.settings import UpstreamSettings

CONNECTIONS = 5


def pattern(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)


def chunked(body: bytes, dice: random.Random) -> bytes:
    out = bytearray()
    while body:
        size = dice.randrange(1, 40_000)
        out += b"%x\r\n%b\r\n" % (len(body[:size]), body[:size])
        body = body[size:]
    return bytes(out) + b"0\r\nX-End: yes\r\n\r\n"


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_no_answer_is_wrong_and_no_connection_is_lost(seed: int) -> None:
    dice = random.Random(seed)
    whole = 0

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.head()
            method, target, _ = head.split(b" ", 2)
            number, size = map(int, target[1:].split(b"/"))
            if method == b"PUT":
                if dice.random() < 0.1:
                    await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                    return
                assert await peer.reader.readexactly(size) == pattern(number, size)
                size = 0
            body = pattern(number, size)
            if dice.random() < 0.5:
                answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, dice)
            else:
                answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body
            if dice.random() < 0.1:
                await peer.send(answer[: dice.randrange(len(answer))])
                return
            await peer.send(answer)
            if dice.random() < 0.1:
                return

    async def body(number: int, size: int) -> AsyncIterator[bytes]:
        data = pattern(number, size)
        for at in range(0, size, 10_000):
            await asyncio.sleep(0)
            yield data[at : at + 10_000]

    async def ask(number: int) -> None:
        nonlocal whole
        size = dice.choice((0, 1, 1000, 100_000, 1_000_000))
        upload = dice.random() < 0.2
        head = b"%b /%d/%d HTTP/1.1\r\nHost: o\r\n\r\n" % (b"PUT" if upload else b"GET", number, size)
        response = await pool.request(
            b"PUT" if upload else b"GET",
            head,
            body=body(number, size) if upload else None,
            content_length=size if upload else None,
            retry_safe=not upload,
        )
        got = bytearray()
        while piece := await response.read():
            got += piece
            if dice.random() < 0.05:
                response.abort()
                return
        assert bytes(got) == (b"" if upload else pattern(number, size))
        whole += response.head.status == 200

    settings = UpstreamSettings(max_connections=CONNECTIONS, receive_block=32768, first_block=16384)
    async with origin(script) as source, pool_for(source, settings) as pool:
        tasks = [asyncio.create_task(ask(number)) for number in range(150)]
        for task in dice.sample(tasks, 20):
            await asyncio.sleep(dice.random() * 0.02)
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        expected = (type(None), UpstreamError, asyncio.CancelledError)
        unexpected = [result for result in results if not isinstance(result, expected)]
        assert unexpected == []
        assert whole > 50
        await settled(lambda: pool.open_connections == pool.idle_connections and pool.waiting == 0)
        assert pool._slots + pool.open_connections == CONNECTIONS
        await settled(lambda: source.open == pool.open_connections)
