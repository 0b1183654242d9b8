"""Hits in the access log: what the compiled branch noted down, as records like those of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from fastcache._core.hit_log import LoggedHit, records
from fastcache.engine.serving import REFUSALS
from fastcache.errors import RequestError
from fastcache.model import Result
from fastcache.observe.access_line import AccessRecord
from fastcache.protocol.requests import HeadLimits, parse_request_head
from fastcache.protocol.targets import Addressing, parse_target


def hit_records(taken: bytes, limits: HeadLimits, addressing: Addressing) -> Iterator[AccessRecord]:
    """The records in what ``HitLog.take`` gave. For any thread."""
    for hit in records(taken):
        yield _record(hit, limits, addressing)


def _record(hit: LoggedHit, limits: HeadLimits, addressing: Addressing) -> AccessRecord:
    head = parse_request_head(hit.head, limits)
    bucket = key = version = None
    try:
        target = parse_target(head, addressing)
    except RequestError:  # the names that are accepted have changed since
        pass
    else:
        bucket, key, version = target.bucket, target.key, target.version
    return AccessRecord(
        time=hit.wall - hit.total,
        remote=str(ip_address(hit.peer)) if hit.peer else "",
        request_id=f"{hit.request_id:016X}",
        method=head.method,
        target=head.target,
        bucket=bucket,
        key=key,
        version_id=version,
        status=hit.status,
        error_code=REFUSALS[hit.status][0] if hit.status in REFUSALS else None,
        bytes_sent=hit.sent,
        object_size=hit.size,
        total_seconds=hit.total,
        turnaround_seconds=hit.first_byte,
        referer=head.get(b"referer"),
        user_agent=head.get(b"user-agent"),
        host=head.host,
        result=_result(hit),
        origin_status=hit.origin_status,
        http_version="HTTP/1.1",
    )


def _result(hit: LoggedHit) -> Result:
    if not hit.complete:
        return Result.ERROR
    return Result.HIT if hit.origin_status is None else Result.REVALIDATED
