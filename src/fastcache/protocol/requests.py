"""Request heads: read strictly, forwarded re-serialised (RFC 9112 sections 2 to 7, RFC 9110 sections 5 to 10).

Theory of operation. A head is read twice, by two readers that know nothing of each other: once here, by a grammar
narrower than RFC 9112 with no leniency left in it, and once by httptools, the framing authority. A request goes on only
when both read the same method, target, fields and end of message. Whatever one of them understands differently could
be understood differently by an origin too, and that difference is what request smuggling is made of.
Each head gets a parser of its own, so that no state of one message reaches another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httptools

from fastcache._core.collected import Collected
from fastcache._core.fields import render_fields, split_fields, values_by_name
from fastcache.errors import RequestError
from fastcache.model import Headers
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bounds of a request head. A larger one is refused before it is parsed."""

    bytes: int = 64 * 1024
    fields: int = 100
    target: int = 8 * 1024
    method: int = 32


DEFAULT_LIMITS: Final = HeadLimits()
MAX_CONTENT_LENGTH: Final = 2**63 - 1

_REQUEST_LINE = re.compile(rb"([^ \r\n]*) ([^ \r\n]*) (HTTP/[0-9]+(?:\.[0-9]+)?)")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[\x21\x22\x24-\x7e]+")
"""Visible ASCII without ``#``: a fragment is never sent (RFC 9112 section 3.2)."""
_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"(?i:(https?)://)([^/?]*)(.*)", re.DOTALL)
_DIGITS = re.compile(rb"[0-9]+")

_SINGLE = frozenset(
    {
        b"authorization",
        b"range",
        b"if-range",
        b"x-amz-date",
        b"x-amz-content-sha256",
        b"expect",
        b"if-modified-since",
        b"if-unmodified-since",
    }
)
"""Fields whose second occurrence would leave it to each server which one counts."""

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""RFC 9110 section 7.6.1, and Proxy-Authorization, which is ours (section 11.7.2)."""

_END_TO_END = frozenset({b"host", b"authorization", b"range", b"expect", b"transfer-encoding"})
_END_TO_END_PREFIXES = (b"x-amz-", b"if-", b"content-")
"""Names that Connection must not list: removing them would change what was signed, asked or framed (SEMANTICS 22)."""

_NO_OPTIONS: frozenset[bytes] = frozenset()
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


Fields = Mapping[bytes, Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """One request without its body. ``repr`` shows neither target nor fields, which hold signatures."""

    method: bytes
    target: bytes = field(repr=False)
    """Raw, exactly as received."""
    http_10: bool
    headers: Headers = field(repr=False)
    """In order; names in the case received, values without surrounding white space."""
    framing: BodyFraming
    keep_alive: bool
    expect_continue: bool
    """The client waits for 100 (Continue) before it sends a body."""
    host: bytes
    """The Host field's value as received; empty only for HTTP/1.0 without one."""
    by_name: Fields = field(default_factory=dict, repr=False, compare=False)
    """The same values by lower-case name."""

    def get(self, lower_name: bytes) -> bytes | None:
        """The first value of a field, or None."""
        values = self.by_name.get(lower_name)
        return values[0] if values else None

    def get_all(self, lower_name: bytes) -> list[bytes]:
        """Every value of a field in order."""
        return list(self.by_name.get(lower_name, ()))

    @property
    def path(self) -> bytes:
        """The target in origin-form, path and query, still raw; ``*`` for the asterisk-form (RFC 9112 section 3.2)."""
        if self.target.startswith(b"/"):
            return self.target
        absolute = _ABSOLUTE.fullmatch(self.target)
        if absolute is None:
            return self.target
        rest = absolute[3]
        return rest if rest.startswith(b"/") else b"/" + rest


def parse_request_head(raw: bytes, limits: HeadLimits = DEFAULT_LIMITS) -> RequestHead:
    """Read exactly one head, its final CRLFCRLF included. One empty line before it is tolerated (RFC 9112 2.2).

    Raises RequestError with the status to answer. Its text names fields, never their values.
    """
    if len(raw) > limits.bytes:
        raise RequestError("The request head is too large", status=431, code="RequestHeaderSectionTooLarge")
    raw = raw.removeprefix(b"\r\n")
    line_ends = _check_octets(raw)
    line_end = raw.index(b"\r\n")
    method, target, http_10 = _request_line(raw[:line_end], limits)
    if line_ends - 2 > limits.fields:  # those of the request line and of the empty one
        raise RequestError("Too many header fields", status=431, code="RequestHeaderSectionTooLarge")
    headers = split_fields(raw, line_end + 2)
    if headers is None:
        raise RequestError("A header field is malformed", code="BadRequest")
    fields = values_by_name(headers)
    _check_single(fields)
    host = _host(fields, http_10)
    _check_target_form(method, target, host)
    options = _connection_options(fields.get(b"connection", ()))
    framing = _framing(fields, http_10)
    head = RequestHead(
        method=method,
        target=target,
        http_10=http_10,
        headers=headers,
        framing=framing,
        keep_alive=_keeps_alive(options, http_10),
        expect_continue=_expects_continue(fields) and not http_10 and framing not in _EMPTY_BODIES,
        host=host,
        by_name=fields,
    )
    _confirm(raw, head)
    return head


_EMPTY_BODIES = (NO_BODY, BodyFraming(Framing.LENGTH, 0))


def _check_octets(raw: bytes) -> int:
    """Refuse what lines cannot be told from: bare CR or LF, folding, NUL and other controls (RFC 9112 2.2, 5.2).

    Returns the number of line ends.
    """
    if not raw.endswith(b"\r\n\r\n") or raw.find(b"\r\n\r\n") != len(raw) - 4:
        raise RequestError("The request head does not end with one empty line", code="BadRequest")
    line_ends = raw.count(b"\r\n")
    if raw.count(b"\n") != line_ends or raw.count(b"\r") != line_ends:
        raise RequestError("A line of the request head does not end with CRLF", code="BadRequest")
    if len(raw.translate(None, _CONTROLS)) != len(raw):
        raise RequestError("The request head contains a control character", code="BadRequest")
    return line_ends


def _request_line(line: bytes, limits: HeadLimits) -> tuple[bytes, bytes, bool]:
    parts = _REQUEST_LINE.fullmatch(line)
    if parts is None:
        if len(line) > limits.target + limits.method:
            raise RequestError("The request target is too long", status=414, code="URITooLong")
        raise RequestError("The request line is malformed", code="BadRequest")
    method, target, version = parts.groups()
    if len(method) > limits.method or not _TOKEN.fullmatch(method):
        raise RequestError("The request method is malformed", code="BadRequest")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise RequestError("Only HTTP/1.0 and HTTP/1.1 are spoken", status=505, code="HTTPVersionNotSupported")
    if len(target) > limits.target:
        raise RequestError("The request target is too long", status=414, code="URITooLong")
    if not _TARGET.fullmatch(target):
        raise RequestError("The request target is malformed", code="InvalidURI")
    return method, target, version == b"HTTP/1.0"


def _check_single(fields: Fields) -> None:
    for name, values in fields.items():
        if len(values) > 1 and name in _SINGLE:
            raise RequestError("A header field that must be single is repeated", code="BadRequest")


def _host(fields: Fields, http_10: bool) -> bytes:
    """RFC 9112 section 3.2: 400 to a request without Host, with two, or with an invalid one."""
    values = fields.get(b"host", ())
    if not values and http_10:
        return b""
    if len(values) != 1:
        raise RequestError("Exactly one Host header field is needed", code="BadRequest")
    if not _HOST.fullmatch(values[0]):
        raise RequestError("The Host header field is malformed", code="BadRequest")
    return values[0]


def _check_target_form(method: bytes, target: bytes, host: bytes) -> None:
    """RFC 9112 section 3.2: origin-form, absolute-form that agrees with Host, and asterisk-form for OPTIONS."""
    if method == b"CONNECT":
        raise RequestError("CONNECT is not offered here", status=405, code="MethodNotAllowed")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise RequestError("The request target is neither a path nor a URI", code="InvalidURI")
    port = _DEFAULT_PORTS[absolute[1].lower()]
    authority = absolute[2].lower().removesuffix(port)
    if not _HOST.fullmatch(authority) or authority != host.lower().removesuffix(port):
        raise RequestError("The host of the request target is not that of the Host header field", code="BadRequest")


def _connection_options(values: Sequence[bytes]) -> frozenset[bytes]:
    """The names a Connection field lists, lower case; 400 when it names a field that belongs to the whole chain."""
    if not values:
        return _NO_OPTIONS
    options = frozenset(
        option for value in values for member in value.lower().split(b",") if (option := member.strip(b" \t"))
    )
    for option in options:
        if option in _END_TO_END or option.startswith(_END_TO_END_PREFIXES):
            raise RequestError("Connection names an end-to-end header field", code="BadRequest")
    return options


def _framing(fields: Fields, http_10: bool) -> BodyFraming:
    """RFC 9112 section 6.3, for requests, without its leniencies."""
    codings = fields.get(b"transfer-encoding", ())
    lengths = fields.get(b"content-length", ())
    if codings:
        if lengths:
            raise RequestError("Transfer-Encoding and Content-Length exclude each other", code="BadRequest")
        if http_10:
            raise RequestError("HTTP/1.0 has no Transfer-Encoding", code="BadRequest")
        return _transfer_coding(b",".join(codings))
    if not lengths:
        return NO_BODY
    if len(lengths) != 1 or not _DIGITS.fullmatch(lengths[0]) or len(lengths[0]) > 19:
        raise RequestError("Content-Length is not one decimal number", code="BadRequest")
    length = int(lengths[0])
    if length > MAX_CONTENT_LENGTH:
        raise RequestError("Content-Length is not one decimal number below 2**63", code="BadRequest")
    return BodyFraming(Framing.LENGTH, length)


def _transfer_coding(value: bytes) -> BodyFraming:
    codings = [coding.strip(b" \t") for coding in value.lower().split(b",")]
    if codings == [b"chunked"]:
        return BodyFraming(Framing.CHUNKED)
    if b"" in codings or codings.count(b"chunked") > 1:
        raise RequestError("Transfer-Encoding is malformed", code="BadRequest")
    raise RequestError("No transfer coding but chunked is understood", status=501, code="NotImplemented")


def _keeps_alive(options: frozenset[bytes], http_10: bool) -> bool:
    """RFC 9112 section 9.3; in doubt the connection is closed."""
    if b"close" in options:
        return False
    return not http_10 or b"keep-alive" in options


def _expects_continue(fields: Fields) -> bool:
    values = fields.get(b"expect", ())
    if not values:
        return False
    if values[0].lower() != b"100-continue":
        raise RequestError("Only 100-continue can be expected", status=417, code="ExpectationFailed")
    return True


def _confirm(raw: bytes, head: RequestHead) -> None:
    """Have httptools read the same head; any difference is a refusal."""
    witness = Collected()
    parser = httptools.HttpRequestParser(witness)
    upgrade = False
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade as signal:
        # Raised after the head: we never switch protocols, so the request is an ordinary one (RFC 9110 section 7.8).
        upgrade = True
        if signal.args[0] != len(raw):
            raise RequestError("The request head is ambiguous", code="BadRequest") from None
    except httptools.HttpParserInvalidMethodError:
        raise RequestError("The method is not known here", status=405, code="MethodNotAllowed") from None
    except httptools.HttpParserError:
        raise RequestError("The request head is malformed", code="BadRequest") from None
    same = (
        witness.head_complete
        and parser.get_method() == head.method
        and witness.url == head.target
        and tuple(witness.fields) == head.headers
        and parser.get_http_version() == ("1.0" if head.http_10 else "1.1")
        and (upgrade or witness.complete == (head.framing in _EMPTY_BODIES))
    )
    if not same:
        raise RequestError("The request head is ambiguous", code="BadRequest")


def forward_headers(head: RequestHead) -> Headers:
    """The fields to send on, in order and in their own case, without what concerned this connection only.

    Content-Length stays when it frames the body, Trailer when the body is chunked and so can have one; the caller adds
    the framing of its own connection for a chunked body.
    """
    named = _connection_options(head.get_all(b"connection"))
    dropped = _HOP_BY_HOP | named
    if head.framing.kind is not Framing.LENGTH:
        dropped |= {b"content-length"}
    if head.framing.kind is not Framing.CHUNKED:
        dropped |= {b"trailer"}
    if dropped.isdisjoint(head.by_name):
        return head.headers
    return tuple((name, value) for name, value in head.headers if name.lower() not in dropped)


def render_request_head(method: bytes, target: bytes, headers: Headers) -> bytes:
    """An HTTP/1.1 head from parts; ValueError when a part could break out of its place (never from parsed heads)."""
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise ValueError("not a method and a request target")
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, render_fields(headers))
