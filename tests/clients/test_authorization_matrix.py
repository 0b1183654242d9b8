"""Every kind of proof against every state of the cache, in both modes, on two origins that verify signatures (P-40).

What the origin itself says to a proof is the oracle: it is asked the same, directly. In `revalidate`, and for what is
not cached, the answer is the origin's; in `none` a cached object goes to whoever reaches the port.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

import pytest
from tests.clients.sites import Site
from tests.harness.raw import RawResponse, exchange
from tests.harness.swift import USERS

from fastcache.protocol.sigv4 import Credentials, presign, sign

BODY = b"for its owner alone " * 1000
TOO_OLD = 20 * 60
"""Seconds after which a header's signature is refused; S3 takes 15 minutes."""


class Asked(NamedTuple):
    """One request to be: for ``target`` at ``host``, with the owner's credentials or others."""

    host: bytes
    target: bytes
    owner: Credentials
    range: bytes | None

    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        ranged = () if self.range is None else ((b"Range", self.range),)
        return ((b"Host", self.host), *ranged)

    def raw(self, method: bytes = b"GET", *fields: tuple[bytes, bytes], target: bytes | None = None) -> bytes:
        lines = [b"%b: %b" % field for field in (*self.fields(), *fields)]
        return b"\r\n".join((b"%b %b HTTP/1.1" % (method, target or self.target), *lines, b"", b""))

    def signed(
        self,
        method: bytes = b"GET",
        *,
        by: Credentials | None = None,
        target: bytes | None = None,
        age: float = 0,
        range_: bytes | None = None,
    ) -> bytes:
        """A GET for ``self.target`` whose signature was made as said: by whom, for which method, target and range."""
        meant = self.fields() if range_ is None else ((b"Host", self.host), (b"Range", range_))
        made = sign(method, target or self.target, meant, by or self.owner, region=b"us-east-1", now=time.time() - age)
        return self.raw(b"GET", *made.headers)

    def presigned(self, *, expires: int = 600, age: float = 0, method: bytes = b"GET") -> bytes:
        """A target; only Host is signed."""
        host = ((b"Host", self.host),)
        when = time.time() - age
        return presign(method, self.target, host, self.owner, region=b"us-east-1", now=when, expires=expires)


def _wrong_secret(asked: Asked) -> bytes:
    return asked.signed(by=Credentials(asked.owner.access_key, b"wrong"))


def _flipped(target: bytes) -> bytes:
    """With another last digit of the signature."""
    return target[:-1] + (b"0" if target[-1:] != b"0" else b"1")


PROOFS: dict[str, Callable[[Asked], bytes]] = {
    "valid": Asked.signed,
    "presigned": lambda asked: asked.raw(target=asked.presigned()),
    "wrong secret": _wrong_secret,
    "unknown key": lambda asked: asked.signed(by=Credentials(b"AKIAUNKNOWN", b"secret")),
    "other account": lambda asked: asked.signed(by=Credentials(*(part.encode() for part in _other()))),
    "expired": lambda asked: asked.signed(age=TOO_OLD),
    "presigned, expired": lambda asked: asked.raw(target=asked.presigned(expires=60, age=120)),
    "presigned, longer": lambda asked: asked.raw(
        target=asked.presigned(expires=60, age=120).replace(b"Expires=60", b"Expires=600")
    ),
    "presigned, changed": lambda asked: asked.raw(target=_flipped(asked.presigned())),
    "presigned for HEAD": lambda asked: asked.raw(target=asked.presigned(method=b"HEAD")),
    "signed for HEAD": lambda asked: asked.signed(b"HEAD"),
    "replayed on another path": lambda asked: asked.signed(target=asked.target + b"-allowed"),
    "another prefix": lambda asked: asked.signed(target=b"/public" + asked.target),
    "another range": lambda asked: asked.signed(range_=b"bytes=5-6"),
    "anonymous": Asked.raw,
}
ACCEPTED = {"valid", "presigned"}


def _other() -> tuple[str, str]:
    return USERS[1].access_key, USERS[1].secret_key


@functools.cache
def _kept_bucket(site: Site) -> str:
    return site.new_bucket()


@pytest.fixture
def bucket(site: Site) -> str:
    """One for all in Swift, where making one takes a while; our own origin is emptied for each test."""
    return _kept_bucket(site) if site.kind == "swift" else site.new_bucket()


def _ask(site: Site, endpoint: str, bucket: str, key: str, proof: str, range_: bytes | None) -> RawResponse:
    host = endpoint.removeprefix("http://").encode()
    owner = Credentials(site.access_key.encode(), site.secret_key.encode())
    return exchange(endpoint, PROOFS[proof](Asked(host, f"/{bucket}/{key}".encode(), owner, range_)))


@pytest.mark.parametrize("proof", PROOFS)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_a_byte_leaves_only_with_the_proof_its_mode_asks_for(site: Site, bucket: str, warm: bool, proof: str) -> None:
    key = uuid.uuid4().hex
    named = {"Bucket": bucket, "Key": key}
    site.direct.put_object(**named, Body=BODY)
    if warm:
        assert site.through.get_object(**named)["Body"].read() == BODY
    moved = 0
    for range_ in (None, b"bytes=0-9") if warm else (None,):
        direct = _ask(site, site.origin_endpoint, bucket, key, proof, range_)
        assert (direct.status in (200, 206)) is (proof in ACCEPTED), "the origin does not verify this"
        before = site.moved(bucket)
        answer = _ask(site, site.endpoint, bucket, key, proof, range_)
        moved += site.moved(bucket) - before
        if warm and site.mode == "none":
            assert answer.get(b"x-cache") == b"HIT"
            assert answer.body == (BODY if range_ is None else BODY[:10])
            continue
        assert answer.status == direct.status
        if proof in ACCEPTED:
            assert answer.body == direct.body
        else:
            assert BODY[:5] not in answer.body
    # Who was refused harmed nobody: neither what was there nor what comes. (A 404, which another account gets where
    # bucket names are not global, says that the object is gone: it costs the owner a transfer.)
    before = site.moved(bucket)
    assert site.through.get_object(**named)["Body"].read() == BODY
    if warm and direct.status != 404:
        assert site.moved(bucket) == before, "a warm read moved body bytes"
        assert proof not in ACCEPTED or moved == 0
