"""An answer can be looked at before it is passed on, and is passed on whole."""

from __future__ import annotations

import pytest
from tests.upstream.origins import GET, Peer, origin, pool_for, read_all, sized

from fastcache.errors import UpstreamProtocolError


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
async def test_what_was_looked_at_is_read_again_and_the_connection_goes_on(size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]

    async def script(peer: Peer) -> None:
        await peer.answer(sized(body))
        await peer.answer(sized(b"next"))

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        for limit in (1, 500, 1_000_000):
            seen = await response.peek(limit)
            assert body.startswith(seen)
            assert len(seen) >= min(limit, size)
        assert await read_all(response) == body
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"next"
        assert source.accepted == 1


async def test_of_an_answer_that_is_cut_the_beginning_is_seen_and_then_the_cut() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\n<Error>")

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        assert await response.peek(100) == b"<Error>"
        assert bytes(await response.read()) == b"<Error>"
        with pytest.raises(UpstreamProtocolError):
            await response.read()


async def test_what_was_looked_at_can_be_given_up() -> None:
    asked = []

    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"next" if asked else b"x" * 100_000))
        await peer.answer(sized(b"next"))

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        assert await response.peek(10)
        asked.append(response)
        response.abort()
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"next"
