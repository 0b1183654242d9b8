"""Which response headers are stored, and which of them a hit may replay (SEMANTICS 14, 16-18)."""

from __future__ import annotations

import math

from fastcache.model import ChecksumState, Headers, HeadRecord

_NEVER_STORED = frozenset(
    {
        # framing and time belong to each response alone
        b"content-length",
        b"content-range",
        b"date",
        b"age",
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"trailer",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-connection",
        b"via",
        b"cache-status",
        b"x-cache",
        # what an origin says to one client or about one request
        b"set-cookie",
        b"set-cookie2",
        b"alt-svc",
        b"strict-transport-security",
        b"x-amz-request-charged",
        b"x-amz-request-id",
        b"x-amz-id-2",
        b"x-trans-id",
        b"x-openstack-request-id",
        # part-scoped answers never describe the object
        b"x-amz-mp-parts-count",
    }
)

# They change without a new ETag, so an older hit cannot vouch for them.
_OMITTED_WHEN_OLD = frozenset(
    {
        b"x-amz-tagging-count",
        b"x-amz-restore",
        b"x-amz-expiration",
        b"x-amz-replication-status",
        b"x-amz-storage-class",
    }
)
_OBJECT_LOCK = b"x-amz-object-lock-"
VOLATILE_AFTER = 60.0
"""Seconds after which a hit leaves out headers that change without a new ETag."""

_CORS = b"access-control-"
_FROM_VALIDATION = frozenset(
    {
        b"x-amz-request-id",
        b"x-amz-id-2",
        b"x-trans-id",
        b"x-openstack-request-id",
        b"x-amz-request-charged",
        b"vary",
    }
)

_IN_NOT_MODIFIED = frozenset(
    {
        b"etag",
        b"last-modified",
        b"cache-control",
        b"expires",
        b"vary",
        b"x-amz-version-id",
        b"x-amz-request-id",
        b"x-amz-id-2",
        b"x-trans-id",
        b"x-openstack-request-id",
        b"x-amz-request-charged",
    }
)
"""RFC 9110 section 15.4.5, and what S3 adds; a 304 describes no representation."""


def is_checksum(name: bytes) -> bool:
    """Whether ``name`` (lower case) carries a checksum of the whole object."""
    return name == b"content-md5" or (name.startswith(b"x-amz-checksum-"))


def storable_headers(headers: Headers) -> Headers:
    """The header set worth keeping: no framing, no per-request fields, nothing that Connection names, no CORS, no
    checksums."""
    dropped = _NEVER_STORED | {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    return tuple((name, value) for name, value in headers if _is_storable(name.lower(), dropped))


def _is_storable(name: bytes, dropped: frozenset[bytes]) -> bool:
    return name not in dropped and not name.startswith(_CORS) and not is_checksum(name)


def checksum_headers(headers: Headers) -> Headers:
    """The whole object's checksum fields of a response that describes the whole object."""
    return tuple((name, value) for name, value in headers if is_checksum(name.lower()))


def cors_headers(headers: Headers) -> Headers:
    """What the origin allows the page that sent this very request; never stored (SEMANTICS 17)."""
    return tuple((name, value) for name, value in headers if name.lower().startswith(_CORS))


def checksums_of(headers: Headers, *, whole_object: bool, mode_asked: bool) -> tuple[ChecksumState, Headers]:
    """What a response tells about the object's checksums (SEMANTICS 18).

    Only an answer about the whole object counts (S3 returns part checksums for parts and part-aligned ranges), and only
    one that was asked with ``x-amz-checksum-mode`` can say that there are none.
    """
    if not whole_object:
        return ChecksumState.UNKNOWN, ()
    found = checksum_headers(headers)
    if mode_asked:
        return (ChecksumState.KNOWN, found) if found else (ChecksumState.NONE, ())
    return ChecksumState.UNKNOWN, ()


def replayed_headers(
    record: HeadRecord,
    *,
    age: float,
    whole_object: bool,
    checksum_mode: bool,
    validation: Headers = (),
    stored_for: float | None = None,
) -> Headers:
    """The stored header set as a hit sends it, with what the validating 304 contributes.

    ``age`` is seconds since the head was last proven, ``stored_for`` since the origin sent the header set. A proof says
    nothing about what changes without a new ETag, so those fields go by ``stored_for``; where that is not known, by
    ``age``, and beside a 304 they are left out. From ``validation`` (the headers of a 304 to this very request)
    come the request ids, ``x-amz-request-charged``, CORS and Vary, never ``Content-*``, ETag or metadata: servers have
    been seen to put nonsense there.
    """
    if stored_for is None:
        stored_for = math.inf if validation else age
    with_volatile = stored_for <= VOLATILE_AFTER
    fresh = tuple((n, v) for n, v in validation if _is_from_validation(n.lower()))
    kept = record.headers
    if fresh:
        overridden = {n.lower() for n, _ in fresh}
        kept = tuple(field for field in kept if field[0].lower() not in overridden)
    if not with_volatile:
        kept = lasting_headers(kept)
    checksums = record.checksums if whole_object and checksum_mode else ()
    return kept + checksums + fresh


def replay_changes_in(record: HeadRecord, *, stored_for: float) -> float | None:
    """Seconds until a hit on ``record`` leaves fields out that it carries now; None: it does not change."""
    if stored_for > VOLATILE_AFTER or not any(_is_volatile(name.lower()) for name, _ in record.headers):
        return None
    return VOLATILE_AFTER - stored_for


def lasting_headers(headers: Headers) -> Headers:
    """``headers`` without what changes without a new ETag."""
    return tuple(field for field in headers if not _is_volatile(field[0].lower()))


def not_modified_headers(headers: Headers) -> Headers:
    """What a 304 of ours carries of a hit's headers: CORS too, or a browser hides it from the page that asked."""
    return tuple((n, v) for n, v in headers if n.lower() in _IN_NOT_MODIFIED or n.lower().startswith(_CORS))


def _is_volatile(name: bytes) -> bool:
    return name in _OMITTED_WHEN_OLD or name.startswith(_OBJECT_LOCK)


def _is_from_validation(name: bytes) -> bool:
    return name in _FROM_VALIDATION or name.startswith(_CORS)
