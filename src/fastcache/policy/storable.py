"""Whether an origin's answer may be stored, and as what (SEMANTICS 17-19, 23, 24).

Unknown is never stored. Bytes are placed by the response's Content-Range alone, checked against the request.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastcache._core.conditions import is_strong_etag
from fastcache._core.ranges import ContentRange, parse_content_range
from fastcache.model import ChecksumState, Generation, Headers, HeadRecord, Interval
from fastcache.policy.stored_headers import checksums_of, storable_headers
from fastcache.protocol.framing import Framing
from fastcache.protocol.responses import ResponseHead

_KNOWN_VARY = frozenset({b"origin", b"access-control-request-method", b"access-control-request-headers"})
_SSE_CUSTOMER = b"x-amz-server-side-encryption-customer-"


@dataclass(frozen=True, slots=True)
class Storable:
    """A body that may become extents: which generation, which bytes, under which head."""

    record: HeadRecord
    interval: Interval


@dataclass(frozen=True, slots=True)
class NotStorable:
    """``reason`` is a token for Cache-Status's detail and the metrics."""

    reason: bytes


def judge_body(
    response: ResponseHead,
    *,
    requested: Interval | None,
    range_asked: bool,
    checksum_mode: bool,
    at: float,
    honour_no_store: bool,
) -> Storable | NotStorable:
    """Judge the answer to a GET; only a 200 or 206 can be stored.

    ``requested`` is the absolute interval when the request named one that does not depend on the size, else None;
    ``at`` is wall-clock seconds; ``honour_no_store`` applies the object's Cache-Control (modes with a TTL, SEMANTICS
    21).
    """
    if response.status not in (200, 206):
        return NotStorable(b"status")
    reason = _refusal(response, honour_no_store)
    if reason is not None:
        return NotStorable(reason)
    if response.framing.kind is not Framing.LENGTH:
        return NotStorable(b"length-unknown")
    length = response.framing.length
    etag = _strong_etag(response)
    if etag is None:
        return NotStorable(b"etag")
    if response.status == 200:
        if response.get(b"content-range") is not None:
            return NotStorable(b"content-range")
        size, interval = length, Interval(0, length)
    else:
        placed = _placement(response, length, requested, range_asked)
        if isinstance(placed, NotStorable):
            return placed
        size, interval = placed
    state, checksums = checksums_of(response.headers, whole_object=response.status == 200, mode_asked=checksum_mode)
    record = HeadRecord(Generation(etag, size), storable_headers(response.headers), state, checksums, at)
    return Storable(record, interval)


def judge_head(
    response: ResponseHead, *, checksum_mode: bool, at: float, honour_no_store: bool
) -> HeadRecord | NotStorable:
    """Judge a 200 to a HEAD without Range and partNumber: it describes the whole object and has no body."""
    if response.status != 200:
        return NotStorable(b"status")
    reason = _refusal(response, honour_no_store)
    if reason is not None:
        return NotStorable(reason)
    if response.get(b"content-range") is not None:
        return NotStorable(b"content-range")
    etag = _strong_etag(response)
    length = response.get(b"content-length")
    if etag is None:
        return NotStorable(b"etag")
    if length is None or not length.isdigit() or len(response.get_all(b"content-length")) != 1:
        return NotStorable(b"length-unknown")
    state, checksums = checksums_of(response.headers, whole_object=True, mode_asked=checksum_mode)
    return HeadRecord(Generation(etag, int(length)), storable_headers(response.headers), state, checksums, at)


def merge_checksums(fresh: HeadRecord, present: HeadRecord | None) -> HeadRecord:
    """Keep what is known of the same content's checksums when the new answer could not tell (SEMANTICS 6, 18)."""
    if (
        present is None
        or fresh.checksum_state is not ChecksumState.UNKNOWN
        or present.checksum_state is ChecksumState.UNKNOWN
        or present.generation != fresh.generation
        or present.last_modified != fresh.last_modified
        or present.version_id != fresh.version_id
    ):
        return fresh
    return HeadRecord(fresh.generation, fresh.headers, present.checksum_state, present.checksums, fresh.stored_at)


def _strong_etag(response: ResponseHead) -> bytes | None:
    """The one strong ETag. Of two, nobody can say which one names the bytes."""
    etags = response.get_all(b"etag")
    return etags[0] if len(etags) == 1 and is_strong_etag(etags[0]) else None


def _placement(
    response: ResponseHead, length: int, requested: Interval | None, range_asked: bool
) -> tuple[int, Interval] | NotStorable:
    if not range_asked:
        return NotStorable(b"range-not-asked")
    fields = response.get_all(b"content-range")
    if len(fields) != 1:
        return NotStorable(b"content-range")
    parsed = parse_content_range(fields[0])
    if not isinstance(parsed, ContentRange) or parsed.total is None:
        return NotStorable(b"content-range")
    interval = Interval(parsed.start, parsed.end)
    if interval.length != length:
        return NotStorable(b"content-range")
    if requested is not None and (
        interval.start != requested.start or interval.end != min(requested.end, parsed.total)
    ):
        return NotStorable(b"content-range")
    return parsed.total, interval


def _refusal(response: ResponseHead, honour_no_store: bool) -> bytes | None:
    encryption = response.get(b"x-amz-server-side-encryption")
    if encryption is not None and encryption.lower().startswith(b"aws:kms"):
        return b"kms"
    # MinIO names Accept-Encoding on every answer. An uncoded body is acceptable to whatever a client sends there, so it
    # may answer everybody; a coded one may not (RFC 9110 section 12.5.3).
    known = _KNOWN_VARY if response.get(b"content-encoding") else _KNOWN_VARY | {b"accept-encoding"}
    for name, value in response.headers:
        lower = name.lower()
        if lower.startswith(_SSE_CUSTOMER):
            return b"sse-c"
        if lower == b"vary" and not _vary_is_known(value, known):
            return b"vary"
        if lower == b"content-type" and value.lower().startswith(b"multipart/byteranges"):
            return b"multipart"
        if lower == b"cache-control" and honour_no_store and _forbids_storing(value):
            return b"cache-control"
    if response.get(b"x-amz-mp-parts-count") is not None:
        return b"part"
    return None


def _vary_is_known(value: bytes, known: frozenset[bytes]) -> bool:
    return all(member.strip().lower() in known for member in value.split(b",") if member.strip())


def _forbids_storing(value: bytes) -> bool:
    directives = {part.split(b"=", 1)[0].strip().lower() for part in value.split(b",")}
    return bool(directives & {b"no-store", b"private"})


def without_headers(headers: Headers, names: frozenset[bytes]) -> Headers:
    """``headers`` less those named (lower case)."""
    return tuple((name, value) for name, value in headers if name.lower() not in names)
