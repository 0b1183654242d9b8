"""The plain form of a GET or HEAD as httptools and the grammar of ``protocol.requests`` read it.

What ``_core.recogniser`` does in compiled code, by other means: with ``hit.parser: httptools`` the hit branch asks
here, and tests hold the two against each other.
"""

from __future__ import annotations

from fastcache.errors import RequestError
from fastcache.protocol.requests import HeadLimits, RequestHead, parse_request_head

PlainFields = tuple[
    bool, bytes, bytes, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None, bool
]
"""HEAD and not GET; Host; path; Range; If-Range; the four conditions of RFC 9110 section 13.1 in the order of 13.2.2
(If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since); whether checksums are asked for."""

_COVERED_AMZ = frozenset(
    {
        b"x-amz-date",
        b"x-amz-content-sha256",
        b"x-amz-checksum-mode",
        b"x-amz-security-token",
        b"x-amz-user-agent",
        b"x-amz-api-version",
    }
)
_NOT_COVERED = frozenset(
    {
        b"cache-control",
        b"cookie",
        b"expect",
        b"http2-settings",
        b"keep-alive",
        b"origin",
        b"pragma",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that may change the answer or the connection: whoever sends one is the engine's (SEMANTICS 20)."""
_ONCE = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-length",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"x-amz-checksum-mode",
        b"x-amz-content-sha256",
        b"x-amz-date",
        b"x-amz-security-token",
    }
)
_NEUTRAL_QUERY = b"?x-id=GetObject"


def plain_fields(raw: bytes, limits: HeadLimits, *, any_query: bool = False) -> PlainFields | None:
    """The fields that decide about a hit, None for a head that is not plain. ``any_query``: whoever checks the
    signature judges the query too."""
    try:
        head = parse_request_head(raw, limits)
    except RequestError:
        return None
    path = _plain_path(head, any_query)
    if path is None or raw.startswith(b"\r\n") or b"\t" in raw or not raw.isascii() or not _fields_are_plain(head):
        return None
    mode = head.get(b"x-amz-checksum-mode")
    return (
        head.method == b"HEAD",
        head.host,
        path,
        head.get(b"range"),
        head.get(b"if-range"),
        head.get(b"if-match"),
        head.get(b"if-none-match"),
        head.get(b"if-modified-since"),
        head.get(b"if-unmodified-since"),
        mode is not None and mode.lower() == b"enabled",
    )


def _plain_path(head: RequestHead, any_query: bool) -> bytes | None:
    if head.method not in (b"GET", b"HEAD") or head.http_10 or not head.target.startswith(b"/"):
        return None
    if any_query:
        return head.target.partition(b"?")[0]
    path = head.target.removesuffix(_NEUTRAL_QUERY) if head.method == b"GET" else head.target
    return None if b"?" in path else path


def _fields_are_plain(head: RequestHead) -> bool:
    names = [name.lower() for name, _ in head.headers]
    for name in names:
        if name.startswith((b"x-amz-", b"proxy-")) and name not in _COVERED_AMZ:
            return False
        if name in _NOT_COVERED or (name in _ONCE and names.count(name) > 1):
            return False
    length, connection = head.get(b"content-length"), head.get(b"connection")
    return (length is None or length == b"0") and (connection is None or connection.lower() == b"keep-alive")
