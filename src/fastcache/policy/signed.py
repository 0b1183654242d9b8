"""Which fields a client's signature covers: those must arrive as they left, all others may be added or changed."""

from __future__ import annotations

from fastcache.policy.read_request import CONDITION_FIELDS
from fastcache.protocol.query import QueryClass
from fastcache.protocol.requests import RequestHead

_SIGNED_HEADERS = b"signedheaders="


def may_ask_for_part(head: RequestHead, query: QueryClass, *, in_our_name: bool = False) -> bool:
    """Whether ``Range`` and ``If-Match`` of ours may go out with this request (SEMANTICS 28).

    True for a request whose signature covers neither: presigned URLs, whole-object GETs of any SDK, anonymous ones; and
    for any that goes out under our own signature.
    What cannot be understood as a signature counts as covering everything. A client's own conditions stay as they are:
    one that has any is left alone.
    """
    if not CONDITION_FIELDS.isdisjoint(head.by_name):
        return False
    if in_our_name:
        return True
    signed = signed_fields(head, query)
    return signed is not None and b"range" not in signed and b"if-match" not in signed


def signed_fields(head: RequestHead, query: QueryClass) -> frozenset[bytes] | None:
    """Lower-case names of the fields that the request's signature covers; None when that cannot be told."""
    authorization = head.get(b"authorization")
    if authorization is not None:
        return _of_authorization(authorization)
    if query.presigned_v4:
        return _of_presigned(query)
    return frozenset()  # presigned V2 covers Content-MD5, Content-Type and x-amz-* only; anonymous covers nothing


def _of_authorization(value: bytes) -> frozenset[bytes] | None:
    scheme, _, parameters = value.partition(b" ")
    if scheme == b"AWS":  # version 2: of the standard fields, only Content-MD5, Content-Type and Date
        return frozenset()
    if not scheme.startswith(b"AWS4-"):
        return None
    for parameter in parameters.split(b","):
        stripped = parameter.strip()
        if stripped.lower().startswith(_SIGNED_HEADERS):
            return frozenset(stripped[len(_SIGNED_HEADERS) :].lower().split(b";"))
    return None


def _of_presigned(query: QueryClass) -> frozenset[bytes] | None:
    for item in query.items:
        if item.name.lower() == b"x-amz-signedheaders":
            return frozenset(item.value.lower().split(b";"))
    return None
