"""A GET or HEAD of an object, reduced to what decides how it is answered."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastcache._core.ranges import RangeSpec
from fastcache.model import Headers, Interval, ObjectId

_BEYOND_ANY_OBJECT = 1 << 63
"""One past the greatest position a RangeSpec can hold."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The client's own preconditions, raw field values (RFC 9110 section 13.1)."""

    if_match: bytes | None = None
    if_none_match: bytes | None = None
    if_modified_since: bytes | None = None
    if_unmodified_since: bytes | None = None
    if_range: bytes | None = None


CONDITION_FIELDS = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"if-range"})
"""The fields that Conditions are made of."""
NO_CONDITIONS = Conditions()


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """``range`` is a single satisfiable-looking range; anything else in the Range field means the whole object, as S3
    answers it (an invalid field is ignored, several ranges are not supported), unless ``ranges`` says otherwise."""

    method: bytes
    object_id: ObjectId
    range: RangeSpec | None
    conditions: Conditions
    checksum_mode: bool
    must_ask: bool
    """The origin must see this very request, whatever a TTL says (SEMANTICS 19, 21)."""
    range_field_sent: bool = False
    """A Range field of any form goes to the origin, so a 206 is a legitimate answer."""
    may_ask_for_part: bool = False
    """A Range and an If-Match of ours may go out with this request."""
    part: int | None = None
    """``partNumber``: the bytes of one part, wherever the origin says they lie (SEMANTICS 26)."""
    overrides: Headers = ()
    """Header fields that ``response-*`` puts in the place of the object's (SEMANTICS 25)."""
    ranges: RangeSpec | None = None
    """Several ranges, where a hit may answer them as ``multipart/byteranges`` (SEMANTICS 27)."""

    def absolute_interval(self) -> Interval | None:
        """The interval asked for, as far as it can be told without the object's size; the end may lie past it."""
        if self.range is None or self.range.first is None:
            return None
        end = self.range.last + 1 if self.range.last is not None else _BEYOND_ANY_OBJECT
        return Interval(self.range.first, end)

    def of(self, interval: Interval) -> ReadRequest:
        """The same read for just these bytes."""
        return replace(self, range=RangeSpec(interval.start, interval.end - 1, None), range_field_sent=True)

    def touches(self, interval: Interval) -> bool:
        """Whether the answer holds some byte of ``interval``, as far as that can be told without the object's size."""
        if self.part is not None:
            return False
        if self.range is None:
            return True
        mine = self.absolute_interval()
        return mine is not None and mine.start < interval.end and interval.start < mine.end

    def is_within(self, other: ReadRequest) -> bool:
        """Whether the answer to ``other`` holds every byte of the answer to this one, judged before either size is
        known."""
        if self.part is not None or other.part is not None:
            return self.part == other.part  # where a part lies nobody knows before the answer
        if other.range is None or other.range == self.range:
            return True
        mine, theirs = self.absolute_interval(), other.absolute_interval()
        return mine is not None and theirs is not None and theirs.contains(mine)
