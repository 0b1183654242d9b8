"""The query of an S3 request: split without losing a byte, and classified once for every policy.

S3 decides by query names what a request *is* (a sub-resource, a version, a part, a presigned signature). What is not on
a list here is UNKNOWN, and unknown is never a hit (SEMANTICS 8).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

NEUTRAL_OPERATIONS = frozenset({b"GetObject", b"HeadObject"})
"""Values of ``x-id`` that only repeat what method and path say already."""

PRESIGN_V4 = frozenset(
    {
        b"x-amz-algorithm",
        b"x-amz-credential",
        b"x-amz-date",
        b"x-amz-expires",
        b"x-amz-signedheaders",
        b"x-amz-signature",
        b"x-amz-security-token",
        b"x-amz-content-sha256",
    }
)
"""Lower case: "Authenticating Requests: Using Query Parameters" of the S3 API reference; compared without case."""

PRESIGN_V2 = frozenset({b"AWSAccessKeyId", b"Signature", b"Expires"})
"""Signature version 2, in the case S3 requires."""

RESPONSE_OVERRIDES = frozenset(
    {
        b"response-cache-control",
        b"response-content-disposition",
        b"response-content-encoding",
        b"response-content-language",
        b"response-content-type",
        b"response-expires",
    }
)
"""GetObject's names that replace response headers (S3 API reference, GetObject)."""

_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PART_NUMBER = re.compile(rb"[0-9]{1,5}")
_LAST_PART = 10_000
"""Parts of a multipart upload are numbered 1 to 10,000 (S3 User Guide, multipart upload limits)."""


class QueryKind(enum.Enum):
    """What a query name does to a request."""

    NEUTRAL = "neutral"
    PRESIGN_V4 = "presign-v4"
    PRESIGN_V2 = "presign-v2"
    RESPONSE_OVERRIDE = "response-override"
    VERSION = "version"
    PART = "part"
    HOISTED = "hoisted"
    """An ``x-amz-*`` header that a client moved into the query before presigning."""
    UNKNOWN = "unknown"


class QueryItem(NamedTuple):
    """One ``name=value`` between two ``&``; ``raw`` is the whole of it as received."""

    name: bytes
    """Percent-decoded once; ``+`` stays what it is."""
    value_raw: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """The value, percent-decoded once; ``+`` stays what it is."""
        return unquote_to_bytes(self.value_raw)

    @property
    def kind(self) -> QueryKind:
        return _kind_of(self.name, self.value_raw)


def has_bad_percent(raw: bytes) -> bool:
    """Whether a ``%`` is not followed by two hexadecimal digits, which every server reads differently."""
    return b"%" in raw and _BAD_PERCENT.search(raw) is not None


def parse_query(raw: bytes) -> tuple[QueryItem, ...]:
    """Split at ``&`` and the first ``=``; nothing is dropped, merged or reordered. Joining ``raw`` gives it back."""
    if not raw:
        return ()
    items = []
    for piece in raw.split(b"&"):
        name, _, value = piece.partition(b"=")
        items.append(QueryItem(unquote_to_bytes(name), value, piece))
    return tuple(items)


def _kind_of(name: bytes, value_raw: bytes) -> QueryKind:
    if name == b"x-id":
        return QueryKind.NEUTRAL if value_raw in NEUTRAL_OPERATIONS else QueryKind.UNKNOWN
    if name == b"versionId":
        return QueryKind.VERSION
    if name == b"partNumber":
        return QueryKind.PART
    if name in PRESIGN_V2:
        return QueryKind.PRESIGN_V2
    if name in RESPONSE_OVERRIDES:
        return QueryKind.RESPONSE_OVERRIDE
    lowered = name.lower()
    if lowered in PRESIGN_V4:
        return QueryKind.PRESIGN_V4
    if lowered.startswith(b"x-amz-"):
        return QueryKind.HOISTED
    return QueryKind.UNKNOWN


@dataclass(frozen=True, slots=True)
class QueryClass:
    """What a query says about its request. Values may hold signatures: they are kept out of ``repr``."""

    items: tuple[QueryItem, ...] = field(default=(), repr=False)
    kinds: frozenset[QueryKind] = frozenset()
    names: frozenset[bytes] = frozenset()
    """Decoded names, case kept: S3 compares sub-resource names with case."""
    well_formed: bool = True
    """No bad ``%XX`` anywhere, and no name twice among those that select or sign something."""
    presigned_v4: bool = False
    """Carries, or claims to carry, a SigV4 query signature."""
    presigned_v2: bool = False
    versions: tuple[bytes, ...] = ()
    """Every value of ``versionId``, decoded: a write fences each of them."""
    version_usable: bool = True
    """At most one ``versionId``, not empty and readable in one way only (SEMANTICS 5)."""
    part: int | None = None
    """``partNumber``, 1 to 10,000."""
    part_usable: bool = True
    """At most one ``partNumber``, and a valid one."""
    overrides: tuple[QueryItem, ...] = field(default=(), repr=False)
    """The ``response-*`` items in order."""
    hoisted: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """(lower-case name, decoded value) of ``x-amz-*`` names that are no part of a signature: headers in the query."""
    operation: bytes | None = None
    """The value of ``x-id``, which some SDKs also add to writes."""
    unknown: tuple[bytes, ...] = ()
    """Decoded names of everything else: sub-resources and what nobody here knows."""

    @property
    def version(self) -> bytes | None:
        """The one usable versionId, else None."""
        return self.versions[0] if self.versions and self.version_usable else None

    @property
    def presigned(self) -> bool:
        return self.presigned_v4 or self.presigned_v2

    @property
    def is_plain(self) -> bool:
        """No query, or neutral names only."""
        return self.well_formed and self.kinds <= _PLAIN

    @property
    def is_plain_or_presigned(self) -> bool:
        """Neutral and signature names only: the answer is that of the bare object."""
        return self.well_formed and self.kinds <= _PLAIN_OR_PRESIGNED

    def hoisted_value(self, lower_name: bytes) -> bytes | None:
        """The first value of an ``x-amz-*`` header that was moved into the query, or None."""
        for name, value in self.hoisted:
            if name == lower_name:
                return value
        return None


_PLAIN = frozenset({QueryKind.NEUTRAL})
_PLAIN_OR_PRESIGNED = frozenset({QueryKind.NEUTRAL, QueryKind.PRESIGN_V4, QueryKind.PRESIGN_V2})
_EMPTY = QueryClass()


def classify_query(raw: bytes) -> QueryClass:
    """Classify a raw query (without its ``?``). Never raises: what is odd is said in the result."""
    if not raw:
        return _EMPTY
    items = parse_query(raw)
    by_kind: dict[QueryKind, list[QueryItem]] = {}
    for item in items:
        by_kind.setdefault(item.kind, []).append(item)
    signature_names = {item.name.lower() for item in by_kind.get(QueryKind.PRESIGN_V4, ())}
    versions = by_kind.get(QueryKind.VERSION, [])
    parts = by_kind.get(QueryKind.PART, [])
    part = _part_number(parts)
    return QueryClass(
        items=items,
        kinds=frozenset(by_kind),
        names=frozenset(item.name for item in items),
        well_formed=not has_bad_percent(raw) and not _has_duplicates(items),
        presigned_v4=bool(signature_names & {b"x-amz-signature", b"x-amz-credential", b"x-amz-algorithm"}),
        presigned_v2=any(item.name != b"Expires" for item in by_kind.get(QueryKind.PRESIGN_V2, ())),
        versions=tuple(dict.fromkeys(item.value for item in versions)),
        version_usable=not versions or (len(versions) == 1 and _one_reading(versions[0].value_raw)),
        part=part,
        part_usable=not parts or part is not None,
        overrides=tuple(by_kind.get(QueryKind.RESPONSE_OVERRIDE, ())),
        hoisted=tuple((item.name.lower(), item.value) for item in by_kind.get(QueryKind.HOISTED, ())),
        operation=next((item.value for item in items if item.name == b"x-id"), None),
        unknown=tuple(item.name for item in by_kind.get(QueryKind.UNKNOWN, ())),
    )


def _has_duplicates(items: tuple[QueryItem, ...]) -> bool:
    """Whether a known name comes twice: which of the two a server takes is its own affair."""
    seen: set[bytes] = set()
    for item in items:
        if item.kind is QueryKind.UNKNOWN:
            continue
        name = item.name.lower()
        if name in seen:
            return True
        seen.add(name)
    return False


def _one_reading(value_raw: bytes) -> bool:
    """Not empty, and the same whether or not a server reads ``+`` as a space and ``;`` as a separator."""
    return bool(value_raw) and b"+" not in value_raw and b";" not in value_raw and not has_bad_percent(value_raw)


def _part_number(parts: list[QueryItem]) -> int | None:
    if len(parts) != 1 or not _PART_NUMBER.fullmatch(parts[0].value_raw):
        return None
    number = int(parts[0].value_raw)
    return number if 1 <= number <= _LAST_PART else None
