"""Several ranges of one request as ``multipart/byteranges`` (RFC 9110 sections 14.2, 14.6 and 15.3.7.2)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from fastcache._core.ranges import RangeSpec, Unsatisfiable, format_content_range
from fastcache.model import HeadRecord, Interval

_MANY = 16
"""More ranges than these must come in ascending order: out of it they are what RFC 9110 section 14.2 warns of."""


def chosen_ranges(field: RangeSpec, size: int) -> tuple[Interval, ...] | Unsatisfiable:
    """The satisfiable ranges in the order asked for. Empty when the field is ignored and the whole object is sent.

    Ignored are, after RFC 9110 section 14.2, more than two ranges that overlap, many out of order, and ranges that add
    up to no less than the object: whoever sends those gains nothing by an answer in pieces. How many there may be at
    most, the parser knows.
    """
    found = field.resolve_all(size)
    if isinstance(found, Unsatisfiable):
        return found
    ordered = sorted(found)
    reach, overlaps = 0, 0
    for interval in ordered:
        overlaps += interval.start < reach
        reach = max(reach, interval.end)
    out_of_order = any(right.start < left.start for left, right in pairwise(found))
    if overlaps > 1 or (out_of_order and len(found) > _MANY) or sum(interval.length for interval in found) >= size:
        return ()
    return found


def may_be_divided(record: HeadRecord) -> bool:
    """Whether an answer in several parts says what it is: Content-Encoding in its head would be taken to be that of
    the parts and their delimiters together."""
    return record.get(b"content-encoding") is None


@dataclass(frozen=True, slots=True)
class Multipart:
    """What stands around the ranges of a ``multipart/byteranges`` body."""

    content_type: bytes
    heads: tuple[bytes, ...]
    """The delimiter and the header area before each range."""
    closing: bytes
    length: int
    """Of the whole body."""


def multipart(intervals: tuple[Interval, ...], size: int, content_type: bytes | None, boundary: bytes) -> Multipart:
    """The frame of a body of ``intervals``. ``content_type`` is the object's; ``boundary`` must not be in the object
    (RFC 2046 section 5.1.1), so it has to be one that nobody could know."""
    described = b"" if content_type is None else b"Content-Type: " + content_type + b"\r\n"
    heads = tuple(
        b"%s--%s\r\n%sContent-Range: %s\r\n\r\n"
        % (b"\r\n" if index else b"", boundary, described, format_content_range(interval.start, interval.end, size))
        for index, interval in enumerate(intervals)
    )
    closing = b"\r\n--%s--\r\n" % boundary
    length = sum(map(len, heads)) + sum(interval.length for interval in intervals) + len(closing)
    return Multipart(b"multipart/byteranges; boundary=" + boundary, heads, closing, length)
