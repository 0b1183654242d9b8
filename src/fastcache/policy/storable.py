"""Whether an origin's answer may be stored, and as what (SEMANTICS 17-19, 23, 24).

Unknown is never stored. Bytes are placed by the response's Content-Range alone, checked against the request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastcache._core.conditions import is_strong_etag
from fastcache._core.ranges import ContentRange, parse_content_range
from fastcache.model import ChecksumState, Generation, Headers, HeadRecord, Interval, Part, unquoted_etag
from fastcache.policy.parts import is_part_scoped, merged_parts, part_fits, parts_count
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
    allow_kms: bool = False,
    part: int | None = None,
    known: Generation | None = None,
) -> Storable | NotStorable:
    """Judge the answer to a GET; only a 200 or 206 can be stored.

    ``requested`` is the absolute interval when the request named one that does not depend on the size, else None;
    ``at`` is wall-clock seconds; ``honour_no_store`` applies the object's Cache-Control (modes with a TTL, SEMANTICS
    21). ``part`` is the ``partNumber`` asked for, ``known`` the generation a read of the object itself told.
    """
    if response.status not in (200, 206):
        return NotStorable(b"status")
    reason = _refusal(response, honour_no_store, allow_kms)
    if reason is not None:
        return NotStorable(reason)
    if is_part_scoped(response) and part is None:
        return NotStorable(b"part")
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
        placed = _placement(response, length, requested, range_asked or part is not None)
        if isinstance(placed, NotStorable):
            return placed
        size, interval = placed
    state, checksums = checksums_of(response.headers, whole_object=response.status == 200, mode_asked=checksum_mode)
    generation = Generation(etag, size)
    record = HeadRecord(generation, storable_headers(response.headers), state, checksums, at)
    if part is None:
        return Storable(record, interval)
    count = parts_count(response)
    # A 200 can be the part alone or, from a server that does not know parts, the whole object.
    if response.status != 206 or count is None or not part_fits(part, interval, count, generation, known):
        return NotStorable(b"part")
    return Storable(replace(record, parts=(Part(part, interval),), parts_count=count), interval)


def judge_head(
    response: ResponseHead, *, checksum_mode: bool, at: float, honour_no_store: bool, allow_kms: bool = False
) -> HeadRecord | NotStorable:
    """Judge a 200 to a HEAD without Range and partNumber: it describes the whole object and has no body."""
    if response.status != 200:
        return NotStorable(b"status")
    reason = _refusal(response, honour_no_store, allow_kms)
    if reason is not None:
        return NotStorable(reason)
    if is_part_scoped(response):
        return NotStorable(b"part")
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


def judge_written(response: ResponseHead, size: int, *, at: float, allow_kms: bool) -> HeadRecord | NotStorable:
    """Judge the answer to a PutObject whose body had ``size`` bytes: the record names the generation that it made, and
    has no header set yet (SEMANTICS 32).

    What the answer says of checksums, S3 says to reads, too: those that were stored with the object.
    """
    if response.status not in (200, 201):
        return NotStorable(b"status")
    reason = _refusal(response, honour_no_store=False, allow_kms=allow_kms)
    if reason is not None:
        return NotStorable(reason)
    etag = _strong_etag(response)
    if etag is None:
        return NotStorable(b"etag")
    told = tuple((n, v) for n, v in response.headers if n.lower().startswith(b"x-amz-checksum-"))
    state = ChecksumState.KNOWN if told else ChecksumState.UNKNOWN
    return HeadRecord(Generation(etag, size), (), state, told, at)


def judge_completed(
    response: ResponseHead, etag: bytes | None, parts: tuple[Part, ...], *, at: float, allow_kms: bool
) -> HeadRecord | NotStorable:
    """Judge the answer to a CompleteMultipartUpload: ``etag`` is its document's, ``parts`` are what it was to join
    (one at least).

    Where they lie is told to readers of parts only if the ETag ends in their number, as S3 makes it, and they are
    numbered from one: a server may number them anew.
    """
    if response.status != 200:
        return NotStorable(b"status")
    reason = _refusal(response, honour_no_store=False, allow_kms=allow_kms)
    if reason is not None:
        return NotStorable(reason)
    if etag is None or not is_strong_etag(etag):
        return NotStorable(b"etag")
    size, count = parts[-1].interval.end, len(parts)
    numbered = [part.number for part in parts] == list(range(1, count + 1))
    if not numbered or not unquoted_etag(etag).endswith(b"-%d" % count):
        parts, count = (), 0
    return HeadRecord(Generation(etag, size), (), stored_at=at, parts=parts, parts_count=count)


def merge_known(fresh: HeadRecord, present: HeadRecord | None) -> HeadRecord:
    """``fresh`` with what else is known of the same put of the same content: checksums when the new answer could not
    tell, and the places of parts (SEMANTICS 6, 18, 26). ``fresh`` itself when that adds nothing."""
    if present is None or present.generation != fresh.generation:
        return fresh
    if not present.is_headerless and (
        present.last_modified != fresh.last_modified or present.version_id != fresh.version_id
    ):
        return fresh
    state, checksums = fresh.checksum_state, fresh.checksums
    if state is ChecksumState.UNKNOWN:
        state, checksums = present.checksum_state, present.checksums
    parts, count = merged_parts(fresh, present)
    if (state, checksums, parts, count) == (fresh.checksum_state, fresh.checksums, fresh.parts, fresh.parts_count):
        return fresh
    return replace(fresh, checksum_state=state, checksums=checksums, parts=parts, parts_count=count)


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


def is_kms(encryption: bytes | None) -> bool:
    """Whether ``x-amz-server-side-encryption`` says that a key of KMS was needed: ``aws:kms`` or ``aws:kms:dsse``."""
    return encryption is not None and encryption.lower().startswith(b"aws:kms")


def _refusal(response: ResponseHead, honour_no_store: bool, allow_kms: bool) -> bytes | None:
    if not allow_kms and is_kms(response.get(b"x-amz-server-side-encryption")):
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
    return None


def _vary_is_known(value: bytes, known: frozenset[bytes]) -> bool:
    return all(member.strip().lower() in known for member in value.split(b",") if member.strip())


def _forbids_storing(value: bytes) -> bool:
    directives = {part.split(b"=", 1)[0].strip().lower() for part in value.split(b",")}
    return bool(directives & {b"no-store", b"private"})


def without_headers(headers: Headers, names: frozenset[bytes]) -> Headers:
    """``headers`` less those named (lower case)."""
    return tuple((name, value) for name, value in headers if name.lower() not in names)
