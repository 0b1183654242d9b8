"""What a request says, made safe for a log: secrets masked, everything that could forge a line escaped.

Secrets are recognised by their names, in any case, with any of their characters percent-encoded any number of times
(``X%2DAmz%2DSignature``), because a name that the origin will not accept may still stand before a real signature.
When in doubt the mask covers more, never less. The names are those of "Authenticating Requests: Using Query Parameters
(AWS Signature Version 4)" in the S3 API reference, of signature version 2, and of other makers' presigned URLs.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

MASK: Final = "***"
_MASK: Final = MASK.encode()

# Words of a name, in lower case; between two of them may stand nothing, a hyphen, an underscore or a space.
_SECRET_NAMES: Final = (
    "signature",  # X-Amz-, X-Goog-, X-OSS- and version 2's bare one: names are matched at their end
    "security token",
    "session token",
    "access token",
    "id token",
    "auth token",
    "identity token",
    "secret access key",
    "secret key",
    "customer key",  # SSE-C, of the object and of a copy's source
    "password",
    "passwd",
)
_KEY_ID_NAMES: Final = ("credential", "access key id", "access id")
_LINE_NAMES: Final = ("authorization", "cookie")
"""Headers whose whole value is secret; names are matched at their end, so ``Proxy-`` and ``Set-`` are covered."""
_SHORT_NAMES: Final = frozenset((b"sig", b"pwd", b"jwt"))
"""Too short to be looked for inside a name: a whole parameter's name only."""

_DECODINGS: Final = 8
"""Rounds of percent-decoding when a parameter's name is compared; a name that still changes then is called secret."""


def _encoded(character: str) -> str:
    """A pattern for one character, plain or percent-encoded, encodings of encodings included."""
    codes = "|".join(sorted({f"{ord(c):02X}" for c in (character.lower(), character.upper())}))
    return f"(?:{re.escape(character)}|%(?:25)*(?:{codes}))"


def _names(names: tuple[str, ...]) -> str:
    joint = f"(?:{_encoded('-')}|{_encoded('_')}|{_encoded(' ')}|\\+)?"
    return "(?:" + "|".join(joint.join("".join(map(_encoded, word)) for word in name.split()) for name in names) + ")"


# Between name and value: as in a query, a header, JSON, and the repr of a dict or of a tuple of bytes.
_SEPARATOR: Final = rf"""["']?\s*(?:{_encoded("=")}|{_encoded(":")}|(?<=["'])\s*,)\s*+(?:b(?=["']))?"""

# In a target a value ends at '&' and nowhere else.
_WIRE: Final = re.compile(
    f"({_names(_SECRET_NAMES + _KEY_ID_NAMES + _LINE_NAMES)}{_SEPARATOR})[^&]+".encode(), re.IGNORECASE | re.DOTALL
)
# In prose it also ends at white space, quotes and commas, or, when it began with a quote, at that quote.
_TEXT: Final = re.compile(
    rf"""({_names(_SECRET_NAMES + _KEY_ID_NAMES)}{_SEPARATOR})(?:(["'])(?:\\.|(?!\2).)*|[^\s&"',]+)""",
    re.IGNORECASE | re.DOTALL,
)
# A setting of fastcache's own is called authorization too; its three values are no secrets.
_TEXT_LINE: Final = re.compile(
    rf"""({_names(_LINE_NAMES)}{_SEPARATOR})(?!(?:revalidate|verify|none)(?:[\s"',;.)]|$))[^\r\n]+""", re.IGNORECASE
)
_USERINFO: Final = re.compile(r"(://)[^/?#\s]*@")
_USERINFO_WIRE: Final = re.compile(rb"(://)[^/?#]*@")
_SIGNATURE_V2: Final = re.compile(r"\bAWS [^\s:]+:[^\s\"']+")
_KEY_ID: Final = re.compile(r"\b((?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,124})\b")
_NOT_WORD: Final = re.compile(rb"[^a-z0-9]+")
_MAY_ASSIGN: Final = re.compile(rb"[=:%,]")

_COMPACT_SECRETS: Final = tuple(name.replace(" ", "").encode() for name in _SECRET_NAMES + _LINE_NAMES)
_COMPACT_KEY_IDS: Final = tuple(name.replace(" ", "").encode() for name in _KEY_ID_NAMES)

_ESCAPES: Final = {
    code: chr(code) if 0x20 <= code <= 0x7E and chr(code) not in '"\\' else f"\\x{code:02x}" for code in range(256)
}


def escape(value: bytes) -> str:
    """Printable ASCII without quotes and backslashes; every other byte as ``\\xNN``. Masks nothing."""
    return value.decode("latin-1").translate(_ESCAPES)


def safe_target(target: bytes) -> str:
    """A request target (any form of RFC 9112 §3.2) or a URL for a log line: secrets masked, the rest escaped."""
    path, mark, query = target.partition(b"?")
    path = _mask_wire(path)
    if mark:
        query = b"&".join(map(_safe_parameter, query.split(b"&")))
    return escape(path + mark + query)


def safe_header(name: bytes, value: bytes) -> str:
    """A header's value for a log line: all of it masked when the header is a secret one, else as ``safe_target``."""
    return MASK if _is_secret(_compact(name)) else safe_target(value)


def safe_key(key: bytes) -> str:
    """A decoded object key, percent-encoded as in S3's access log, masked where a query was encoded into it."""
    return quote_from_bytes(_mask_wire(key), safe="/*-._~!$'()+,:;=@&")


def safe_text(text: str) -> str:
    """Prose (a log message, a traceback) with the secrets in it masked. Escapes nothing: line ends stay."""
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    text = _TEXT_LINE.sub(rf"\1{MASK}", text)
    text = _TEXT.sub(rf"\1\2{MASK}", text)
    text = _SIGNATURE_V2.sub(f"AWS {MASK}", text)
    return _KEY_ID.sub(lambda match: match[1][:4] + MASK, text)


def masked_key_id(key_id: bytes) -> str:
    """The first four characters of an access key id (they tell its kind), the rest masked."""
    head = key_id[:4]
    return (head.decode() if len(key_id) > 8 and head.isalnum() else "") + MASK


def _mask_wire(value: bytes) -> bytes:
    if not _MAY_ASSIGN.search(value):
        return value
    value = _USERINFO_WIRE.sub(rb"\1" + _MASK + b"@", value)
    return _WIRE.sub(rb"\1" + _MASK, value)


def _safe_parameter(parameter: bytes) -> bytes:
    name, mark, value = parameter.partition(b"=")
    compact = _compact(name)
    if compact is not None and compact.endswith(_COMPACT_KEY_IDS):
        masked = masked_key_id(value).encode()
    elif _is_secret(compact) or compact in _SHORT_NAMES:
        masked = _MASK
    else:
        return _mask_wire(parameter)
    return _mask_wire(name) + mark + (masked if value else b"")


def _is_secret(compact: bytes | None) -> bool:
    return compact is None or compact.endswith(_COMPACT_SECRETS)


def _compact(name: bytes) -> bytes | None:
    """``name`` decoded until it changes no more, its letters and digits in lower case; None when it never settles."""
    for _ in range(_DECODINGS):
        decoded = unquote_to_bytes(name)
        if decoded == name:
            return _NOT_WORD.sub(b"", name.lower())
        name = decoded
    return None
