"""Which uploads may be kept on their way to the origin, and how their bytes are told from their framing (SEMANTICS 32).

Unknown is never kept: every header field and query name that could make the origin store something else than the body,
or nothing, or refuse to give it back, is missing from the lists here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from fastcache.model import ObjectId
from fastcache.policy.request_class import UnsafeRequest
from fastcache.policy.storable import is_kms
from fastcache.protocol.framing import Framing
from fastcache.protocol.query import QueryKind
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.targets import S3Target

MOST_BYTES = 1 << 43
"""Above what any S3 object can have (5 TiB): a length beyond it is no length, and nothing near 2^64 is added to."""

_PLAIN_FIELDS = frozenset(
    {
        b"x-amz-acl",
        b"x-amz-api-version",
        b"x-amz-content-sha256",
        b"x-amz-date",
        b"x-amz-decoded-content-length",
        b"x-amz-expected-bucket-owner",
        b"x-amz-request-payer",
        b"x-amz-sdk-checksum-algorithm",
        b"x-amz-security-token",
        b"x-amz-tagging",
        b"x-amz-trailer",
        b"x-amz-user-agent",
        b"x-amz-website-redirect-location",
    }
)
_PLAIN_PREFIXES = (b"x-amz-checksum-", b"x-amz-grant-", b"x-amz-meta-", b"x-amz-object-lock-")
_READ_AT_ONCE = frozenset(
    {
        b"STANDARD",
        b"REDUCED_REDUNDANCY",
        b"STANDARD_IA",
        b"ONEZONE_IA",
        b"INTELLIGENT_TIERING",
        b"GLACIER_IR",
        b"EXPRESS_ONEZONE",
    }
)
"""Storage classes whose objects can be read without a restore (S3 API reference, PutObject)."""
_ENCRYPTION = b"x-amz-server-side-encryption"
_KMS_FIELDS = (_ENCRYPTION + b"-aws-kms-key-id", _ENCRYPTION + b"-context", _ENCRYPTION + b"-bucket-key-enabled")
_UNNAMED = frozenset({QueryKind.PRESIGN_V4, QueryKind.PRESIGN_V2, QueryKind.HOISTED, QueryKind.UNKNOWN})
"""Kinds of query names of a plain write; of the unknown ones ``x-id`` only, which repeats the operation."""


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """How the bytes of an object are found in the body that carries them."""

    length: int | None
    """Bytes they have to be; None where only the end of the body tells."""
    aws_chunked: bool


@dataclass(frozen=True, slots=True)
class PutPlan:
    """A PutObject that may be kept."""

    object_id: ObjectId
    body: BodyPlan


@dataclass(frozen=True, slots=True)
class PartPlan:
    """An UploadPart that may be kept."""

    object_id: ObjectId
    upload_id: bytes
    number: int
    body: BodyPlan


@dataclass(frozen=True, slots=True)
class UploadNamed:
    """A request about an upload as a whole."""

    object_id: ObjectId
    upload_id: bytes


def plan_part(head: RequestHead, target: S3Target, unsafe: UnsafeRequest, *, allow_kms: bool) -> PartPlan | None:
    """How to keep the part that this request uploads; None when it is not a plain UploadPart."""
    named = named_upload(target, unsafe, {b"UploadPart"}, {b"uploadId", b"partNumber"})
    number = target.query.part
    if head.method != b"PUT" or named is None or number is None:
        return None
    body = plan_body(head)
    if body is None or not all(_is_plain(name, value, allow_kms) for name, value in _amz_fields(head, target)):
        return None
    return PartPlan(named.object_id, named.upload_id, number, body)


def named_upload(
    target: S3Target, unsafe: UnsafeRequest, operations: Set[bytes], names: Set[bytes]
) -> UploadNamed | None:
    """The one upload that the query names; None when it says anything else besides ``names`` and a signature."""
    query = target.query
    found = [item.value for item in query.items if item.name == b"uploadId"]
    wanted = set(query.unknown) | ({b"partNumber"} if QueryKind.PART in query.kinds else set())
    if (
        len(found) != 1
        or not found[0]
        or not unsafe.object_ids
        or not target.cacheable_identity
        or not query.well_formed
        or not query.kinds <= _UNNAMED | {QueryKind.PART}
        or wanted - {b"x-id"} != names
        or query.operation not in (None, *operations)
    ):
        return None
    return UploadNamed(unsafe.object_ids[0], found[0])


def plan_put(head: RequestHead, target: S3Target, unsafe: UnsafeRequest, *, allow_kms: bool) -> PutPlan | None:
    """How to keep what this request writes; None when it is not a plain PutObject of a body that can be understood."""
    if head.method != b"PUT" or not unsafe.replaces_object or not unsafe.object_ids or not target.cacheable_identity:
        return None
    query = target.query
    if not query.well_formed or not query.kinds <= _UNNAMED or set(query.unknown) - {b"x-id"}:
        return None
    if query.operation not in (None, b"PutObject"):
        return None
    body = plan_body(head)
    if body is None or not all(_is_plain(name, value, allow_kms) for name, value in _amz_fields(head, target)):
        return None
    return PutPlan(unsafe.object_ids[0], body)


def _amz_fields(head: RequestHead, target: S3Target) -> Iterator[tuple[bytes, bytes]]:
    for name, values in head.by_name.items():
        if name.startswith(b"x-amz-"):
            yield from ((name, value) for value in values)
    yield from target.query.hoisted


def _is_plain(name: bytes, value: bytes, allow_kms: bool) -> bool:
    """Whether an ``x-amz-*`` field leaves what is stored, and whether it can be read again, as the body says."""
    if name == b"x-amz-storage-class":
        return value in _READ_AT_ONCE
    if name == _ENCRYPTION:
        return allow_kms or not is_kms(value)
    if name in _KMS_FIELDS:
        return allow_kms
    return name in _PLAIN_FIELDS or name.startswith(_PLAIN_PREFIXES)


def plan_body(head: RequestHead) -> BodyPlan | None:
    """How to decode the body, by declared framing only; None when two servers might decode it differently.

    aws-chunked is what ``x-amz-content-sha256`` declares: servers go by that, and by the Content-Encoding beside it.
    """
    if head.framing.kind is not Framing.CHUNKED and head.get(b"content-length") is None:
        return None
    hashes = head.by_name.get(b"x-amz-content-sha256", ())
    codings = head.by_name.get(b"content-encoding", ())
    if len(hashes) > 1 or len(codings) > 1:
        return None
    streaming = bool(hashes) and hashes[0].startswith(b"STREAMING-")
    named = [coding.strip().lower() for coding in (codings[0] if codings else b"").split(b",")].count(b"aws-chunked")
    if streaming:
        length = _length(head.by_name.get(b"x-amz-decoded-content-length", ()))
        return None if length is None or named > 1 else BodyPlan(length, aws_chunked=True)
    if named or b"x-amz-decoded-content-length" in head.by_name:
        return None
    if head.framing.kind is Framing.CHUNKED:
        return BodyPlan(None, aws_chunked=False)
    return BodyPlan(head.framing.length, aws_chunked=False) if head.framing.length <= MOST_BYTES else None


def _length(values: Sequence[bytes]) -> int | None:
    if len(values) != 1 or not values[0].isdigit() or len(values[0]) > 14:
        return None
    length = int(values[0])
    return length if length <= MOST_BYTES else None
