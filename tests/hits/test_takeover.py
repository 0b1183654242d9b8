"""Answers that the hit branch begins and the engine ends: their bytes had left memory, or the object had changed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.engine.conftest import Embed, Embedded
from tests.hits.test_answers import Client, client_of, value_of, warm
from tests.hits.verifying import KeysFile

from fastcache.model import Result
from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess
from fastcache.protocol.sigv4 import Credentials

SIZE = 48 << 20


def forget_pages(directory: Path) -> None:
    """Have the kernel drop the pages of all cached files."""
    for path in directory.rglob("*.ext"):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


async def begin(client: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    """A connection on which the hit branch has begun to send the object, and waits for its slow client; and the id of
    that request."""
    reader, writer = await asyncio.open_connection(*client.proxy.address, limit=65536)
    writer.write(client.proxy.request("o"))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"X-Cache: HIT" in head
    async with asyncio.timeout(20):
        while not client.proxy.worker.frontend.reactor.answering():  # noqa: ASYNC110 - a plain number
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)  # longer than pages that were seen are taken to be there still
    return reader, writer, value_of(head, b"x-amz-request-id")


def counted(proxy: Embedded, result: str) -> int:
    return proxy.worker.ctx.metrics.value("fastcache_requests_total", "GET", "200", result)


async def test_bytes_that_left_memory_are_read_by_the_engine_and_the_answer_is_whole(
    embed: Embed, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    async with client_of(embed, access_log="all", access_log_file=str(log), cache_size="1GiB") as client:
        client.proxy.origin.control.synthetic("bkt", "o", SIZE)
        await warm(client, "o")
        hits = counted(client.proxy, "HIT")
        reader, writer, request_id = await begin(client)
        forget_pages(tmp_path / "cache")
        taken_over = client.hits.taken_over
        async with asyncio.timeout(60):
            body = await reader.readexactly(SIZE)
        assert body == pattern(b"o", 1, 0, SIZE)
        assert client.hits.taken_over > taken_over, "the pages did not leave memory"
        writer.write(client.proxy.request("o"))  # the connection is as good as before
        assert b"X-Cache: HIT" in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(SIZE) == body
        writer.close()
        assert counted(client.proxy, "HIT") == hits + 2
        assert counted(client.proxy, "ERROR") == 0
    lines = [line for line in log.read_text().splitlines() if '"GET /bkt/o HTTP/1.1" 200' in line]
    assert sum(f" {request_id} " in line for line in lines) == 1
    assert len(lines) == sum(counted(client.proxy, result) for result in Result)


@pytest.mark.parametrize("gone", ["overwritten", "evicted"])
async def test_what_follows_is_of_the_same_generation_or_the_connection_is_reset(
    embed: Embed, tmp_path: Path, gone: str
) -> None:
    async with client_of(embed, cache_size="1GiB") as client:
        client.proxy.origin.control.synthetic("bkt", "o", SIZE)
        await warm(client, "o")
        reader, writer, _ = await begin(client)
        store = client.proxy.worker.ctx.store
        assert store is not None
        if gone == "overwritten":
            client.proxy.origin.control.synthetic("bkt", "o", SIZE, generation=2)
        forget_pages(tmp_path / "cache")
        store.drop(client.proxy.worker.ctx.object_id(b"bkt", b"o"))
        got = b""
        try:
            async with asyncio.timeout(60):
                while piece := await reader.read(1 << 20):
                    got += piece
                    if len(got) == SIZE:
                        break
        except ConnectionResetError:
            assert gone == "overwritten"
        assert got == pattern(b"o", 1, 0, len(got))
        assert (len(got) == SIZE) == (gone == "evicted")
        writer.close()


async def test_an_answer_goes_on_from_its_owners_own_entry(embed: Embed, origin: OriginProcess, tmp_path: Path) -> None:
    """Where a bucket name means another bucket for each key, so does the rest of an answer (SEMANTICS 4)."""
    owner = Credentials(origin.access_key.encode(), origin.secret_key.encode())
    keys = KeysFile(tmp_path / "keys.yaml", owner)
    flags = {"keys": str(keys.path), "namespace": "per-key", "ttl": "1h", "head_ttl": "1h", "cache_size": "1GiB"}
    async with client_of(embed, "verify", **flags) as client:
        control = client.proxy.origin.control
        control.synthetic("bkt", "o", SIZE)
        await warm(client, "o")
        reader, writer, _ = await begin(client)
        asked, taken_over = control.requests(), client.hits.taken_over
        forget_pages(tmp_path / "cache")
        async with asyncio.timeout(60):
            assert await reader.readexactly(SIZE) == pattern(b"o", 1, 0, SIZE)
        assert client.hits.taken_over > taken_over, "the pages did not leave memory"
        assert control.requests() == asked
        writer.close()
