"""What bounds a fill must not end it, and a disk that does not answer must not hold anybody."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.engine.conftest import Embed, read_answer

MIB = 1024 * 1024


@pytest.mark.slow
async def test_a_disk_that_does_not_answer_delays_the_end_by_seconds_only(embed: Embed) -> None:
    released = threading.Event()
    try:
        async with asyncio.timeout(60):
            async with embed(io_threads="2") as proxy:
                store = proxy.worker.ctx.store
                assert store is not None
                proxy.origin.control.synthetic("bkt", "o", 64 * MIB)
                proxy.origin.control.settings(bandwidth_connection=16 * MIB)
                reader, writer = await proxy.connect()
                writer.write(proxy.request("o"))
                await reader.readexactly(4 * MIB)
                jobs = [store._io.run(released.wait) for _ in range(2)]
                await asyncio.sleep(0.3)
                writer.transport.abort()
            assert len(jobs) == 2
    finally:
        released.set()


async def test_an_interim_answer_is_not_for_http_1_0(embed: Embed) -> None:
    """RFC 9110 section 15.2."""
    async with embed() as proxy:
        reader, writer = await proxy.connect()
        whole = proxy.request("put", method="PUT", body=b"content").replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
        head, _, body = whole.partition(b"\r\n\r\n")
        writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.write(body)
        async with asyncio.timeout(10):
            answer, _ = await read_answer(reader)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        writer.close()
