"""Who follows a fill, and who had better ask the origin: nobody waits for a whole transfer."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tests.engine.conftest import AS_SHIPPED, WITHIN, Embed, Embedded, until

from fastcache.engine.fill import Fill
from fastcache.origin.pattern import pattern
from fastcache.storage.writer import FillWriter

MIB = 1024 * 1024


@pytest.mark.parametrize("authorization", ["none", "revalidate"])
async def test_a_range_far_ahead_of_a_slow_fill_does_not_wait_for_it(embed: Embed, authorization: str) -> None:
    size = 200 * MIB
    async with embed(authorization=authorization, **AS_SHIPPED) as proxy:
        proxy.origin.control.synthetic("bkt", "o", size)
        proxy.origin.control.settings(bandwidth_connection=4 * MIB)
        reader, writer = await proxy.connect()
        writer.write(proxy.request("o"))
        await reader.readexactly(MIB)
        ctx = proxy.worker.ctx
        fill = next(f for f in ctx.flights.fills_of(ctx.object_id(b"bkt", b"o")) if f.interval.length == size)
        _, body = await proxy.get("o", signed={"Range": "bytes=-1000"})
        assert body == pattern(b"o", 1, size - 1000, 1000)
        assert fill.watermark < size - 1000, "it was not waited for"
        writer.transport.abort()


async def test_followers_of_what_cannot_be_stored_are_released_by_its_head(embed: Embed) -> None:
    """They waited out ``follow_wait`` as long as the leader's body was still being passed on."""
    async with embed() as proxy:
        proxy.origin.control.synthetic("bkt", "o", 200 * MIB)
        proxy.origin.control.fault(kind="etag", value="weak", count=-1)
        proxy.origin.control.settings(bandwidth_connection=4 * MIB)
        streams = []
        for _ in range(3):
            streams.append(await proxy.connect())
            streams[-1][1].write(proxy.request("o"))
            await asyncio.sleep(0.05)
        async with asyncio.timeout(25):  # less than they would wait
            for reader, _ in streams:
                assert await reader.readexactly(1000)
        for _, writer in streams:
            writer.transport.abort()


async def test_a_commit_that_ends_while_a_second_read_looks_for_bytes_leaves_nothing_to_fetch(
    embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fill was through and forgotten between two looks of the search: the whole object was asked for once more."""
    size = 48 * MIB
    finish, commit_so_far = FillWriter.finish, Fill.commit_so_far

    async def finish_slowly(writer: FillWriter) -> None:
        await asyncio.sleep(0.3)
        await finish(writer)

    async def commit_and_be_forgotten(fill: Fill, within: float) -> None:
        await commit_so_far(fill, within)
        await fill.run_to_end()
        await asyncio.sleep(0.05)

    monkeypatch.setattr(FillWriter, "finish", finish_slowly)
    monkeypatch.setattr(Fill, "commit_so_far", commit_and_be_forgotten)
    async with embed() as proxy:
        proxy.origin.control.synthetic("bkt", "o", size)
        for _ in range(2):
            _, body = await proxy.get("o")
            assert body == pattern(b"o", 1, 0, size)
        assert proxy.origin.control.body_sent("bkt", "o") == size


async def test_a_head_that_is_renewed_while_a_read_looks_for_bytes_leaves_nothing_to_fetch(
    embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """s5cmd sends HEAD before each GET: the HEAD of one reader came while another waited for a commit, who then took
    the renewed head of the same content for another object and asked for all of it once more."""
    size = 12 * MIB
    write, commit_so_far = FillWriter.write, Fill.commit_so_far
    nearly_written, renewed = asyncio.Event(), asyncio.Event()

    async def write_the_end_later(writer: FillWriter, offset: int, blocks: list[memoryview]) -> None:
        if offset + sum(map(len, blocks)) == size:
            nearly_written.set()
            async with asyncio.timeout(WITHIN):
                await renewed.wait()
        await write(writer, offset, blocks)

    async with embed() as proxy:

        async def commit_beside_a_head(fill: Fill, within: float) -> None:
            if fill.ended:
                head, _ = await proxy.get("o", method="HEAD")
                assert head.startswith(b"HTTP/1.1 200")
                renewed.set()
            await commit_so_far(fill, within)

        monkeypatch.setattr(FillWriter, "write", write_the_end_later)
        monkeypatch.setattr(Fill, "commit_so_far", commit_beside_a_head)
        proxy.origin.control.synthetic("bkt", "o", size)
        # The first reader keeps up, so that nothing is committed for its sake.
        proxy.origin.control.settings(bandwidth_connection=8 * MIB)
        for _ in range(2):
            _, body = await proxy.get("o", signed={"Range": f"bytes=0-{50 * MIB - 1}"})
            assert body == pattern(b"o", 1, 0, size)
            async with asyncio.timeout(WITHIN):
                await nearly_written.wait()  # so that little of it is in memory any more
        assert renewed.is_set(), "no head came while the second read looked: nothing is proven"
        assert proxy.origin.control.body_sent("bkt", "o") == size


async def _read_slowly(proxy: Embedded, signed: dict[str, str], pause: float) -> bytes:
    """The body, taken in pieces with pauses so that the other readers run ahead."""
    reader, writer = await proxy.connect()
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    writer.write(proxy.request("o", signed=signed))
    head = await reader.readuntil(b"\r\n\r\n")
    left = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    body = b""
    try:
        while left:
            piece = await reader.readexactly(min(left, 512 * 1024))
            body += piece
            left -= len(piece)
            await asyncio.sleep(pause)
    finally:
        writer.transport.abort()
    return body


@pytest.mark.parametrize("authorization", ["none", "revalidate"])
@pytest.mark.parametrize("cache_size", ["256MiB", "24MiB"])
async def test_readers_of_different_speed_share_one_transfer(embed: Embed, authorization: str, cache_size: str) -> None:
    size = 28 * MIB
    ttl = {"ttl": "60s"} if authorization == "none" else {}
    async with embed(
        authorization=authorization, cache_size=cache_size, fill_window="512KiB", fill_lead="8MiB", **ttl
    ) as proxy:
        proxy.origin.control.synthetic("bkt", "o", size)
        proxy.origin.control.settings(bandwidth_connection=60 * MIB)
        async with asyncio.timeout(60):
            bodies = await asyncio.gather(
                _read_slowly(proxy, {}, 0.0),
                _read_slowly(proxy, {}, 0.02),
                _read_slowly(proxy, {"Range": f"bytes=0-{size - 1}"}, 0.01),
                _read_slowly(proxy, {"Range": "bytes=0-"}, 0.04),
            )
        for body in bodies:
            assert body == pattern(b"o", 1, 0, size)
        if cache_size == "256MiB":
            assert proxy.origin.control.body_sent("bkt", "o") == size


@pytest.mark.parametrize("signed", [{}, {"Range": "bytes=1000-"}], ids=["whole", "signed-range"])
async def test_an_answer_whose_bytes_left_the_cache_is_completed_from_the_origin(
    embed: Embed, signed: dict[str, str]
) -> None:
    size = 24 * MIB
    start = 1000 if signed else 0
    async with embed(fill_window="512KiB", fill_lead="8MiB") as proxy:
        ctx = proxy.worker.ctx
        assert ctx.store is not None
        proxy.origin.control.synthetic("bkt", "o", size)
        reader, writer = await proxy.connect()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        writer.write(proxy.request("o", signed=signed))
        await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(MIB)
        fill = ctx.flights.fills_of(ctx.object_id(b"bkt", b"o"))[0]
        await until(lambda: fill.window_start > 5 * MIB, "the reader is behind the window")
        ctx.store.drop(ctx.object_id(b"bkt", b"o"))
        async with asyncio.timeout(90):  # a receive buffer of one segment of loopback is slow when the machine is busy
            body += await reader.readexactly(size - start - len(body))
        assert body == pattern(b"o", 1, start, size - start)
        writer.close()
