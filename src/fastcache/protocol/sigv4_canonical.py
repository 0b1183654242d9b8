"""The canonical request of Signature Version 4 (S3 API Reference, "Create a canonical request").

One reading only: the path is percent-decoded once and encoded again with S3's alphabet, and ``+`` in a query is a
space, as S3 itself reads it. A signature that only fits another reading of the same bytes is refused, because the key
that would be served is the one of *our* reading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote_from_bytes, unquote_to_bytes

Fields = Mapping[bytes, Sequence[bytes]]
"""The values of header fields by lower-case name, in order."""

_PLAIN_PATH = re.compile(rb"[A-Za-z0-9\-._~/]*").fullmatch
_PLAIN_VALUE = re.compile(rb"(?:[^ \t\r\n\v\f]+(?: [^ \t\r\n\v\f]+)*)?").fullmatch
_PLAIN_WORD = re.compile(rb"[A-Za-z0-9\-._~]*").fullmatch


class MissingSignedHeaderError(ValueError):
    """SignedHeaders names a field that the request does not carry; the argument is its lower-case name."""


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """``(path, query)`` of a request target (RFC 9112 section 3.2), both raw; absolute-form loses its authority."""
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        scheme, found, rest = path.partition(b"://")
        if found and scheme.isalpha():
            _, slash, tail = rest.partition(b"/")
            path = slash + tail
    return path or b"/", query


def encode(value: bytes) -> bytes:
    """Percent-encode everything but the unreserved characters of RFC 3986, as S3 wants query names and values."""
    if _PLAIN_WORD(value):
        return value
    return quote_from_bytes(value, safe="-_.~").encode("ascii")


def encode_path(path: bytes) -> bytes:
    """As ``encode``, but slashes stay; so do dots and empty segments (S3's rule)."""
    if _PLAIN_PATH(path):
        return path
    return quote_from_bytes(path, safe="/-_.~").encode("ascii")


def canonical_path(path: bytes) -> bytes:
    """The canonical URI: decoded once, encoded once."""
    return encode_path(unquote_to_bytes(path) if b"%" in path else path) or b"/"


def query_items(query: bytes) -> list[tuple[bytes, bytes]]:
    """Decoded names and values in order; ``+`` is a space and a name without ``=`` has an empty value."""
    items = []
    for piece in query.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            items.append((_decode_form(name), _decode_form(value)))
    return items


def canonical_query(query: bytes) -> bytes:
    """Names and values encoded and sorted; ``X-Amz-Signature`` left out."""
    if not query:
        return b""
    pairs = [(encode(name), encode(value)) for name, value in query_items(query) if name.lower() != b"x-amz-signature"]
    pairs.sort()
    return b"&".join(b"%b=%b" % pair for pair in pairs)


def canonical_headers(fields: Fields, signed: Sequence[bytes]) -> bytes:
    """One ``name:value`` line for each of ``signed`` (lower case, in the order given).

    Repeated fields are joined by commas, runs of white space become one space. Raises MissingSignedHeaderError.
    """
    lines = []
    for name in signed:
        values = fields.get(name)
        if not values:
            raise MissingSignedHeaderError(name.decode("ascii", "backslashreplace"))
        value = _folded(values[0]) if len(values) == 1 else b",".join(map(_folded, values))
        lines.append(b"%b:%b\n" % (name, value))
    return b"".join(lines)


def _folded(value: bytes) -> bytes:
    return value if _PLAIN_VALUE(value) else b" ".join(value.split())


def canonical_request(
    method: bytes, target: bytes, fields: Fields, signed: Sequence[bytes], payload_hash: bytes
) -> bytes:
    """The bytes whose SHA-256 is signed. ``fields`` are values by lower-case name; ``signed`` is sorted, lower case."""
    path, query = split_target(target)
    return b"\n".join(
        (
            method,
            canonical_path(path),
            canonical_query(query),
            canonical_headers(fields, signed),
            b";".join(signed),
            payload_hash,
        )
    )


def string_to_sign(timestamp: bytes, scope: bytes, request: bytes) -> bytes:
    """What the signing key signs: algorithm, time, scope and the hash of the canonical request."""
    digest = hashlib.sha256(request).hexdigest().encode("ascii")
    return b"\n".join((b"AWS4-HMAC-SHA256", timestamp, scope, digest))


def _decode_form(value: bytes) -> bytes:
    if b"+" in value:
        value = value.replace(b"+", b" ")
    return unquote_to_bytes(value) if b"%" in value else value
