"""The ``Cache-Status`` (RFC 9211) and ``X-Cache`` fields that every response carries."""

from __future__ import annotations

from fastcache.model import Headers, Result

CACHE_NAME = b"fastcache"

_FORWARD = {
    Result.MISS: b"uri-miss",
    Result.PARTIAL: b"partial",
    Result.PASS: b"bypass",
    Result.ERROR: b"bypass",
}


def cache_status_headers(
    result: Result,
    *,
    forward_reason: bytes | None = None,
    forward_status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl: int | None = None,
    detail: bytes | None = None,
) -> Headers:
    """Both fields for one response.

    ``forward_reason`` is an RFC 9211 section 2.2 token and overrides the result's usual one; ``detail`` is a token that
    says why something was not stored. ``ttl`` is the remaining freshness in seconds.
    """
    parts = [CACHE_NAME]
    if result is Result.HIT:
        parts.append(b"hit")
    elif result is Result.REVALIDATED:
        # RFC 9211 section 2.1: a hit that the origin validated is a forward with fwd-status=304.
        parts.append(b"fwd=" + (forward_reason or b"stale"))
    elif result is Result.COALESCED:
        parts.append(b"fwd=" + (forward_reason or b"uri-miss"))
        collapsed = True
    else:
        parts.append(b"fwd=" + (forward_reason or _FORWARD[result]))
    if forward_status is not None and result is not Result.HIT:
        parts.append(b"fwd-status=%d" % forward_status)
    if ttl is not None:
        parts.append(b"ttl=%d" % ttl)
    if stored:
        parts.append(b"stored")
    if collapsed:
        parts.append(b"collapsed")
    if detail is not None:
        parts.append(b"detail=" + detail)
    return ((b"Cache-Status", b"; ".join(parts)), (b"X-Cache", result.value.encode("ascii")))
