"""Frozen values with the names of DESIGN's terms; every layer speaks in these."""

from __future__ import annotations

import enum
import functools
import hashlib
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

Headers = tuple[tuple[bytes, bytes], ...]
"""Header fields in order, names in the case they arrived in, values without surrounding white space."""


BytesLike = bytes | bytearray | memoryview
"""What can be sent or stored without a copy."""


class Interval(NamedTuple):
    """Half-open byte interval ``[start, end)`` of an object."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start

    def contains(self, other: Interval) -> bool:
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True, slots=True)
class OriginId:
    """Scheme, host and port of an S3 endpoint: an origin's identity, never its configuration name."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ObjectId:
    """What a cached object is filed under: origin, bucket, key decoded exactly once, version or none.

    ``digest`` (32 bytes, BLAKE2b over length-prefixed parts, so that no two identities collide by concatenation) names
    its files and picks its fence; no client text ever reaches a path.
    """

    origin: OriginId
    bucket: bytes
    key: bytes
    version: bytes | None = None
    digest: bytes = field(init=False, repr=False, compare=False)
    bucket_digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        bucket, bucket_digest = _bucket_identity(self.origin, self.bucket)
        version = b"-" if self.version is None else b"v" + self.version
        object.__setattr__(self, "bucket_digest", bucket_digest)
        object.__setattr__(self, "digest", _digest(bucket + _with_length(self.key) + _with_length(version)))


@functools.lru_cache(maxsize=256)
def _bucket_identity(origin: OriginId, bucket: bytes) -> tuple[bytes, bytes]:
    """What every identity in a bucket begins with, and its digest; kept for the buckets asked for last."""
    parts = _with_length(str(origin).encode("utf-8", "surrogateescape")) + _with_length(bucket)
    return parts, _digest(parts)


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(8, "little") + part


def _digest(parts: bytes) -> bytes:
    return hashlib.blake2b(parts, digest_size=32).digest()


def unquoted_etag(etag: bytes) -> bytes:
    """The opaque tag without its quotes; S3 clients and servers disagree about sending them (SEMANTICS 23)."""
    if len(etag) >= 2 and etag.startswith(b'"') and etag.endswith(b'"'):
        return etag[1:-1]
    return etag


@dataclass(frozen=True, slots=True)
class Generation:
    """One immutable content of an object. Extents belong to (ETag, size), which ``tag`` (16 bytes) stands for.

    Compared by ``tag``: one content, whether or not an answer quotes its ETag (SEMANTICS 23).
    """

    etag: bytes = field(compare=False)
    """The strong ETag as the origin wrote it, quotes included."""
    size: int
    """Bytes of the whole object."""
    tag: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        state = hashlib.blake2b(unquoted_etag(self.etag), digest_size=16, salt=self.size.to_bytes(8, "little"))
        object.__setattr__(self, "tag", state.digest())


class Identity(Protocol):
    """What an object is filed and fenced under; an ``ObjectId`` knows more."""

    @property
    def digest(self) -> bytes: ...

    @property
    def bucket_digest(self) -> bytes: ...


class Part(NamedTuple):
    """A part of a multipart upload and the bytes of the object it became."""

    number: int
    """1 to 10,000."""
    interval: Interval


class FenceToken(NamedTuple):
    """The fences of an object as they stood *before* the origin request that proves something about it was sent."""

    epoch: int
    object_fence: int
    bucket_fence: int


class ChecksumState(enum.IntEnum):
    """What is known of the whole object's ``x-amz-checksum-*`` headers (SEMANTICS 18)."""

    UNKNOWN = 0
    NONE = 1
    KNOWN = 2


@dataclass(frozen=True, slots=True)
class HeadRecord:
    """An object's current generation and the response headers a hit replays.

    ``headers`` holds what SEMANTICS 17 allows to store, as the origin sent it, without Content-Length, Content-Range,
    Date and checksums. ``checksums`` holds the whole object's checksum headers when ``checksum_state`` is KNOWN.
    """

    generation: Generation
    headers: Headers
    checksum_state: ChecksumState = ChecksumState.UNKNOWN
    checksums: Headers = ()
    stored_at: float = 0.0
    """Wall-clock seconds when the origin answered; for Age arithmetic across restarts only."""
    parts: tuple[Part, ...] = ()
    """The parts whose place an answer to ``?partNumber=`` told, ascending (SEMANTICS 26)."""
    parts_count: int = 0
    """``x-amz-mp-parts-count`` of those answers; 0 when they named none."""

    def get(self, name: bytes) -> bytes | None:
        """The first stored value of ``name`` (lower case), or None."""
        length = len(name)
        for key, value in self.headers:
            if len(key) == length and key.lower() == name:
                return value
        return None

    def part(self, number: int) -> Interval | None:
        """The bytes of part ``number``, None when that is not known."""
        at = bisect_left(self.parts, number, key=lambda part: part.number)
        return self.parts[at].interval if at < len(self.parts) and self.parts[at].number == number else None

    @property
    def is_headerless(self) -> bool:
        """The bytes went through here on their way up, and the origin has not yet said how it describes them: nothing
        is served before it has (SEMANTICS 32). A header set it sent always has an ETag."""
        return not self.headers

    @property
    def last_modified(self) -> bytes | None:
        return self.get(b"last-modified")

    @property
    def version_id(self) -> bytes | None:
        return self.get(b"x-amz-version-id")


class Result(enum.StrEnum):
    """How a request was answered: the value of ``X-Cache`` and of the metrics label ``result``."""

    HIT = "HIT"
    MISS = "MISS"
    PARTIAL = "PARTIAL"
    REVALIDATED = "REVALIDATED"
    COALESCED = "COALESCED"
    PASS = "PASS"
    ERROR = "ERROR"


class Codec(enum.IntEnum):
    """How an extent's bytes are stored."""

    RAW = 0
    LZ4 = 1
