"""``response-*``: header fields that a signed request puts in the place of the object's (SEMANTICS 25).

S3 takes them from signed requests only (API reference, GetObject). They are applied here only to a body whose use the
origin has just allowed to this very request, and what they made is never stored.
"""

from __future__ import annotations

from fastcache.model import Headers
from fastcache.protocol.query import QueryClass, QueryItem
from fastcache.protocol.requests import RequestHead

_FIELDS = {
    b"response-cache-control": b"Cache-Control",
    b"response-content-disposition": b"Content-Disposition",
    b"response-content-encoding": b"Content-Encoding",
    b"response-content-language": b"Content-Language",
    b"response-content-type": b"Content-Type",
    b"response-expires": b"Expires",
}


def response_overrides(query: QueryClass) -> Headers:
    """The fields that the query's ``response-*`` names stand for."""
    return tuple((_FIELDS[item.name], item.value) for item in query.overrides)


def may_override(head: RequestHead, query: QueryClass) -> bool:
    """Whether the overrides can be applied here: a signed GET, and values that every server reads alike."""
    signed = head.get(b"authorization") is not None or query.presigned
    return head.method == b"GET" and signed and all(_one_reading(item) for item in query.overrides)


def _one_reading(item: QueryItem) -> bool:
    """Not empty, no ``+`` that may be a space, no ``;`` that may end it, and nothing a field value cannot hold."""
    value = item.value
    if not value or b"+" in item.value_raw or b";" in item.value_raw or value != value.strip():
        return False
    return all(0x20 <= byte < 0x7F for byte in value)


def with_overrides(headers: Headers, overrides: Headers) -> Headers:
    """``headers`` with the ``overrides`` in the place of the fields of their names."""
    replaced = {name.lower() for name, _ in overrides}
    return tuple((name, value) for name, value in headers if name.lower() not in replaced) + overrides
