"""AWS Signature Version 4 for S3: terms, keys, signing, presigning and the signatures of streamed chunks.

Sources: S3 API Reference, "Authenticating Requests (AWS Signature Version 4)", its pages on the Authorization header,
query parameters, chunked upload and trailing headers. Nothing here reads a clock: time is an argument.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from fastcache._core import dates
from fastcache._core.fields import values_by_name
from fastcache.errors import RequestError
from fastcache.model import Headers
from fastcache.protocol.sigv4_canonical import canonical_request, encode, split_target, string_to_sign

ALGORITHM = b"AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest().encode("ascii")
UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"
MAX_EXPIRES = 604_800
"""Longest life of a presigned request, seconds."""

_HEX64 = re.compile(rb"[0-9a-fA-F]{64}").fullmatch


class SignatureError(RequestError):
    """Authentication failed; ``response_code`` is S3's error code. The text never holds what was signed with."""

    def __init__(self, message: str, *, code: str, status: int = 403) -> None:
        super().__init__(message, status=status, code=code, close=False)


class PayloadKind(enum.Enum):
    """What ``x-amz-content-sha256`` promises about the body."""

    SIGNED = "hash"
    """The body's SHA-256 is the header's value."""
    UNSIGNED = "UNSIGNED-PAYLOAD"
    CHUNKS_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    CHUNKS_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    CHUNKS_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

    @property
    def is_aws_chunked(self) -> bool:
        return self not in (PayloadKind.SIGNED, PayloadKind.UNSIGNED)

    @property
    def has_chunk_signatures(self) -> bool:
        return self in (PayloadKind.CHUNKS_SIGNED, PayloadKind.CHUNKS_SIGNED_TRAILER)

    @property
    def has_trailer(self) -> bool:
        return self in (PayloadKind.CHUNKS_SIGNED_TRAILER, PayloadKind.CHUNKS_UNSIGNED_TRAILER)


_PAYLOAD_TOKENS = {kind.value.encode("ascii"): kind for kind in PayloadKind if kind is not PayloadKind.SIGNED}


def payload_kind(value: bytes) -> PayloadKind:
    """The meaning of an ``x-amz-content-sha256`` value.

    Raises SignatureError: 501 NotImplemented for a streaming scheme we do not verify, 400 InvalidArgument otherwise.
    """
    kind = _PAYLOAD_TOKENS.get(value)
    if kind is not None:
        return kind
    if _HEX64(value):
        return PayloadKind.SIGNED
    if value.startswith(b"STREAMING-"):
        raise SignatureError("This payload signing scheme is not supported.", code="NotImplemented", status=501)
    raise SignatureError(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- scheme, or a valid sha256 value.",
        code="InvalidArgument",
        status=400,
    )


class Scope(NamedTuple):
    """What a signing key is good for: one day, one region, one service."""

    date: bytes
    region: bytes
    service: bytes = b"s3"

    def __bytes__(self) -> bytes:
        return b"%b/%b/%b/aws4_request" % self


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; ``session_token`` belongs to temporary ones. Secrets stay out of ``repr``."""

    access_key: bytes
    secret_key: bytes = field(repr=False)
    session_token: bytes | None = field(default=None, repr=False)


class SigningKeys:
    """Derived signing keys, the least recently used dropped: four HMACs saved on every request but the first."""

    __slots__ = ("_keys", "_limit")

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._keys: OrderedDict[tuple[bytes, Scope], bytes] = OrderedDict()

    def get(self, secret_key: bytes, scope: Scope) -> bytes:
        """The 32-byte key for ``scope``."""
        index = (secret_key, scope)
        key = self._keys.get(index)
        if key is None:
            key = derive_key(secret_key, scope)
            self._keys[index] = key
            if len(self._keys) > self._limit:
                self._keys.popitem(last=False)
        else:
            self._keys.move_to_end(index)
        return key

    def __len__(self) -> int:
        return len(self._keys)


def derive_key(secret_key: bytes, scope: Scope) -> bytes:
    """The signing key: an HMAC chain over date, region, service and a terminator."""
    key = b"AWS4" + secret_key
    for part in (*scope, b"aws4_request"):
        key = hmac.digest(key, part, "sha256")
    return key


def hex_hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 in lower-case hexadecimal."""
    return hmac.digest(key, message, "sha256").hex().encode("ascii")


def format_timestamp(when: float) -> bytes:
    """``when`` (seconds since the epoch) as ``YYYYMMDDTHHMMSSZ``."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y%m%dT%H%M%SZ").encode("ascii")


def parse_timestamp(value: bytes) -> float:
    """Seconds since the epoch of ``YYYYMMDDTHHMMSSZ``; raises ValueError on anything else."""
    found = dates.parse_timestamp(value)
    if found is None:
        raise ValueError("not an ISO 8601 basic timestamp")
    return float(found)


@dataclass(frozen=True, slots=True)
class SigningContext:
    """A seed signature and what is needed to sign or check the chunks that follow it."""

    key: bytes = field(repr=False)
    timestamp: bytes
    scope: bytes
    signature: bytes = field(repr=False)


class ChunkSignatures:
    """The chain of chunk signatures: each covers the one before, so chunks can be neither reordered nor dropped."""

    __slots__ = ("_context", "_previous")

    def __init__(self, context: SigningContext) -> None:
        self._context = context
        self._previous = context.signature

    def chunk(self, sha256_hex: bytes) -> bytes:
        """The signature of the next chunk, whose data has this hash; the last chunk is the empty one."""
        return self._next(b"AWS4-HMAC-SHA256-PAYLOAD", EMPTY_SHA256 + b"\n" + sha256_hex)

    def trailer(self, fields: Headers) -> bytes:
        """The signature of the trailer section, without ``x-amz-trailer-signature`` itself."""
        lines = b"".join(b"%b:%b\n" % (name.lower(), value.strip()) for name, value in fields)
        return self._next(b"AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(lines).hexdigest().encode("ascii"))

    def _next(self, algorithm: bytes, tail: bytes) -> bytes:
        context = self._context
        text = b"\n".join((algorithm, context.timestamp, context.scope, self._previous, tail))
        self._previous = hex_hmac(context.key, text)
        return self._previous


class Signed(NamedTuple):
    """The fields to append to a request, and the seed for its chunks."""

    headers: Headers
    context: SigningContext


def sign(
    method: bytes,
    target: bytes,
    headers: Headers,
    credentials: Credentials,
    *,
    region: bytes,
    now: float,
    payload_hash: bytes = UNSIGNED_PAYLOAD,
    signed: Sequence[bytes] | None = None,
    service: bytes = b"s3",
    keys: SigningKeys | None = None,
) -> Signed:
    """Sign a request with the Authorization header.

    ``headers`` must hold Host and must not hold what signing adds (x-amz-date, x-amz-content-sha256,
    x-amz-security-token, Authorization). ``signed`` names the further lower-case fields to cover; by default all
    that :func:`default_signed_headers` picks.
    """
    timestamp = format_timestamp(now)
    scope = Scope(timestamp[:8], region, service)
    added = [(b"x-amz-content-sha256", payload_hash), (b"x-amz-date", timestamp)]
    if credentials.session_token is not None:
        added.append((b"x-amz-security-token", credentials.session_token))
    chosen = default_signed_headers(headers) if signed is None else set(signed)
    names = sorted({b"host", *chosen, *(name for name, _ in added)})
    request = canonical_request(method, target, values_by_name((*headers, *added)), names, payload_hash)
    key = (keys or _KEYS).get(credentials.secret_key, scope)
    signature = hex_hmac(key, string_to_sign(timestamp, bytes(scope), request))
    authorization = b"%b Credential=%b/%b, SignedHeaders=%b, Signature=%b" % (
        ALGORITHM,
        credentials.access_key,
        bytes(scope),
        b";".join(names),
        signature,
    )
    context = SigningContext(key, timestamp, bytes(scope), signature)
    return Signed((*added, (b"authorization", authorization)), context)


def presign(
    method: bytes,
    target: bytes,
    headers: Headers,
    credentials: Credentials,
    *,
    region: bytes,
    now: float,
    expires: int,
    service: bytes = b"s3",
    keys: SigningKeys | None = None,
) -> bytes:
    """The target with a signature in its query, good for ``expires`` seconds (1 to 604,800).

    ``headers`` (Host at least) are all signed and must be sent as they are.
    """
    if not 1 <= expires <= MAX_EXPIRES:
        raise ValueError(f"expires must be 1 to {MAX_EXPIRES} seconds")
    timestamp = format_timestamp(now)
    scope = Scope(timestamp[:8], region, service)
    names = sorted({name.lower() for name, _ in headers} | {b"host"})
    fields = [
        (b"X-Amz-Algorithm", ALGORITHM),
        (b"X-Amz-Credential", credentials.access_key + b"/" + bytes(scope)),
        (b"X-Amz-Date", timestamp),
        (b"X-Amz-Expires", b"%d" % expires),
        (b"X-Amz-SignedHeaders", b";".join(names)),
    ]
    if credentials.session_token is not None:
        fields.append((b"X-Amz-Security-Token", credentials.session_token))
    path, query = split_target(target)
    added = b"&".join(b"%b=%b" % (name, encode(value)) for name, value in fields)
    unsigned = path + b"?" + (query + b"&" if query else b"") + added
    request = canonical_request(method, unsigned, values_by_name(headers), names, UNSIGNED_PAYLOAD)
    key = (keys or _KEYS).get(credentials.secret_key, scope)
    return unsigned + b"&X-Amz-Signature=" + hex_hmac(key, string_to_sign(timestamp, bytes(scope), request))


def default_signed_headers(headers: Headers) -> set[bytes]:
    """Host, every x-amz-* and what changes the meaning of a request; nothing that an agent in between may rewrite."""
    names = {name.lower() for name, _ in headers}
    return {name for name in names if name in _MEANINGFUL or name.startswith(b"x-amz-")}


_MEANINGFUL = frozenset(
    (b"host", b"range", b"content-type", b"content-md5", b"content-encoding")
    + (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range")
)
_KEYS = SigningKeys()
