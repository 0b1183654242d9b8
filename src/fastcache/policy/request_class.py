"""What a request is to the cache: a read it may answer, an unsafe request it must fence, or something to pass on.

Unknown is never a hit: a read is cacheable only when everything in its query is on a list (SEMANTICS 5, 8, 20-28).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastcache._core.ranges import parse as parse_range
from fastcache.model import ObjectId
from fastcache.policy.overrides import may_override, response_overrides
from fastcache.policy.read_request import CONDITION_FIELDS, NO_CONDITIONS, Conditions, ReadRequest
from fastcache.policy.signed import may_ask_for_part
from fastcache.protocol.framing import Framing
from fastcache.protocol.query import QueryKind
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.targets import S3Target

SAFE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})

_READABLE_QUERY = frozenset(
    {
        QueryKind.NEUTRAL,
        QueryKind.PRESIGN_V4,
        QueryKind.PRESIGN_V2,
        QueryKind.VERSION,
        QueryKind.HOISTED,
        QueryKind.PART,
        QueryKind.RESPONSE_OVERRIDE,
    }
)
_S3_WRITES = frozenset({b"PUT", b"POST", b"DELETE"})
_MUST_REACH_ORIGIN = frozenset({b"x-amz-request-payer", b"x-amz-expected-bucket-owner", b"origin"})
_KNOWN_AMZ = frozenset(
    {
        b"x-amz-date",
        b"x-amz-content-sha256",
        b"x-amz-security-token",
        b"x-amz-user-agent",
        b"x-amz-api-version",
        b"x-amz-checksum-mode",
        b"x-amz-request-payer",
        b"x-amz-expected-bucket-owner",
    }
)
_NO_DIRECTIVES: frozenset[bytes] = frozenset()
_SSE_CUSTOMER = b"x-amz-server-side-encryption-customer-"

IdentityOf = Callable[[bytes, bytes, bytes | None], ObjectId]
"""(bucket, key, version) to the identity at this origin."""


@dataclass(frozen=True, slots=True)
class PassRequest:
    """Safe, and nothing for the cache; ``reason`` is a token for Cache-Status."""

    reason: bytes


@dataclass(frozen=True, slots=True)
class UnsafeRequest:
    """Changes something, or may. ``object_ids`` are fenced; the whole bucket's epoch is raised when they cannot be
    named, which is always safe."""

    object_ids: tuple[ObjectId, ...]
    bucket: bytes | None
    """Bucket whose epoch is raised."""
    deletes_named_in_body: bool = False
    """DeleteObjects: the keys stand in the body."""
    replaces_object: bool = False
    """A 2xx means that the stored generation is gone, not only unproven."""


Classified = ReadRequest | UnsafeRequest | PassRequest


def classify(
    head: RequestHead,
    target: S3Target,
    identity_of: IdentityOf,
    *,
    multi_range: bool = False,
    in_our_name: bool = False,
) -> Classified:
    """Classify one request. Pure: the same head gives the same answer.

    ``multi_range`` keeps several ranges; without it they mean the whole object. ``in_our_name``: nothing that the
    client signed goes to the origin, so that what we ask for there is ours to choose.
    """
    if head.method not in SAFE_METHODS:
        return _unsafe(head, target, identity_of)
    if head.method == b"OPTIONS":
        return PassRequest(b"method")
    return _read(head, target, identity_of, multi_range, in_our_name)


def _read(
    head: RequestHead, target: S3Target, identity_of: IdentityOf, multi_range: bool, in_our_name: bool
) -> ReadRequest | PassRequest:
    if target.bucket is None or target.key is None:
        return PassRequest(b"not-an-object")
    reason = _read_refusal(head, target)
    if reason is not None:
        return PassRequest(reason)
    query = target.query
    range_field = head.get(b"range")
    spec = parse_range(range_field) if range_field is not None else None
    if head.method == b"HEAD" and range_field is not None:
        return PassRequest(b"head-range")
    must_ask = not _MUST_REACH_ORIGIN.isdisjoint(head.by_name) or any(
        name in _MUST_REACH_ORIGIN for name, _ in query.hoisted
    )
    overrides = response_overrides(query)
    mode = head.get(b"x-amz-checksum-mode") or query.hoisted_value(b"x-amz-checksum-mode")
    return ReadRequest(
        method=head.method,
        object_id=identity_of(target.bucket, target.key, target.version),
        range=None if spec is None or spec.is_multi else spec,
        conditions=_conditions(head),
        checksum_mode=mode is not None and mode.lower() == b"enabled",
        must_ask=must_ask or _demands_fresh(head) or bool(overrides),
        range_field_sent=range_field is not None,
        may_ask_for_part=(
            may_ask_for_part(head, query, in_our_name=in_our_name)
            and (spec is None or not spec.is_multi)
            and query.part is None  # the origin refuses a Range beside it
            and not overrides  # what comes back would be stored under headers that are not the object's
        ),
        part=query.part,
        overrides=overrides,
        ranges=spec if multi_range and spec is not None and spec.is_multi else None,
    )


def _read_refusal(head: RequestHead, target: S3Target) -> bytes | None:
    query = target.query
    if not target.cacheable_identity:
        return b"ambiguous-key"
    if not query.well_formed or not query.kinds <= _READABLE_QUERY:
        return b"query"
    if any(name not in _KNOWN_AMZ for name, _ in query.hoisted):
        return b"query"
    if QueryKind.PART in query.kinds and (
        not query.part_usable or head.method == b"HEAD" or head.get(b"range") is not None
    ):
        return b"part"
    if query.overrides and not may_override(head, query):
        return b"override"
    if head.framing.length or head.framing.kind is Framing.CHUNKED:
        return b"body"
    if head.expect_continue:
        return b"expect"
    for name in head.by_name:
        if name.startswith(b"x-amz-") and name not in _KNOWN_AMZ:
            return b"sse-c" if name.startswith(_SSE_CUSTOMER) else b"header"
    if head.get(b"cookie") is not None:
        return b"header"
    if b"no-store" in _directives(head):
        return b"no-store"
    return None


def _directives(head: RequestHead) -> frozenset[bytes]:
    fields = head.by_name.get(b"cache-control")
    if not fields:  # as in nearly every request
        return _NO_DIRECTIVES
    return frozenset(part.strip().lower() for field in fields for part in field.split(b","))


def _demands_fresh(head: RequestHead) -> bool:
    directives = _directives(head)
    pragma = head.get(b"pragma") or b""
    return b"no-cache" in directives or b"max-age=0" in directives or b"no-cache" in pragma.lower()


def _conditions(head: RequestHead) -> Conditions:
    if CONDITION_FIELDS.isdisjoint(head.by_name):  # as in nearly every request
        return NO_CONDITIONS
    return Conditions(
        _joined(head, b"if-match"),
        _joined(head, b"if-none-match"),
        head.get(b"if-modified-since"),
        head.get(b"if-unmodified-since"),
        head.get(b"if-range"),
    )


def _joined(head: RequestHead, name: bytes) -> bytes | None:
    """List-valued fields may come several times and mean their concatenation (RFC 9110 section 5.3)."""
    values = head.by_name.get(name)
    return b", ".join(values) if values else None


def _unsafe(head: RequestHead, target: S3Target, identity_of: IdentityOf) -> UnsafeRequest:
    bucket = target.bucket
    if bucket is None:
        return UnsafeRequest((), None)
    if target.key is None:
        if head.method == b"POST" and b"delete" in target.query.names:
            return UnsafeRequest((), bucket, deletes_named_in_body=True)
        # Bucket writes, and forms whose key stands in a part (perhaps as ${filename}): the whole bucket.
        return UnsafeRequest((), bucket)
    if _names_another_key(head, target):
        return UnsafeRequest((), bucket)
    ids = written_identities(bucket, target.alternative_keys, target.query.versions, identity_of)
    return UnsafeRequest(ids, None, replaces_object=_replaces(head, target))


def written_identities(
    bucket: bytes, keys: Iterable[bytes], versions: Iterable[bytes], identity_of: IdentityOf
) -> tuple[ObjectId, ...]:
    """Every identity under which a write of ``keys``, of all readings of one or of several objects, can be cached.

    The current version, what the write names, and ``null``: without versioning, or with it suspended, that is the very
    version which a write replaces, and a client may have read it by that name (SEMANTICS 5).
    """
    touched = tuple(dict.fromkeys((None, b"null", *versions)))
    return tuple(identity_of(bucket, key, version) for key in keys for version in touched)


def _names_another_key(head: RequestHead, target: S3Target) -> bool:
    """Whether the request may change objects besides the one its path names, so that only the bucket is sure."""
    names = target.query.names
    if b"renameObject" in names or head.get(b"x-amz-rename-source") is not None:
        return True
    if target.query.hoisted_value(b"x-amz-rename-source") is not None:
        return True
    if head.method not in _S3_WRITES:
        return True  # MOVE and its like name their destination in a way of their own
    # Forms are posted to a bucket; a server that takes one at a longer path reads the key from the form all the same.
    return head.method == b"POST" and not names & _POSTED_TO_KEYS


_POSTED_TO_KEYS = frozenset({b"uploads", b"uploadId", b"restore", b"select"})
_KEEPS_CONTENT = frozenset({b"tagging", b"acl", b"retention", b"legal-hold", b"restore", b"select", b"torrent"})


def _replaces(head: RequestHead, target: S3Target) -> bool:
    names = target.query.names
    if names & _KEEPS_CONTENT:
        return False
    if b"uploadId" in names:
        return head.method == b"POST"  # Complete; parts and aborts leave the object as it is
    return b"uploads" not in names
