"""What the hit branch answers is, byte for byte, what the engine answers."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.engine.conftest import Embed, Embedded, read_answer

from fastcache._core.hits import Hits

SIZES = {
    "empty": 0,
    "one": 1,
    "small": 4096,
    "memo-edge": 16384,
    "over-memo": 16385,
    "blocks": 700_001,
    "big": 9_000_000,
}
PARSERS = ["strict", "httptools"]
REQUESTS = 1200
REQUESTS_ASKED = 320
"""Of those that go to the origin too."""

_VARYING = re.compile(
    rb"(x-amz-request-id: |x-amz-id-2: (?:fastcache/)?|Age: |Date: |ttl=|<RequestId>|<HostId>fastcache/)[^\r\n<]*"
)


def comparable(answer: bytes) -> bytes:
    """An answer without what differs from one to the next: ids and times."""
    return _VARYING.sub(rb"\1#", answer)


def value_of(head: bytes, name: bytes) -> str:
    found = re.search(rb"(?im)^" + name + rb": (.*)\r$", head)
    assert found is not None
    return found[1].decode()


class Client:
    """One connection; knows who answered."""

    def __init__(self, proxy: Embedded, hits: Hits, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.hits = hits
        self.reader = reader
        self.writer = writer

    async def ask(self, method: str, key: str, fields: dict[str, str], *, engine: bool = False) -> tuple[bytes, bool]:
        """The answer, and whether the hit branch gave it. ``engine``: it must not, but the request means the same."""
        raw = self.proxy.request(key, method=method, signed=fields)
        if engine:
            raw = raw.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n")
        before = self.hits.served + self.hits.taken_over
        self.writer.write(raw)
        head, body = await read_answer(self.reader, method)
        return head + body, self.hits.served + self.hits.taken_over > before


TTLS = {"ttl": "1h", "head_ttl": "1h"}


@asynccontextmanager
async def client_of(embed: Embed, authorization: str = "none", **flags: str) -> AsyncIterator[Client]:
    flags |= {"authorization": authorization, "fill_detach_after": "60s", **(TTLS if authorization == "none" else {})}
    async with embed(**flags) as proxy:
        hits = proxy.worker.frontend._hits
        assert hits is not None
        reader, writer = await proxy.connect()
        yield Client(proxy, hits, reader, writer)
        writer.close()


async def warm(client: Client, key: str) -> None:
    """Until a plain read is the hit branch's."""
    async with asyncio.timeout(100):
        while not (await client.ask("GET", key, {}))[1]:  # noqa: ASYNC110 - the answers tell
            await asyncio.sleep(0.01)


def condition(dice: random.Random, etag: str, modified: str) -> dict[str, str]:
    """A random mix of preconditions, some of which hold."""
    tags = [etag, etag.strip('"'), '"other"', f'"x", {etag}', "*", f"W/{etag}", "", '"']
    dates = [modified, "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT", "not a date", ""]
    choices = {
        "If-Match": tags,
        "If-None-Match": tags,
        "If-Modified-Since": dates,
        "If-Unmodified-Since": dates,
    }
    names = dice.sample(sorted(choices), dice.choice([0, 0, 0, 1, 1, 2, 3]))
    return {name: dice.choice(choices[name]) for name in names}


def range_field(dice: random.Random, size: int) -> dict[str, str]:
    if dice.random() < 0.35:
        return {}
    a, b = sorted((dice.randrange(size + 3), dice.randrange(size + 3)))
    shapes = [
        f"bytes={a}-{b}", f"bytes={a}-", f"bytes=-{b}", f"bytes={size}-", "bytes=0-0", f"bytes={b}-{a}", "bytes=-0",
        f"bytes=0-{size + 100}", "bytes=", "bits=0-1", "bytes=0-1,3-4", "bytes=99999999999999999999-", "Bytes=0-9",
        "bytes= 0-1", "",
    ]  # fmt: skip
    return {"Range": dice.choice(shapes)}


@pytest.mark.parametrize("parser", PARSERS)
async def test_requests_of_any_shape_get_the_engines_very_bytes(embed: Embed, parser: str) -> None:
    dice = random.Random(11)
    answered = 0
    statuses = set()
    async with client_of(embed, hit_parser=parser) as client:
        validators = {}
        for key, size in SIZES.items():
            client.proxy.origin.control.synthetic("bkt", key, size, headers={"x-amz-meta-a": "some thing"})
            await warm(client, key)
            head = (await client.ask("HEAD", key, {}))[0]
            validators[key] = [value_of(head, name) for name in (b"etag", b"last-modified")]
        for _ in range(REQUESTS):
            key = dice.choice([*SIZES, "small", "one", "memo-edge"])
            method = dice.choice(["GET", "GET", "GET", "HEAD"])
            etag, modified = validators[key]
            fields = condition(dice, etag, modified)
            fields |= range_field(dice, SIZES[key]) if method == "GET" else {}
            if "Range" in fields and dice.random() < 0.3:
                fields["If-Range"] = dice.choice([etag, '"other"', modified, "x"])
            if dice.random() < 0.4:
                fields["x-amz-checksum-mode"] = dice.choice(["ENABLED", "enabled", "x"])
            theirs, by_hit_branch = await client.ask(method, key, fields, engine=True)
            assert not by_hit_branch
            mine, by_hit_branch = await client.ask(method, key, fields)
            if b"\r\nX-Cache: HIT\r\n" not in theirs:  # the origin had to be asked
                assert not by_hit_branch
                continue
            assert comparable(mine) == comparable(theirs), (method, key, fields)
            answered += by_hit_branch
            if by_hit_branch:
                statuses.add((method, mine[9:12]))
    assert answered > REQUESTS * 0.8
    assert statuses >= {("GET", code) for code in (b"200", b"206", b"304", b"412", b"416")}
    assert statuses >= {("HEAD", code) for code in (b"200", b"304", b"412")}


PROVED: list[dict[str, str | None]] = [
    {},
    {"vary": "Origin, Accept-Encoding", "x-amz-request-charged": "requester", "access-control-allow-origin": "*"},
    {"x-amz-request-id": None, "x-amz-id-2": None, "x-trans-id": "tx1", "x-amz-meta-a": "other"},
    {"etag": None, "last-modified": None, "keep-alive": "timeout=5", "connection": "keep-alive"},
]
"""What an origin may add to its answers, or leave out."""


@pytest.mark.parametrize("parser", PARSERS)
async def test_answers_that_the_origin_consents_to_are_the_engines_very_bytes(embed: Embed, parser: str) -> None:
    dice = random.Random(12)
    answered = 0
    statuses = set()
    async with client_of(embed, authorization="revalidate", hit_parser=parser) as client:
        control = client.proxy.origin.control
        validators = {}
        for key, size in SIZES.items():
            stored = {"x-amz-meta-a": "some thing"} | ({"vary": "Origin"} if key in ("small", "big") else {})
            control.synthetic("bkt", key, size, headers=stored)
            await warm(client, key)
            head = (await client.ask("HEAD", key, {}))[0]
            validators[key] = [value_of(head, name) for name in (b"etag", b"last-modified")]
        for number in range(REQUESTS_ASKED):
            if number % (REQUESTS_ASKED // len(PROVED)) == 0:
                control.clear_faults()
                more = PROVED[number * len(PROVED) // REQUESTS_ASKED]
                control.fault("headers", method="GET", count=-1, headers=more)
                control.fault("not-modified-headers", method="GET", count=-1)
            key = dice.choice([*SIZES, "small", "one", "memo-edge"])
            etag, modified = validators[key]
            fields = condition(dice, etag, modified) if dice.random() < 0.4 and "etag" not in more else {}
            fields |= range_field(dice, SIZES[key])
            if "Range" in fields and dice.random() < 0.2:
                fields["If-Range"] = dice.choice([etag, '"other"', modified, "x"] if "etag" not in more else [etag])
            if dice.random() < 0.4:
                fields["x-amz-checksum-mode"] = dice.choice(["ENABLED", "enabled", "x"])
            theirs, by_hit_branch = await client.ask("GET", key, fields, engine=True)
            assert not by_hit_branch
            mine, by_hit_branch = await client.ask("GET", key, fields)
            if by_hit_branch:
                assert b"\r\nX-Cache: REVALIDATED\r\n" in theirs
                assert comparable(mine) == comparable(theirs), (key, fields)
                answered += 1
                statuses.add(mine[9:12])
    assert answered > REQUESTS_ASKED * 0.4
    assert statuses == {b"200", b"206"}


async def test_pipelined_requests_are_answered_in_order_whoever_answers(embed: Embed) -> None:
    dice = random.Random(5)
    async with client_of(embed) as client:
        for key, size in SIZES.items():
            client.proxy.origin.control.synthetic("bkt", key, size)
            await warm(client, key)
        asked = [(dice.choice(sorted(SIZES)), dice.random() < 0.3) for _ in range(300)]
        batch = b""
        for key, engine in asked:
            raw = client.proxy.request(key)
            batch += raw.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n") if engine else raw
        expected = {key: (await client.ask("GET", key, {}, engine=True))[0].split(b"\r\n\r\n", 1)[1] for key in SIZES}
        before = client.hits.served

        async def send() -> None:
            for at in range(0, len(batch), 7001):  # cut anywhere
                client.writer.write(batch[at : at + 7001])
                await client.writer.drain()

        sending = asyncio.create_task(send())
        async with asyncio.timeout(60):
            for key, _ in asked:
                _, body = await read_answer(client.reader)
                assert body == expected[key], key
        await sending
        assert client.hits.served - before == sum(not engine for _, engine in asked)


async def test_a_hit_makes_no_python_object_and_calls_nobody(embed: Embed) -> None:
    async with client_of(embed) as client:
        client.proxy.origin.control.synthetic("bkt", "small", 4096)
        await warm(client, "small")
        raw = client.proxy.request("small")
        answer = (await client.ask("GET", "small", {}))[0]
        sock = client.writer.get_extra_info("socket")
        reactor = client.proxy.worker.frontend.reactor
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        fd = sock.fileno()
        sink = bytearray(1 << 20)

        def round_trip() -> None:
            os.write(fd, raw)
            got = 0
            while got < len(answer) - 2:
                reactor.drain()
                try:
                    got += os.readv(fd, [sink])
                except BlockingIOError:
                    continue

        for _ in range(50):
            round_trip()
        requests = client.hits.served
        seen: list[str] = []
        handler = client.proxy.worker.frontend
        handler.on_request = lambda *_: seen.append("request")  # type: ignore[method-assign]
        gc.collect()
        gc.disable()
        try:
            before = sys.getallocatedblocks()
            for _ in range(2000):
                round_trip()
            after = sys.getallocatedblocks()
        finally:
            gc.enable()
            del handler.on_request
        assert client.hits.served == requests + 2000
        assert seen == []
        assert after - before < 20  # of two thousand requests


@pytest.mark.parametrize("how", ["put", "delete", "fence", "bucket fence"])
async def test_whatever_a_lease_rests_on_ends_it_at_once(embed: Embed, how: str) -> None:
    async with client_of(embed) as client:
        client.proxy.origin.control.synthetic("bkt", "o", 4096)
        await warm(client, "o")
        ctx = client.proxy.worker.ctx
        object_id = ctx.object_id(b"bkt", b"o")
        if how == "fence":
            ctx.fences.raise_object(object_id)
        elif how == "bucket fence":
            ctx.fences.raise_bucket(object_id)
        else:
            reader, writer = await client.proxy.connect()
            body = b"new bytes" if how == "put" else b""
            writer.write(client.proxy.request("o", method=how.upper(), body=body))
            await read_answer(reader)
            writer.close()
        answer, by_hit_branch = await client.ask("GET", "o", {})
        assert not by_hit_branch
        assert b"X-Cache: HIT" not in answer
        if how == "put":
            assert answer.endswith(b"\r\n\r\nnew bytes")
        if how == "delete":
            assert answer.startswith(b"HTTP/1.1 404")


async def test_a_lease_ends_with_the_ttl_and_is_renewed_by_the_engines_proof(embed: Embed) -> None:
    async with embed(authorization="none", ttl="3s", head_ttl="1h") as proxy:
        hits = proxy.worker.frontend._hits
        assert hits is not None
        client = Client(proxy, hits, *await proxy.connect())
        proxy.origin.control.synthetic("bkt", "o", 4096)
        await warm(client, "o")
        await asyncio.sleep(3.1)
        assert (await client.ask("HEAD", "o", {}))[1]  # its own TTL
        asked = proxy.origin.control.requests()
        answer, by_hit_branch = await client.ask("GET", "o", {})
        assert not by_hit_branch
        assert b"X-Cache: REVALIDATED" in answer
        assert proxy.origin.control.requests() == asked + 1
        assert (await client.ask("GET", "o", {}))[1]
        client.writer.close()


async def test_anothers_spelling_of_a_host_or_key_is_the_engines_until_it_has_answered_it(embed: Embed) -> None:
    async with client_of(embed) as client:
        client.proxy.origin.control.bucket("bkt", public_read=True)
        client.proxy.origin.control.synthetic("bkt", "a(b", 4096)
        port = client.proxy.address[1]
        seen = []
        for host, path in [("127.0.0.1", "/bkt/a(b"), ("localhost", "/bkt/a(b"), ("127.0.0.1", "/bkt/a%28b")]:
            async with asyncio.timeout(20):
                while True:
                    before = client.hits.served
                    client.writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
                    head, body = await read_answer(client.reader)
                    assert len(body) == 4096
                    seen.append((host, path, value_of(head, b"x-cache"), client.hits.served > before))
                    if seen[-1][3]:
                        break
    first = ("127.0.0.1", "/bkt/a(b")
    assert seen[0] == (*first, "MISS", False)
    assert [answer for answer in seen if answer[:2] != first] == [
        ("localhost", "/bkt/a(b", "HIT", False),
        ("localhost", "/bkt/a(b", "HIT", True),
        ("127.0.0.1", "/bkt/a%28b", "HIT", False),
        ("127.0.0.1", "/bkt/a%28b", "HIT", True),
    ]
