"""Response heads: what an origin's answer says, and how ours is written.

httptools is the authority on syntax, but it sees one head at a time and never a body: after the answer to a HEAD with
a Content-Length it would swallow the next response. What it lets through (HTTP/2.0 in a status line, odd transfer
codings, blanks behind values) is refused or trimmed here, and framing is decided by RFC 9112 section 6.3 alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import httptools

from fastcache._core.collected import Collected
from fastcache._core.fields import is_token, render_fields, values_by_name
from fastcache.errors import UpstreamProtocolError
from fastcache.model import Headers
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing

MAX_FIELDS = 100
"""Header fields of one response head."""

_MAX_LENGTH = 2**63 - 1
_DIGITS = re.compile(rb"[0-9]{1,19}\Z")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t -~\x80-\xff]*))?\r\n")
_FORBIDDEN_IN_VALUE = re.compile(rb"[\r\n\0]")

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Fields without which the content would be another one: a Connection header that names them is refused, not honoured.
_NEVER_NOMINATED = frozenset(
    {b"content-length", b"content-range", b"content-encoding", b"content-type", b"etag", b"last-modified"}
)

REASONS: dict[int, bytes] = {
    100: b"Continue",
    101: b"Switching Protocols",
    103: b"Early Hints",
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    203: b"Non-Authoritative Information",
    204: b"No Content",
    205: b"Reset Content",
    206: b"Partial Content",
    300: b"Multiple Choices",
    301: b"Moved Permanently",
    302: b"Found",
    303: b"See Other",
    304: b"Not Modified",
    307: b"Temporary Redirect",
    308: b"Permanent Redirect",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    406: b"Not Acceptable",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    409: b"Conflict",
    410: b"Gone",
    411: b"Length Required",
    412: b"Precondition Failed",
    413: b"Content Too Large",
    414: b"URI Too Long",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    417: b"Expectation Failed",
    421: b"Misdirected Request",
    422: b"Unprocessable Content",
    426: b"Upgrade Required",
    428: b"Precondition Required",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
    507: b"Insufficient Storage",
    508: b"Loop Detected",
}
"""Reason phrases of the statuses fastcache itself answers with (RFC 9110 section 15)."""


Fields = Mapping[bytes, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """One parsed response head. ``keep_alive`` is the peer's wish and false for close-delimited bodies."""

    status: int
    reason: bytes
    http_10: bool
    headers: Headers
    framing: BodyFraming
    keep_alive: bool
    by_name: Fields = field(repr=False, compare=False)
    """The values of ``headers`` by lower-case name."""

    def get(self, lower: bytes) -> bytes | None:
        """The first value of the field ``lower`` (a lower-case name), or None."""
        values = self.by_name.get(lower)
        return values[0] if values else None

    def get_all(self, lower: bytes) -> list[bytes]:
        """Every value of the field ``lower`` (a lower-case name), in order."""
        return list(self.by_name.get(lower, ()))


def parse_response_head(raw: bytes, request_method: bytes) -> ResponseHead:
    """Parse one head, its empty line included, that answers a request with ``request_method``.

    UpstreamProtocolError for anything that is not well-formed or whose body length could be read in two ways; its text
    names the rule and never holds a byte of the head.
    """
    line = _STATUS_LINE.match(raw)
    if line is None:
        raise UpstreamProtocolError("the origin's answer has no HTTP/1.x status line")
    if not raw.endswith(b"\r\n\r\n") or raw.find(b"\r\n\r\n") != len(raw) - 4 or _has_bare_line_end(raw):
        raise UpstreamProtocolError("the origin's answer has a malformed head")
    headers = _parse_fields(raw)
    fields = values_by_name(headers)
    http_10 = line[1] == b"0"
    status = int(line[2])
    framing = _body_framing(status, http_10, fields, request_method)
    wants_keep_alive = _wants_keep_alive(http_10, fields)
    return ResponseHead(
        status=status,
        reason=line[3] or b"",
        http_10=http_10,
        headers=headers,
        framing=framing,
        keep_alive=wants_keep_alive and framing.kind is not Framing.CLOSE,
        by_name=fields,
    )


def _has_bare_line_end(raw: bytes) -> bool:
    line_ends = raw.count(b"\r\n")
    return raw.count(b"\n") != line_ends or raw.count(b"\r") != line_ends


def _parse_fields(raw: bytes) -> Headers:
    collected = Collected()
    try:
        httptools.HttpResponseParser(collected).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # a 101: the head is whole, and whoever asked for no upgrade refuses it by its status
    except httptools.HttpParserError as error:
        raise UpstreamProtocolError(f"the origin's answer has a malformed head ({type(error).__name__})") from None
    if not collected.head_complete:
        raise UpstreamProtocolError("the origin's answer has a malformed head")
    if len(collected.fields) > MAX_FIELDS:
        raise UpstreamProtocolError(f"the origin's answer has more than {MAX_FIELDS} header fields")
    for name, _ in collected.fields:
        if not is_token(name):
            raise UpstreamProtocolError("the origin's answer has a malformed header name")
    return tuple(collected.fields)


def _body_framing(status: int, http_10: bool, fields: Fields, method: bytes) -> BodyFraming:
    """RFC 9112 section 6.3, with every case it calls faulty refused."""
    codings = fields.get(b"transfer-encoding", ())
    lengths = fields.get(b"content-length", ())
    if codings and (lengths or http_10):
        raise UpstreamProtocolError(
            "the origin's answer has a Transfer-Encoding beside a Content-Length or in HTTP/1.0"
        )
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise UpstreamProtocolError("the origin's answer has a transfer coding other than chunked")
    length = _content_length(lengths)
    if method == b"HEAD" or status < 200 or status in (204, 304):
        return NO_BODY
    if codings:
        return BodyFraming(Framing.CHUNKED)
    if length is not None:
        return BodyFraming(Framing.LENGTH, length)
    return BodyFraming(Framing.CLOSE)


def _content_length(values: Sequence[bytes]) -> int | None:
    if not values:
        return None
    if len(values) > 1 or not _DIGITS.match(values[0]) or int(values[0]) > _MAX_LENGTH:
        raise UpstreamProtocolError("the origin's answer has an unusable Content-Length")
    return int(values[0])


def _connection_options(fields: Fields) -> set[bytes]:
    """The members of all Connection fields, lower case (RFC 9110 section 7.6.1)."""
    return {option.strip(b" \t").lower() for value in fields.get(b"connection", ()) for option in value.split(b",")}


def _wants_keep_alive(http_10: bool, fields: Fields) -> bool:
    """RFC 9112 section 9.3."""
    options = _connection_options(fields)
    if options & _NEVER_NOMINATED:
        raise UpstreamProtocolError("the origin's Connection header names a field that belongs to the content")
    if b"close" in options:
        return False
    return not http_10 or b"keep-alive" in options


def render_response_head(status: int, reason: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """One HTTP/1.1 head with its empty line. ValueError for a name or value that could end a line early."""
    if not 100 <= status <= 999:
        raise ValueError("a status has three digits")
    if _FORBIDDEN_IN_VALUE.search(reason):
        raise ValueError("CR, LF or NUL in a reason phrase")
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, render_fields(headers))


def forward_response_headers(head: ResponseHead) -> Headers:
    """The end-to-end fields, in order and as written: no hop-by-hop field and none that Connection names.

    Content-Length stays where the origin sent one; a chunked body is framed anew by whoever sends it on.
    """
    dropped = _HOP_BY_HOP | _connection_options(head.by_name)
    if dropped.isdisjoint(head.by_name):
        return head.headers
    return tuple((name, value) for name, value in head.headers if name.lower() not in dropped)
