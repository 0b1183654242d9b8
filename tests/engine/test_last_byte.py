"""Nobody learns what became of a write before its second fence is raised (SEMANTICS 30, 31); what is stored of it comes
behind its answer."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from tests.engine.conftest import WITHIN, Embed, Embedded, read_answer, until

from fastcache.storage.uploads import Assembly

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def completion_of_one_part(proxy: Embedded, streams: Streams) -> bytes:
    """The request that completes an upload of ``o``, whose only part has been answered."""
    reader, writer = streams
    writer.write(proxy.request("o?uploads", method="POST"))
    found = re.search(rb"<UploadId>(.*)</UploadId>", (await read_answer(reader))[1])
    assert found is not None
    upload = f"uploadId={found[1].decode()}"
    writer.write(proxy.request(f"o?partNumber=1&{upload}", method="PUT", body=b"a part"))
    etag = re.search(rb'"[0-9a-f]{32}"', (await read_answer(reader))[0])
    assert etag is not None
    named = b"<Part><PartNumber>1</PartNumber><ETag>%b</ETag></Part>" % etag[0]
    document = b"<CompleteMultipartUpload>%b</CompleteMultipartUpload>" % named
    return proxy.request(f"o?{upload}", method="POST", body=document)


async def test_the_last_byte_of_a_writes_answer_waits_for_its_fence(
    embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A completion waits for its parts before it raises; held there, its client has not got the whole answer."""
    reached, released = asyncio.Event(), asyncio.Event()

    async def hold(_digest: bytes, _seconds: float) -> None:
        reached.set()
        await released.wait()

    async with embed(authorization="none") as proxy:
        monkeypatch.setattr(proxy.worker.ctx.flights, "stored_behind", hold)
        reader, writer = await proxy.connect()
        async with asyncio.timeout(WITHIN):
            writer.write(await completion_of_one_part(proxy, (reader, writer)))
            answer = asyncio.ensure_future(read_answer(reader))
            await reached.wait()
            await proxy.get("o", method="HEAD")  # what could be sent by now has been
            assert not answer.done()
            released.set()
            assert b"CompleteMultipartUploadResult" in (await answer)[1]
        writer.close()
        await writer.wait_closed()


async def test_a_completion_looks_again_for_parts_that_others_are_storing(
    embed: Embed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind its answer, as often as they are not there yet."""
    async with embed(authorization="none") as proxy:
        store = proxy.worker.ctx.store
        assert store is not None
        find, looks = store.uploads.find, 0

        async def found_at_the_third_look(*arguments: Any) -> Assembly | None:
            nonlocal looks
            looks += 1
            return await find(*arguments) if looks == 3 else None

        monkeypatch.setattr(store.uploads, "find", found_at_the_third_look)
        monkeypatch.setattr(store.uploads, "others", True)
        reader, writer = await proxy.connect()
        async with asyncio.timeout(WITHIN):
            completion = await completion_of_one_part(proxy, (reader, writer))
            ctx = proxy.worker.ctx
            await until(lambda: ctx.flights.active() == 0, "the part is stored")
            writer.write(completion)
            assert b"CompleteMultipartUploadResult" in (await read_answer(reader))[1]
            await until(lambda: ctx.flights.active() == 0, "it has looked")
        assert looks == 3
        assert ctx.metrics.value("fastcache_uploads_kept_total", "stored") == 1
        writer.close()
        await writer.wait_closed()
