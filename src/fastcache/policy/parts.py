"""Parts of an object that was uploaded in parts, as ``?partNumber=`` reads them (SEMANTICS 26).

An answer about a part never describes the object: it places bytes, and it says where the part lies.
"""

from __future__ import annotations

from itertools import pairwise

from fastcache.model import Generation, HeadRecord, Interval, Part, unquoted_etag
from fastcache.protocol.responses import ResponseHead

_PARTS_COUNT = b"x-amz-mp-parts-count"
_MOST_PARTS = 10_000
"""Parts of a multipart upload are numbered 1 to 10,000 (S3 User Guide, multipart upload limits)."""


def is_part_scoped(response: ResponseHead) -> bool:
    """Whether an answer says itself that it is about a part."""
    return response.get(_PARTS_COUNT) is not None


def parts_count(response: ResponseHead) -> int | None:
    """``x-amz-mp-parts-count``; 0 without one, None when it is no count of parts."""
    values = response.get_all(_PARTS_COUNT)
    if not values:
        return 0
    value = values[0]
    if len(values) != 1 or not value.isdigit() or len(value) > 5 or not 1 <= int(value) <= _MOST_PARTS:
        return None
    return int(value)


def part_fits(number: int, interval: Interval, count: int, generation: Generation, known: Generation | None) -> bool:
    """Whether part ``number`` can lie at ``interval`` of ``generation``, whose ETag must be the object's.

    ``count`` is 0 when the answer named none: then the object was not uploaded in parts, and its only part is all of
    it. Some servers answer with the ETag of the part, which must not be taken for the object's: it is trusted when it
    ends in the count, as S3 makes it (S3 User Guide, checking object integrity), or when a whole read gave the same.
    """
    if count == 0:
        return number == 1 and interval == Interval(0, generation.size)
    if (
        number > count
        or (number == 1) != (interval.start == 0)
        or (number == count) != (interval.end == generation.size)
    ):
        return False
    return generation == known or unquoted_etag(generation.etag).endswith(b"-%d" % count)


def merged_parts(fresh: HeadRecord, known: HeadRecord) -> tuple[tuple[Part, ...], int]:
    """The parts and their count that two heads of one content know together; ``fresh`` alone where they disagree."""
    if not known.parts or (fresh.parts and fresh.parts_count != known.parts_count):
        return fresh.parts, fresh.parts_count
    both = {part.number: part for part in known.parts} | {part.number: part for part in fresh.parts}
    ordered = tuple(sorted(both.values()))
    if any(left.interval.end > right.interval.start for left, right in pairwise(ordered)):
        return fresh.parts, fresh.parts_count
    return ordered, known.parts_count
