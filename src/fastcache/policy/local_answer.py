"""What a read gets when the stored head is known to be current: status, interval and the fields that depend on both."""

from __future__ import annotations

from dataclasses import dataclass

from fastcache._core.conditions import evaluate, if_range_matches
from fastcache._core.ranges import Unsatisfiable, format_content_range, format_unsatisfied_range
from fastcache.model import Headers, HeadRecord, Interval
from fastcache.policy.byteranges import chosen_ranges, may_be_divided
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.storable import is_kms


@dataclass(frozen=True, slots=True)
class LocalAnswer:
    """``interval`` is what a body consists of; None for answers without stored bytes (304, 412, 416)."""

    status: int
    interval: Interval | None
    headers: Headers = ()
    ranges: tuple[Interval, ...] = ()
    """What a ``multipart/byteranges`` body consists of; ``interval`` is then all that lies between them."""

    @property
    def whole_object(self) -> bool:
        return self.status == 200


def can_answer(read: ReadRequest, record: HeadRecord, *, allow_kms: bool) -> bool:
    """Whether the record tells what ``read`` gets, and the rules in force now let it."""
    if read.part is not None and record.part(read.part) is None:
        return False
    return allow_kms or not is_kms(record.get(b"x-amz-server-side-encryption"))


def answer_locally(read: ReadRequest, record: HeadRecord, *, last_modified: bytes | None = None) -> LocalAnswer:
    """Evaluate conditions (RFC 9110 section 13.2.2), If-Range and Range (section 14) against the current head.

    ``last_modified`` overrides the stored one (from a 304 to this very request). Raises ValueError for a part whose
    place is not known: ask ``can_answer`` first.
    """
    conditions = read.conditions
    modified = last_modified or record.last_modified
    etag = record.generation.etag
    verdict = evaluate(
        read.method,
        etag,
        modified,
        conditions.if_match,
        conditions.if_none_match,
        conditions.if_modified_since,
        conditions.if_unmodified_since,
    )
    if verdict:
        return LocalAnswer(verdict, None)
    size = record.generation.size
    if read.part is not None:
        return _answer_part(read.part, record)
    wanted, several = read.range, read.ranges
    holds = conditions.if_range is None or if_range_matches(conditions.if_range, etag, modified)
    if wanted is not None and holds:
        interval = wanted.resolve(size)
        if isinstance(interval, Unsatisfiable):
            return _unsatisfied(size)
        return _answer_interval(interval, size)
    if several is not None and holds and may_be_divided(record):
        found = chosen_ranges(several, size)
        if isinstance(found, Unsatisfiable):
            return _unsatisfied(size)
        if len(found) == 1:
            return _answer_interval(found[0], size)
        if found:
            around = Interval(min(found).start, max(interval.end for interval in found))
            return LocalAnswer(206, around, ranges=found)
    whole = Interval(0, size)
    return LocalAnswer(200, whole, (_length(whole),))


def _answer_interval(interval: Interval, size: int) -> LocalAnswer:
    field = format_content_range(interval.start, interval.end, size)
    return LocalAnswer(206, interval, ((b"Content-Range", field), _length(interval)))


def _unsatisfied(size: int) -> LocalAnswer:
    return LocalAnswer(416, None, ((b"Content-Range", format_unsatisfied_range(size)),))


def _answer_part(number: int, record: HeadRecord) -> LocalAnswer:
    interval = record.part(number)
    if interval is None:
        raise ValueError(f"it is not known where part {number} lies")
    headers: Headers = (
        (b"Content-Range", format_content_range(interval.start, interval.end, record.generation.size)),
        _length(interval),
    )
    if record.parts_count:
        headers += ((b"x-amz-mp-parts-count", b"%d" % record.parts_count),)
    return LocalAnswer(206, interval, headers)


def _length(interval: Interval) -> tuple[bytes, bytes]:
    return (b"Content-Length", b"%d" % interval.length)
