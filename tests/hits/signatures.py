"""Signed heads, and what ``protocol.sigv4_verify`` makes of them: the oracle of compiled verification."""

from __future__ import annotations

from typing import NamedTuple

from fastcache._core.access_keys import AccessKeys
from fastcache._core.fields import values_by_name
from fastcache._core.sigv4 import Verifier
from fastcache.errors import RequestError
from fastcache.protocol.sigv4 import Credentials, SigningKeys, derive_key, hex_hmac
from fastcache.protocol.sigv4_canonical import MissingSignedHeaderError, canonical_request, string_to_sign
from fastcache.protocol.sigv4_verify import read_claim, verify

NOW = 1_790_000_000.0
"""A second, in 2026."""
LONG_LIVED = Credentials(b"AKIDEXAMPLE", b"wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = Credentials(b"ASIAEXAMPLE", b"another/secret", b"FwoGZXIvYXdzE+/A=" * 20)
OF_SWIFT = Credentials(b"test:tester", b"testing")
"""Its access keys hold a colon."""
SLASHED = Credentials(b"a/b", b"x" * 100)
CREDENTIALS = (LONG_LIVED, TEMPORARY, OF_SWIFT, SLASHED)


def verifier(*credentials: Credentials) -> Verifier:
    keys = AccessKeys()
    keys.load(1, credentials or CREDENTIALS)
    return Verifier(keys)


class Opinions(NamedTuple):
    """Who signed a head: None of those who are known."""

    compiled: bytes | None
    python: bytes | None


def opinions(one: Verifier, head: bytes, now: float = NOW) -> Opinions:
    return Opinions(one.verified(head, now), signer(head, now))


class Request(NamedTuple):
    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def parsed(head: bytes) -> Request | None:
    """A plain head taken apart; how heads are read at all, and which targets there are, others test."""
    request_line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    words = request_line.split(b" ")
    if len(words) != 3 or not all(b":" in line for line in lines):
        return None
    fields = (line.split(b":", 1) for line in lines)
    return Request(words[0], words[1], tuple((name, value.strip(b" ")) for name, value in fields))


def signer(head: bytes, now: float) -> bytes | None:
    """The access key that signed ``head``, as the engine finds it."""
    known = {credentials.access_key: credentials for credentials in CREDENTIALS}
    request = parsed(head)
    if request is None:
        return None
    try:
        made = verify(
            request.method, request.target, request.headers, find=known.get, now=now, keys=SigningKeys()
        )  # fmt: skip
    except RequestError:
        return None
    return made.access_key


def resigned(head: bytes) -> bytes:
    """``head`` with the signature that it ought to have in the place of the one that it claims; as it is when it claims
    none that could be right. So canonical forms are compared, where a wrong signature would end both readers alike."""
    known = {credentials.access_key: credentials for credentials in CREDENTIALS}
    request = parsed(head)
    if request is None:
        return head
    try:
        fields = values_by_name(request.headers)
        claim = read_claim(request.target, fields)
        canonical = canonical_request(
            request.method, request.target, fields, claim.signed, claim.payload_hash
        )  # fmt: skip
    except (RequestError, MissingSignedHeaderError):
        return head
    credentials = known.get(claim.access_key)
    if credentials is None or len(claim.signature) < 8 or head.count(claim.signature) != 1:
        return head
    key = derive_key(credentials.secret_key, claim.scope)
    right = hex_hmac(key, string_to_sign(claim.timestamp, bytes(claim.scope), canonical))
    return head.replace(claim.signature, right)
