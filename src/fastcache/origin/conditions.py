"""Conditional headers and ranges as S3 evaluates them (RFC 9110 sections 13 and 14; S3 API Reference, GetObject)."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from functools import lru_cache

from fastcache.model import Interval
from fastcache.origin.message import S3Error
from fastcache.origin.store import Version

_RANGE = re.compile(rb"bytes=[ \t]*(\d{0,20})-(\d{0,20})[ \t]*").fullmatch


def etag_listed(value: bytes, etag: bytes) -> bool:
    """Whether ``etag`` (unquoted) is in a list of entity tags or the list is ``*``; quotes and W/ are optional."""
    for item in value.split(b","):
        tag = item.strip().removeprefix(b"W/")
        if tag == b"*" or tag.strip(b'"') == etag:
            return True
    return False


@lru_cache(maxsize=1024)
def http_date(value: bytes) -> float | None:
    """Seconds since the epoch, or None if it is no date."""
    try:
        return parsedate_to_datetime(value.decode("latin-1")).timestamp()
    except (ValueError, OverflowError):
        return None


def check(fields: dict[bytes, bytes], version: Version) -> bool:
    """True if the object is to be sent, False for 304; raises S3Error 412."""
    if_match = fields.get(b"if-match")
    if if_match is not None:
        if not etag_listed(if_match, version.etag):
            raise _failed("If-Match")
    elif (unmodified := _date(fields, b"if-unmodified-since")) is not None and version.modified > unmodified:
        raise _failed("If-Unmodified-Since")
    if_none_match = fields.get(b"if-none-match")
    if if_none_match is not None:
        return not etag_listed(if_none_match, version.etag)
    modified = _date(fields, b"if-modified-since")
    return modified is None or version.modified > modified


def check_write(fields: dict[bytes, bytes], current: Version | None) -> None:
    """Conditional writes (If-None-Match: * and If-Match); raises S3Error 412, 404 or 501."""
    exists = current is not None and not current.delete_marker
    if_none_match = fields.get(b"if-none-match")
    if if_none_match is not None:
        if if_none_match.strip() != b"*":
            raise S3Error(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
        if exists:
            raise _failed("If-None-Match")
    if_match = fields.get(b"if-match")
    if if_match is not None:
        if not exists:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        if current is not None and not etag_listed(if_match, current.etag):
            raise _failed("If-Match")


def requested_range(fields: dict[bytes, bytes], version: Version) -> Interval | None:
    """The single range to send, or None for the whole object; raises S3Error 416.

    Several ranges, other units and malformed ranges are ignored; so is the range of an If-Range that does not match.
    """
    value = fields.get(b"range")
    if value is None:
        return None
    match = _RANGE(value)
    if match is None or not _if_range_holds(fields.get(b"if-range"), version):
        return None
    first, last = match.groups()
    size = version.size
    if not first:
        if not last:
            return None
        length = int(last)
        if not length or not size:
            raise unsatisfiable(value, size)
        return Interval(max(0, size - length), size)
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise unsatisfiable(value, size)
    return Interval(start, min(size, int(last) + 1) if last else size)


def unsatisfiable(value: bytes, size: int) -> S3Error:
    """416 with what S3 puts into its document."""
    return S3Error(
        416,
        "InvalidRange",
        "The requested range is not satisfiable",
        headers=((b"Content-Range", b"bytes */%d" % size),),
        details=(("RangeRequested", value.decode("latin-1")), ("ActualObjectSize", str(size))),
    )


def _if_range_holds(value: bytes | None, version: Version) -> bool:
    if value is None:
        return True
    value = value.strip()
    if value.startswith(b"W/"):
        return False
    if value.startswith(b'"') or value == version.etag:
        return value.strip(b'"') == version.etag
    return http_date(value) == version.modified


def _date(fields: dict[bytes, bytes], name: bytes) -> float | None:
    value = fields.get(name)
    return None if value is None else http_date(value)


def _failed(name: str) -> S3Error:
    return S3Error(
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        details=(("Condition", name),),
    )
