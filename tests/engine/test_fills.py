"""What bounds a fill must not end it, and a disk that does not answer must not hold anybody."""

from __future__ import annotations

import asyncio
import threading

import pytest
from tests.engine.conftest import AS_SHIPPED, WITHIN, Embed, Embedded, read_answer

from fastcache.engine.fill import Fill
from fastcache.errors import StorageError
from fastcache.origin.pattern import pattern
from fastcache.storage.writer import FillWriter

MIB = 1024 * 1024


@pytest.mark.slow
async def test_a_disk_that_does_not_answer_delays_the_end_by_seconds_only(embed: Embed) -> None:
    released = threading.Event()
    try:
        async with asyncio.timeout(60):
            async with embed(io_threads="2", **AS_SHIPPED) as proxy:
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


def filling(proxy: Embedded, size: int) -> Fill:
    ctx = proxy.worker.ctx
    return next(
        fill
        for fill in ctx.flights.fills_of(ctx.object_id(b"bkt", b"o"))
        if isinstance(fill, Fill) and fill.interval.length == size
    )


async def test_a_disk_that_does_not_answer_delays_no_reader(embed: Embed) -> None:
    """What a reader had taken out of a full window stayed in it when storing was given up: no more was read."""
    size, released = 32 * MIB, threading.Event()
    try:
        async with embed(io_threads="2", **AS_SHIPPED) as proxy:
            store = proxy.worker.ctx.store
            assert store is not None
            proxy.origin.control.synthetic("bkt", "o", size)
            reader, writer = await proxy.connect()
            async with asyncio.timeout(WITHIN):
                writer.write(proxy.request("o"))
                await reader.readuntil(b"\r\n\r\n")
                jobs = [store._io.run(released.wait) for _ in range(2)]
                assert await reader.readexactly(size) == pattern(b"o", 1, 0, size)
            assert not any(job.done() for job in jobs), "the disk has not answered yet"
            released.set()
            writer.close()
    finally:
        released.set()


async def test_a_write_that_fails_while_the_window_is_full_holds_no_reader(
    embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody took out of the window what its readers had taken: the origin was not read again, and they hung."""
    size, full = 32 * MIB, asyncio.Event()

    async def fails_when_it_is_full(writer: FillWriter, offset: int, blocks: object) -> None:
        await full.wait()
        raise StorageError("storing failed: Input/output error")

    monkeypatch.setattr(FillWriter, "write", fails_when_it_is_full)
    async with embed() as proxy:
        proxy.origin.control.synthetic("bkt", "o", size)
        reader, writer = await proxy.connect()
        async with asyncio.timeout(WITHIN):
            writer.write(proxy.request("o"))
            await reader.readuntil(b"\r\n\r\n")
            fill = filling(proxy, size)
            body = await reader.readexactly(fill._limits.window)
            assert fill.window_bytes >= fill._limits.window
            full.set()
            body += await reader.readexactly(size - len(body))
        assert body == pattern(b"o", 1, 0, size)
        writer.close()


async def test_a_fill_leads_the_fastest_reader_wherever_that_is(embed: Embed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own reader stands still; one in another worker has come to the end of what there is."""
    size = 32 * MIB
    monkeypatch.setattr(FillWriter, "read_elsewhere", lambda writer, now: writer.written)
    async with embed(fill_lead="8MiB") as proxy:
        proxy.origin.control.synthetic("bkt", "o", size)
        reader, writer = await proxy.connect()
        async with asyncio.timeout(WITHIN):
            writer.write(proxy.request("o"))
            await reader.readuntil(b"\r\n\r\n")
            await filling(proxy, size).run_to_end()
            assert await reader.readexactly(size) == pattern(b"o", 1, 0, size)
        writer.close()


async def test_an_interim_answer_is_not_for_http_1_0(embed: Embed) -> None:
    """RFC 9110 section 15.2."""
    async with embed() as proxy:
        reader, writer = await proxy.connect()
        whole = proxy.request("put", method="PUT", body=b"content").replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1)
        head, _, body = whole.partition(b"\r\n\r\n")
        writer.write(head + b"\r\nExpect: 100-continue\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.write(body)
        async with asyncio.timeout(WITHIN):
            answer, _ = await read_answer(reader)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        writer.close()
