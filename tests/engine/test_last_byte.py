"""Nobody learns what became of a write before its second fence is raised (SEMANTICS 30, 31)."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.engine.conftest import WITHIN, Embed, read_answer


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
            writer.write(proxy.request("o?uploads", method="POST"))
            found = re.search(rb"<UploadId>(.*)</UploadId>", (await read_answer(reader))[1])
            assert found is not None
            upload = f"uploadId={found[1].decode()}"
            writer.write(proxy.request(f"o?partNumber=1&{upload}", method="PUT", body=b"a part"))
            etag = re.search(rb'"[0-9a-f]{32}"', (await read_answer(reader))[0])
            assert etag is not None
            named = b"<Part><PartNumber>1</PartNumber><ETag>%b</ETag></Part>" % etag[0]
            document = b"<CompleteMultipartUpload>%b</CompleteMultipartUpload>" % named
            writer.write(proxy.request(f"o?{upload}", method="POST", body=document))
            answer = asyncio.ensure_future(read_answer(reader))
            await reached.wait()
            await proxy.get("o", method="HEAD")  # what could be sent by now has been
            assert not answer.done()
            released.set()
            assert b"CompleteMultipartUploadResult" in (await answer)[1]
        writer.close()
        await writer.wait_closed()
