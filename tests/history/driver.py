"""Writers and readers of some keys through a proxy that is killed now and then, and what they saw."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.harness.proxy import FastcacheProcess
from tests.harness.signing import UNSIGNED, signed_headers
from tests.history.checker import By, Read, Write, content_of, stamps_in

from fastcache.origin.process import OriginProcess

KIB = 1024
MIXED = (2 * KIB, 40 * KIB, 300 * KIB, 1500 * KIB)
SMALL = (2 * KIB, 5 * KIB, 12 * KIB, 40 * KIB)
"""Sizes that cost little, so that much happens."""
_RESIGN_AFTER = 300.0
"""Seconds after which a request is signed anew: signing costs more than all else here."""
_SETTLED = 0.05
"""Seconds for which the origin must say the same of an object before an upload whose end is not known counts as
over."""
_LEAST = 20, 100
"""More writes that were acknowledged, and more reads, are made of a round, however slow the machine is."""
_OVERTIME = 60.0
"""Seconds that a round takes longer for that, at most."""


class LostError(Exception):
    """The answer did not come to its end."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One client's connection, made again whenever it was lost."""

    def __init__(self, endpoint: Callable[[], str], access_key: str, secret_key: str) -> None:
        self._endpoint = endpoint
        self._keys = (access_key, secret_key)
        self._signed: dict[tuple[str, ...], tuple[float, bytes]] = {}
        self._at = ""
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, target: str, body: bytes = b"", *, cut: int | None = None, **signed: str
    ) -> Answer:
        """One request and its answer; ``cut`` leaves after so many bytes of the body. Raises LostError."""
        try:
            async with asyncio.timeout(60):
                return await self._ask(method, target, body, cut, signed)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.close()
            raise LostError(str(error)) from error
        except BaseException:
            self.close()
            raise

    async def _ask(self, method: str, target: str, body: bytes, cut: int | None, signed: dict[str, str]) -> Answer:
        endpoint = self._endpoint()
        if self._streams is None or self._at != endpoint:
            self.close()
            parts = urlsplit(endpoint)
            self._streams = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
            self._at = endpoint
        reader, writer = self._streams
        head = self._head(endpoint, method, target, signed)
        length = b"Content-Length: %d\r\n\r\n" % len(body) if method in ("PUT", "POST") else b"\r\n"
        writer.write(head + length + (body if cut is None else body[:cut]))
        await writer.drain()
        if cut is not None:
            raise asyncio.IncompleteReadError(b"", None)
        return await self._answer(reader, method)

    def _head(self, endpoint: str, method: str, target: str, signed: dict[str, str]) -> bytes:
        name = (endpoint, method, target, *(f"{k}:{v}" for k, v in signed.items()))
        made, head = self._signed.get(name, (0.0, b""))
        if time.monotonic() - made > _RESIGN_AFTER or not head:
            fields = [(k.replace("_", "-"), v) for k, v in signed.items()]
            lines = signed_headers(method, endpoint + target, *self._keys, signed=fields, payload_sha256=UNSIGNED)
            text = "".join(f"{k}: {v}\r\n" for k, v in lines)
            head = f"{method} {target} HTTP/1.1\r\n{text}".encode()
            if len(self._signed) > 20_000:
                self._signed.clear()
            self._signed[name] = (time.monotonic(), head)
        return head

    async def _answer(self, reader: asyncio.StreamReader, method: str) -> Answer:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        length = int(headers.get("content-length", "0"))
        bodiless = method == "HEAD" or status in (204, 304)
        body = b"" if bodiless or not length else await reader.readexactly(length)
        if "chunked" in headers.get("transfer-encoding", ""):
            body = await self._chunks(reader)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, body)

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


@dataclass
class History:
    """What happened, so far."""

    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    failed: int = 0
    """Reads that were cut or refused while something was broken."""
    asked: int = 0


class Round:
    """Some keys with a writer and readers each, for some seconds."""

    def __init__(self, origin: OriginProcess, proxy: Callable[[], FastcacheProcess], seed: int) -> None:
        self.history = History()
        self._dice = random.Random(seed)
        self._origin = origin
        self._proxy = proxy
        self._seed = seed
        self._until = 0.0

    def _through(self) -> Wire:
        return Wire(lambda: self._proxy().endpoint, self._origin.access_key, self._origin.secret_key)

    def _straight(self) -> Wire:
        return Wire(lambda: self._origin.endpoint, self._origin.access_key, self._origin.secret_key)

    async def run(self, keys: int, readers: int, seconds: float, sizes: Sequence[int] = MIXED) -> History:
        self._until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(keys):
                name, size = f"{self._seed}/{number}", sizes[number % len(sizes)]
                group.create_task(self._write(name, size, random.Random(self._dice.random())))
                for _ in range(readers):
                    group.create_task(self._read(name, size, random.Random(self._dice.random())))
        return self.history

    def _goes_on(self) -> bool:
        late = time.monotonic() - self._until
        return late < 0 or (late < _OVERTIME and not self._had_enough())

    def _had_enough(self) -> bool:
        writes = sum(write.acknowledged is not None for write in self.history.writes)
        return writes > _LEAST[0] and len(self.history.reads) > _LEAST[1]

    # ---- writing

    async def _write(self, key: str, size: int, dice: random.Random) -> None:
        through, straight = self._through(), self._straight()
        version = 0
        while self._goes_on():
            version += 1
            by = By.ORIGIN if dice.random() < 0.15 else By.PROXY
            wire = straight if by is By.ORIGIN else through
            body = content_of(version, 0, dice.randrange(size // 2, size))
            how = dice.choices(("put", "upload", "delete", "leave"), (70, 15, 8, 7))[0]
            begun = time.monotonic()
            etag: str | None = None
            acknowledged = None
            try:
                if how == "delete":
                    acknowledged = await self._done(wire.ask("DELETE", f"/bkt/{key}"))
                elif how == "upload":
                    etag = _etag_in_parts(body)
                    acknowledged = await self._upload(wire, key, body)
                else:
                    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
                    cut = dice.randrange(len(body)) if how == "leave" else None
                    acknowledged = await self._done(wire.ask("PUT", f"/bkt/{key}", body, cut=cut))
            except LostError:
                await asyncio.sleep(0.05)
            self.history.asked += 1
            self.history.writes.append(Write(key, version, begun, acknowledged, by, etag))
            if acknowledged is None:
                await self._until_settled(straight, key)
            await asyncio.sleep(dice.random() * 0.05)
        through.close()
        straight.close()

    async def _done(self, asking: object) -> float | None:
        """When a write was acknowledged; None when it was not."""
        answer: Answer = await asking  # type: ignore[misc]
        return time.monotonic() if answer.status in (200, 204) and b"<Error>" not in answer.body else None

    async def _upload(self, wire: Wire, key: str, body: bytes) -> float | None:
        begun = await wire.ask("POST", f"/bkt/{key}?uploads")
        found = re.search(rb"<UploadId>(.*)</UploadId>", begun.body)
        if found is None:
            return None
        upload = found[1].decode()
        part = await wire.ask("PUT", f"/bkt/{key}?partNumber=1&uploadId={upload}", body)
        named = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers.get('etag', '')}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
        return await self._done(wire.ask("POST", f"/bkt/{key}?uploadId={upload}", document))

    async def _until_settled(self, straight: Wire, key: str) -> None:
        """Wait until nothing that was sent before can still happen."""
        seen = None
        while True:
            try:
                now = (await straight.ask("HEAD", f"/bkt/{key}")).headers.get("etag", "")
            except LostError:
                continue
            if now == seen:
                return
            seen = now
            await asyncio.sleep(_SETTLED)

    # ---- reading

    async def _read(self, key: str, size: int, dice: random.Random) -> None:
        wire = self._through()
        last = '"none"'
        while self._goes_on():
            method, start, fields = self._shape(size, dice, last)
            begun = time.monotonic()
            self.history.asked += 1
            try:
                answer = await wire.ask(method, f"/bkt/{key}", **fields)
            except LostError:
                self.history.failed += 1
                await asyncio.sleep(0.02)
                continue
            self._note(key, method, start, fields, answer, begun)
            last = answer.headers.get("etag", last)
        wire.close()

    def _shape(self, size: int, dice: random.Random, last: str) -> tuple[str, int | None, dict[str, str]]:
        """Method, offset of the first byte (None: told by Content-Range), signed fields."""
        fields: dict[str, str] = {}
        match dice.randrange(8):
            case 0:
                return "HEAD", 0, fields
            case 1:
                fields["If_None_Match"] = last
            case 2:
                fields["If_Match"] = last
        match dice.randrange(5):
            case 0:
                first = dice.choice((0, 8, size // 4 // 16 * 16 + 3))
                fields["Range"] = f"bytes={first}-{first + size // 8}"
                return "GET", None, fields
            case 1:
                fields["Range"] = f"bytes=-{size // 8}"
                return "GET", None, fields
        return "GET", 0, fields

    def _note(
        self, key: str, method: str, start: int | None, fields: dict[str, str], answer: Answer, begun: float
    ) -> None:
        what = f"{method} {answer.status} {fields}"
        if answer.status in (412, 416, 502, 503, 504):
            self.history.failed += answer.status >= 500
            return
        etag = answer.headers.get("etag", "").strip('"')
        stamps = None
        if method == "GET" and answer.status in (200, 206):
            placed = re.match(r"bytes (\d+)-", answer.headers.get("content-range", ""))
            at = int(placed[1]) if placed is not None else 0
            stamps = stamps_in(answer.body, at)
        elif answer.status not in (200, 304, 404):
            etag = f"status {answer.status}"
        told = None if answer.status == 404 else etag
        self.history.reads.append(Read(key, begun, time.monotonic(), told, stamps, what))


def _etag_in_parts(body: bytes) -> str:
    """S3's ETag of an object that was uploaded in one part."""
    part = hashlib.md5(body, usedforsecurity=False).digest()
    return hashlib.md5(part, usedforsecurity=False).hexdigest() + "-1"
