"""The access that a request needs, told from its method, query and fields (SEMANTICS 8).

Where our own credentials sign, they would do for every caller whatever they may do; so each request is first named as
an operation of the S3 API with all that it touches: object, copy source, LIST prefix. What cannot be named is refused.
Services read some names in more than one way (``+``, ``//``, dot segments, what is percent-encoded twice): every
reading is a need, so that none of them leads out of what a rule allows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from fastcache.policy import operations
from fastcache.policy.allow_rules import AccessKey, Action, AllowRule, Glob, KeySet, Need, Resource, Role
from fastcache.policy.operations import Operation
from fastcache.protocol.query import QueryClass, QueryKind, has_bad_percent
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.targets import AddressStyle, S3Target

__all__ = (
    "AccessKey",
    "Action",
    "AllowRule",
    "Glob",
    "KeySet",
    "Need",
    "Resource",
    "Role",
    "needs_of",
    "needs_of_deletes",
    "operation_of",
)

Needs = tuple[Need, ...]
Fields = dict[bytes, tuple[bytes, ...]]
"""``x-amz-*`` fields and those that were moved into the query, by lower-case name."""

_BUCKET = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._-]{1,254}")
_PRINTABLE = re.compile(rb"[ -~]+")
_SOURCE_VERSION = re.compile(rb"versionId=[^&?#;+]+")
_COPIES: Final = frozenset({"PutObject", "UploadPart"})
"""With a copy source they are CopyObject and UploadPartCopy."""
_COPY_SOURCE = b"x-amz-copy-source"
_RENAME_SOURCE = b"x-amz-rename-source"
_HARMLESS_ACLS = frozenset({b"private", b"bucket-owner-read", b"bucket-owner-full-control"})
"""Canned ACLs that open an object to nobody but the owner of its bucket."""
_ADMIN_FIELDS = (b"x-amz-grant-", b"x-amz-object-lock-", b"x-amz-bypass-governance-retention")
"""Fields that do on the way what PutObjectAcl, PutObjectRetention and PutObjectLegalHold do, or undo it."""


def needs_of(head: RequestHead, target: S3Target) -> Needs | None:
    """Everything that must be allowed before the request is signed; None: unknown, to be refused.

    The keys of DeleteObjects stand in its body: see :func:`needs_of_deletes`.
    """
    fields = _amz_fields(head, target.query)
    if fields is None:
        return None
    operation = operation_of(head, target)
    if operation is None or not _one_place(target):
        return None
    needs = _own_needs(operation, target)
    if needs is None:
        return None
    moved = _source_needs(operation, target, fields)
    if moved is None:
        return None
    if target.bucket is not None and _changes_access(fields):
        moved += tuple(Need(Action.ADMIN, target.bucket, need.key) for need in needs)
    return needs + moved


def needs_of_deletes(bucket: bytes, keys: Iterable[bytes]) -> Needs | None:
    """What a DeleteObjects with these decoded keys needs; None when one of them cannot be an object's."""
    needs = [Need(Action.DELETE, bucket, None)]
    for key in keys:
        readings = _key_readings((key,))
        if readings is None:
            return None
        needs.extend(Need(Action.DELETE, bucket, reading) for reading in readings)
    return tuple(needs)


def operation_of(head: RequestHead, target: S3Target) -> Operation | None:
    """The operation of the S3 API that a request asks for; None when it is none, or not surely one.

    CopyObject and UploadPartCopy are found as the PutObject and UploadPart that they are without their field.
    """
    selector = b""
    taken: list[bytes] = []
    seen: set[bytes] = set()
    query = target.query
    if query.items:
        if not query.well_formed or b";" in target.raw_query:  # which some servers read as "&"
            return None
        for item in query.items:
            if item.name in seen:
                return None
            seen.add(item.name)
            if item.kind is QueryKind.PRESIGN_V2:
                return None  # never borrows our key
            if item.kind in _NO_PARAMETERS or item.name == b"x-id":
                continue
            if item.name not in operations.SELECTING:
                taken.append(item.name)
            elif selector or not _selects(item.name, item.value_raw):
                return None
            else:
                selector = item.name
    table = operations.SERVICE if target.bucket is None else _BUCKET_OR_OBJECT[target.key is not None]
    operation = table.get((head.method, selector))
    if operation is None or not operation.parameters.issuperset(taken):
        return None
    return operation if _called_so(operation, query) else None


_NO_PARAMETERS = frozenset({QueryKind.PRESIGN_V4, QueryKind.HOISTED})
_BUCKET_OR_OBJECT = (operations.BUCKET, operations.OBJECT)


def _selects(name: bytes, value_raw: bytes) -> bool:
    """Whether it chooses an operation at every server: an upload without an id may be read as none."""
    if name == b"list-type":
        return value_raw == b"2"
    return name != b"uploadId" or bool(value_raw)


def _called_so(operation: Operation, query: QueryClass) -> bool:
    """Whether ``x-id``, in which SDKs repeat the operation's name, says no other."""
    said = query.operation
    return said is None or said.decode("latin-1") in (operation.name, operations.ALSO_CALLED.get(operation.name))


def _amz_fields(head: RequestHead, query: QueryClass) -> Fields | None:
    """The fields that may say what the request does; None when one of them is not known."""
    found: Fields = {}
    for name, values in head.by_name.items():
        if name.startswith(b"x-"):
            if name.startswith(operations.FOREIGN_FIELD_FAMILIES):
                return None
            if name.startswith(b"x-amz-"):
                found[name] = tuple(values)
    for name, value in query.hoisted:
        found[name] = (*found.get(name, ()), value)
    for name in found:
        if name not in operations.KNOWN_FIELDS and not name.startswith(operations.KNOWN_FIELD_FAMILIES):
            return None
    return found


def _one_place(target: S3Target) -> bool:
    """Whether the path names one bucket at every server, and one object apart from the readings of its key."""
    if has_bad_percent(target.raw_path):
        return False
    if target.bucket is None or target.style is not AddressStyle.PATH:
        return True
    segment = target.raw_path[1:].partition(b"/")[0]  # no bucket's name needs an escape
    return segment == target.bucket and _is_bucket(segment)


def _is_bucket(name: bytes) -> bool:
    return _BUCKET.fullmatch(name) is not None and b".." not in name


def _own_needs(operation: Operation, target: S3Target) -> Needs | None:
    """What the operation needs of the bucket or object that the request line names."""
    bucket = target.bucket
    if bucket is None or (target.key is None and not operation.prefixed):
        return (Need(operation.action, bucket, None),)
    names = _prefix_readings(target.query) if operation.prefixed else _key_readings(target.alternative_keys)
    return None if names is None else tuple(Need(operation.action, bucket, name) for name in names)


def _source_needs(operation: Operation, target: S3Target, fields: Fields) -> Needs | None:
    """What is read or moved from elsewhere. None: it cannot be told from where, or the operation has no source."""
    copied, renamed = fields.get(_COPY_SOURCE), fields.get(_RENAME_SOURCE)
    if operation.name == "RenameObject":
        if copied is not None or renamed is None or len(renamed) != 1 or target.bucket is None:
            return None
        return _rename_needs(target.bucket, renamed[0])
    if renamed is not None:
        return None
    if copied is None:
        return ()
    if operation.name not in _COPIES or len(copied) != 1:
        return None
    return _copy_needs(copied[0])


def _copy_needs(source: bytes) -> Needs | None:
    """READ of ``bucket/key?versionId=...``, percent-encoded, with or without a slash in front (CopyObject)."""
    path, question, version = source.partition(b"?")
    if question and not _SOURCE_VERSION.fullmatch(version):
        return None
    readings = _field_readings(path)
    if readings is None:
        return None
    bucket, slash, _ = readings[0].removeprefix(b"/").partition(b"/")
    if not slash or not _is_bucket(bucket):
        return None
    keys = _key_readings(reading.removeprefix(b"/").partition(b"/")[2] for reading in readings)
    return None if keys is None else tuple(Need(Action.READ, bucket, key) for key in keys)


def _rename_needs(bucket: bytes, source: bytes) -> Needs | None:
    """READ and DELETE of the source, an encoded key of the same bucket (RenameObject).

    READ too: under its new name the caller may be allowed to read it.
    """
    readings = _field_readings(source)
    if readings is None or b"?" in source:
        return None
    plain = [reading.removeprefix(b"/") for reading in readings]
    # Said with its bucket, it may also be a key that begins like that.
    keys = _key_readings([*plain, *(key.removeprefix(bucket + b"/") for key in plain)])
    if keys is None:
        return None
    return tuple(Need(action, bucket, key) for key in keys for action in (Action.READ, Action.DELETE))


def _field_readings(raw: bytes) -> tuple[bytes, ...] | None:
    """A percent-encoded field value: decoded once, with ``+`` as itself and as a space.

    What is outside ASCII is read as one of two encodings, and ``#`` as the end by those who parse a URL.
    """
    if has_bad_percent(raw) or not _PRINTABLE.fullmatch(raw) or b"#" in raw:
        return None
    return _with_plus_as_space(raw)


def _with_plus_as_space(raw: bytes) -> tuple[bytes, ...]:
    if b"+" not in raw:
        return (unquote_to_bytes(raw),)
    return unquote_to_bytes(raw), unquote_to_bytes(raw.replace(b"+", b" "))


def _prefix_readings(query: QueryClass) -> tuple[bytes, ...]:
    """Every prefix that a list can be about; the empty one, which is the whole bucket, when none is given."""
    raw = next((item.value_raw for item in query.items if item.name == b"prefix"), b"")
    readings = dict.fromkeys(_with_plus_as_space(raw))
    for reading in tuple(readings):
        for other in _other_readings(reading):
            readings[other or b""] = None  # one that leads out of the bucket asks for all that is in it
    return tuple(readings)


def _key_readings(keys: Iterable[bytes]) -> tuple[bytes, ...] | None:
    """``keys`` and what services that tidy up paths make of them; None when that is no object of the bucket."""
    readings = dict.fromkeys(keys)
    for key in tuple(readings):
        for other in _other_readings(key):
            if not other:
                return None
            readings[other] = None
    return None if b"" in readings else tuple(readings)


def _other_readings(key: bytes) -> Iterator[bytes | None]:
    """What else a key is to a service that decodes twice, merges slashes or resolves dot segments."""
    if b"%" in key:
        twice = unquote_to_bytes(key)
        yield twice
        if _untidy(twice):
            yield _tidied(twice)
    if _untidy(key):
        yield _tidied(key)


def _untidy(key: bytes) -> bool:
    return b"//" in key or b"/." in key or key.startswith((b"/", b"."))


def _tidied(key: bytes) -> bytes | None:
    """Without empty and dot segments (RFC 3986 section 5.2.4); None when it leads out of the bucket."""
    segments = key.split(b"/")
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            if not kept:
                return None
            kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    closed = kept and segments[-1] in (b"", b".", b"..")
    return b"/".join(kept) + (b"/" if closed else b"")


def _changes_access(fields: Fields) -> bool:
    """Whether fields change, beside what the operation does, who may reach the object or whether it can be deleted."""
    if any(name.startswith(_ADMIN_FIELDS) for name in fields):
        return True
    return any(value.lower() not in _HARMLESS_ACLS for value in fields.get(b"x-amz-acl", ()))
