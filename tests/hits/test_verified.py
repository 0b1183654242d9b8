"""Signed hits: the engine's very bytes, for those to whom it was granted, and for nobody else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine.conftest import Embed, Embedded, read_answer
from tests.hits.test_answers import PARSERS, SIZES, comparable, condition, range_field, value_of
from tests.hits.verifying import KeysFile, verifying

from fastcache._core.hits import Hits
from fastcache.engine.exchange import Exchange
from fastcache.load.heads import Signer, request_head
from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess
from fastcache.policy.admission import Admission
from fastcache.protocol.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Credentials, presign, sign
from fastcache.protocol.targets import S3Target

READER = Credentials(b"AKIDREADER", b"the-secret")
OTHER = Credentials(b"AKIDOTHER", b"another-secret")
TEMPORARY = Credentials(b"ASIATEMPORARY", b"third-secret", b"session/token+==")
REQUESTS = 600

Fields = tuple[tuple[bytes, bytes], ...]


class Client:
    """One connection; knows who answered."""

    def __init__(self, proxy: Embedded, keys: KeysFile) -> None:
        self.proxy = proxy
        self.keys = keys
        hits = proxy.worker.frontend._hits
        assert hits is not None
        self.hits: Hits = hits
        self.host = b"%b:%d" % (proxy.address[0].encode(), proxy.address[1])
        self._stored: set[str] = set()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, raw: bytes) -> tuple[bytes, bool]:
        """The answer, and whether the hit branch gave it."""
        if self._streams is None:
            self._streams = await self.proxy.connect()
        reader, writer = self._streams
        before = self.hits.served
        writer.write(raw)
        head, body = await read_answer(reader, raw.partition(b" ")[0].decode())
        if b"\r\nConnection: close" in head:
            self.close()
        return head + body, self.hits.served > before

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    def signed(
        self, target: bytes, credentials: Credentials = READER, *, method: bytes = b"GET", fields: Fields = (),
        now: float | None = None, payload: bytes = EMPTY_SHA256,
    ) -> bytes:  # fmt: skip
        """A request all of whose ``fields`` are signed."""
        headers = ((b"Host", self.host), *fields)
        made = sign(
            method, target, headers, credentials, region=b"us-east-1", now=time.time() if now is None else now,
            payload_hash=payload, signed=[name.lower() for name, _ in headers],
        )  # fmt: skip
        return head(method, target, (*headers, *made.headers))

    def presigned(
        self, target: bytes, credentials: Credentials = READER, *, method: bytes = b"GET", fields: Fields = (),
        now: float | None = None, expires: int = 600,
    ) -> bytes:  # fmt: skip
        headers = ((b"Host", self.host), *fields)
        now = time.time() if now is None else now
        made = presign(method, target, headers, credentials, region=b"us-east-1", now=now, expires=expires)
        return head(method, made, headers)

    async def warm(self, key: str, credentials: Credentials = READER) -> None:
        """Until the hit branch answers for an object of the bucket; the origin itself gives it to its own account."""
        if key not in self._stored:
            self._stored.add(key)
            await self.proxy.get(key)  # by a key that is not known here, so that the origin is asked
        async with asyncio.timeout(20):
            while not (await self.send(self.signed(b"/bkt/" + key.encode(), credentials)))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


def head(method: bytes, target: bytes, fields: Fields) -> bytes:
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join(b"%b: %b\r\n" % field for field in fields))


@asynccontextmanager
async def client_of(
    embed: Embed, tmp_path: Path, *credentials: Credentials, shut_out: Iterable[Credentials] = (), **flags: str
) -> AsyncIterator[Client]:
    keys = KeysFile(tmp_path / "keys.yaml", *(credentials or (READER, OTHER, TEMPORARY)), shut_out=shut_out)
    async with verifying(embed, keys, **flags) as proxy:
        client = Client(proxy, keys)
        yield client
        client.close()


@pytest.mark.parametrize("parser", PARSERS)
async def test_signed_requests_of_any_shape_get_the_engines_very_bytes(
    embed: Embed, tmp_path: Path, parser: str
) -> None:
    dice = random.Random(17)
    answered, kinds = 0, set()
    sizes = {key: size for key, size in SIZES.items() if size < 1_000_000}  # the others take the same way, and longer
    async with client_of(embed, tmp_path, hit_parser=parser) as client:
        validators = {}
        for key, size in sizes.items():
            client.proxy.origin.control.synthetic("bkt", key, size, headers={"x-amz-meta-a": "some thing"})
            for credentials in (READER, TEMPORARY):
                await client.warm(key, credentials)
            about = (await client.send(client.signed(b"/bkt/" + key.encode(), method=b"HEAD")))[0]
            validators[key] = [value_of(about, name) for name in (b"etag", b"last-modified")]
        for _ in range(REQUESTS):
            key = dice.choice([*sizes, "small", "one", "memo-edge"])
            method = dice.choice(["GET", "GET", "GET", "HEAD"])
            fields = condition(dice, *validators[key]) | (range_field(dice, sizes[key]) if method == "GET" else {})
            if dice.random() < 0.4:
                fields["x-amz-checksum-mode"] = dice.choice(["ENABLED", "enabled", "x"])
            pairs = tuple((name.encode(), value.encode()) for name, value in fields.items())
            in_query = dice.random() < 0.5
            make = client.presigned if in_query else client.signed
            neutral = b"?x-id=GetObject" if method == "GET" and dice.random() < 0.2 else b""
            target = b"/bkt/" + key.encode() + neutral
            raw = make(target, dice.choice([READER, TEMPORARY]), method=method.encode(), fields=pairs)
            theirs, by_hit_branch = await client.send(raw.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n"))
            assert not by_hit_branch
            mine, by_hit_branch = await client.send(raw)
            if b"\r\nX-Cache: HIT\r\n" not in theirs:  # the origin had to be asked
                assert not by_hit_branch
                continue
            assert comparable(mine) == comparable(theirs), raw
            answered += by_hit_branch
            if by_hit_branch:
                kinds.add((method, in_query, mine[9:12]))
    assert answered > REQUESTS * 0.7
    for in_query in (False, True):
        assert kinds >= {("GET", in_query, code) for code in (b"200", b"206", b"304", b"412", b"416")}
        assert kinds >= {("HEAD", in_query, code) for code in (b"200", b"304", b"412")}


@pytest.mark.parametrize("client_shape", ["boto3", "crt", "curl"])
async def test_heads_of_real_clients_are_answered(embed: Embed, tmp_path: Path, client_shape: str) -> None:
    async with client_of(embed, tmp_path) as client:
        client.proxy.origin.control.synthetic("bkt", "o", 4096)
        await client.warm("o")
        signer = Signer(READER, b"us-east-1", time.time())
        for method, interval in ((b"GET", None), (b"GET", (10, 20)), (b"HEAD", None)):
            raw = request_head(client_shape, client.host, b"/bkt/o", method=method, interval=interval, signer=signer)
            assert (await client.send(raw))[1]


UNPROVEN: dict[str, Callable[[Client, float], bytes]] = {
    "wrong secret": lambda client, _: client.signed(b"/bkt/o", replace(READER, secret_key=b"wrong")),
    "wrong secret, presigned": lambda client, _: client.presigned(b"/bkt/o", replace(READER, secret_key=b"wrong")),
    "a key that nobody knows": lambda client, _: client.signed(b"/bkt/o", Credentials(b"AKIDNOBODY", b"secret")),
    "a key that may not": lambda client, _: client.signed(b"/bkt/o", OTHER),
    "a key that may not, presigned": lambda client, _: client.presigned(b"/bkt/o", OTHER),
    "a quarter of an hour late": lambda client, now: client.signed(b"/bkt/o", now=now - 902),
    "a quarter of an hour early": lambda client, now: client.signed(b"/bkt/o", now=now + 903),
    "expired": lambda client, now: client.presigned(b"/bkt/o", now=now - 12, expires=10),
    "not yet valid": lambda client, now: client.presigned(b"/bkt/o", now=now + 903),
    "HEAD's signature on a GET": lambda client, _: client.signed(b"/bkt/o", method=b"HEAD").replace(b"HEAD", b"GET", 1),
    "HEAD's presigned URL for a GET": lambda client, _: client.presigned(b"/bkt/o", method=b"HEAD").replace(
        b"HEAD", b"GET", 1
    ),
    "replayed on another path": lambda client, _: client.signed(b"/bkt/other").replace(b"/bkt/other", b"/bkt/o", 1),
    "a presigned URL of another path": lambda client, _: client.presigned(b"/bkt/other").replace(
        b"/bkt/other", b"/bkt/o", 1
    ),
    "replayed on another host": lambda client, _: client.signed(b"/bkt/o").replace(
        b"Host: 127.0.0.1", b"Host: localhost"
    ),
    "a longer life": lambda client, now: client.presigned(b"/bkt/o", now=now - 12, expires=10).replace(
        b"X-Amz-Expires=10", b"X-Amz-Expires=99"
    ),
    "another Range": lambda client, _: client.signed(b"/bkt/o", fields=((b"Range", b"bytes=0-1"),)).replace(
        b"bytes=0-1", b"bytes=0-9"
    ),
    "an x-amz-* added": lambda client, _: client.signed(b"/bkt/o").replace(
        b"\r\n\r\n", b"\r\nx-amz-checksum-mode: ENABLED\r\n\r\n"
    ),
    "an x-amz-* added, presigned": lambda client, _: client.presigned(b"/bkt/o").replace(
        b"\r\n\r\n", b"\r\nx-amz-checksum-mode: ENABLED\r\n\r\n"
    ),
    "a parameter added": lambda client, _: client.presigned(b"/bkt/o").replace(b" HTTP", b"&x-id=GetObject HTTP"),
    "no session token": lambda client, _: client.signed(b"/bkt/o", replace(TEMPORARY, session_token=None)),
    "another session token": lambda client, _: client.signed(b"/bkt/o", replace(TEMPORARY, session_token=b"x")),
    "anonymous": lambda client, _: head(b"GET", b"/bkt/o", ((b"Host", client.host),)),
    "half a signature": lambda client, _: client.signed(b"/bkt/o").replace(b", Signature=", b", "),
}
"""Requests for an object that the hit branch answers for others."""


async def test_a_request_that_proves_nothing_gets_no_byte_of_what_is_leased(embed: Embed, tmp_path: Path) -> None:
    async with client_of(embed, tmp_path, READER, TEMPORARY, shut_out=[OTHER]) as client:
        content = pattern(b"o", 1, 0, 4096)
        for key in ("o", "other"):
            client.proxy.origin.control.synthetic("bkt", key, 4096)
            for credentials in (READER, TEMPORARY):
                await client.warm(key, credentials)
        for name, make in UNPROVEN.items():
            for _ in range(2):  # what the engine made of the first one gives the second no right
                answer, by_hit_branch = await client.send(make(client, time.time()))
                assert not by_hit_branch, name
                assert answer.startswith(b"HTTP/1.1 4"), (name, answer)
                assert content[:64] not in answer, name
            proven, by_hit_branch = await client.send(client.signed(b"/bkt/o", payload=UNSIGNED_PAYLOAD))
            assert by_hit_branch, name
            assert proven.endswith(b"\r\n\r\n" + content), name
        assert client.hits.outcomes()["not_verified"] >= 2 * len(UNPROVEN)


async def test_another_key_is_answered_after_the_engine_has_let_it_in(embed: Embed, tmp_path: Path) -> None:
    async with client_of(embed, tmp_path) as client:
        client.proxy.origin.control.synthetic("bkt", "o", 4096)
        await client.warm("o")
        assert [(await client.send(client.signed(b"/bkt/o", OTHER)))[1] for _ in range(2)] == [False, True]
        assert [(await client.send(client.presigned(b"/bkt/o", TEMPORARY)))[1] for _ in range(2)] == [False, True]
        assert (await client.send(client.signed(b"/bkt/o")))[1]


@pytest.mark.parametrize("how", ["removed", "another secret", "not allowed any more", "one more key"])
async def test_a_reload_of_the_keys_ends_every_grant(embed: Embed, tmp_path: Path, how: str) -> None:
    async with client_of(embed, tmp_path, READER, OTHER) as client:
        client.proxy.origin.control.synthetic("bkt", "o", 4096)
        for credentials in (READER, OTHER):
            await client.warm("o", credentials)
        if how == "removed":
            client.keys.write(OTHER)
        elif how == "another secret":
            client.keys.write(replace(READER, secret_key=b"new-secret"), OTHER)
        elif how == "not allowed any more":
            client.keys.write(OTHER, shut_out=[READER])
        else:
            client.keys.write(READER, OTHER, TEMPORARY)
        await client.keys.reload(client.proxy)
        answers = [await client.send(client.signed(b"/bkt/o", READER)) for _ in range(3)]
        if how == "one more key":
            assert [by_hit_branch for _, by_hit_branch in answers] == [False, True, True]
        else:
            assert all(answer.startswith(b"HTTP/1.1 403 ") for answer, _ in answers)
        assert [(await client.send(client.signed(b"/bkt/o", OTHER)))[1] for _ in range(2)] == [False, True]


async def test_a_lease_is_granted_to_so_many_keys_at_a_time_and_more_of_them_take_turns(
    embed: Embed, tmp_path: Path
) -> None:
    many = [Credentials(b"AKID%d" % number, b"a-secret") for number in range(40)]
    async with client_of(embed, tmp_path, *many) as client:
        client.proxy.origin.control.synthetic("bkt", "o", 4096)
        for credentials in many:
            await client.warm("o", credentials)
        answered = [(await client.send(client.signed(b"/bkt/o", credentials)))[1] for credentials in many[::-1]]
        assert answered[:16] == [True] * 16
        assert not answered[16]


async def test_a_decision_made_under_a_former_set_of_keys_grants_nothing(embed: Embed, tmp_path: Path) -> None:
    """The keys are read again while a request, let in by the former ones, waits for the origin."""
    async with client_of(embed, tmp_path, READER) as client:
        control = client.proxy.origin.control
        control.synthetic("bkt", "o", 4096)
        await client.warm("o")
        gateway = client.proxy.worker.ctx.gateway
        assert gateway is not None
        admit = gateway.admit

        async def slowly(exchange: Exchange, target: S3Target) -> Admission:
            admission = await admit(exchange, target)
            client.keys.write(READER, OTHER)
            await client.keys.reload(client.proxy)
            return admission

        client.keys.write(OTHER, READER)
        await client.keys.reload(client.proxy)
        gateway.admit = slowly  # type: ignore[method-assign]
        answer, by_hit_branch = await client.send(client.signed(b"/bkt/o"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        gateway.admit = admit  # type: ignore[method-assign]
        again = [(await client.send(client.signed(b"/bkt/o")))[1] for _ in range(2)]
        assert [by_hit_branch, *again] == [False, False, True]


async def test_an_owner_is_never_answered_from_what_another_one_has(
    embed: Embed, origin: OriginProcess, tmp_path: Path
) -> None:
    """Where a bucket name means another bucket for each key: cold, leased, and after a reload of the keys."""
    owner = Credentials(origin.access_key.encode(), origin.secret_key.encode())
    async with client_of(embed, tmp_path, owner, OTHER, namespace="per-key") as client:
        origin.control.synthetic("bkt", "o", 5000)
        for _ in range(2):
            await client.warm("o", owner)
            asked = origin.control.requests()
            for request in (client.signed, client.presigned):
                answer, by_hits = await client.send(request(b"/bkt/o", OTHER))
                assert (answer[:12], by_hits) == (b"HTTP/1.1 403", False), "the origin does not know its key"
            assert origin.control.requests() == asked + 2
            answer, by_hits = await client.send(client.signed(b"/bkt/o", owner))
            assert (answer[-5000:], by_hits) == (pattern(b"o", 1, 0, 5000), True)
            client.keys.write(OTHER, owner)
            await client.keys.reload(client.proxy)
