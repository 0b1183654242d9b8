"""What of a client's request goes to the origin under our own signature (SEMANTICS 8, 37).

Whoever signs answers for what is read into the signed bytes. So a request is first brought into the one form that every
server reads alike, permission is looked up for that form, and the origin is sent that form and no other: the path made
of bucket and key, every octet escaped that could be read in two ways. What has no such form is refused.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace

from fastcache.errors import RequestError
from fastcache.model import Headers, OriginId
from fastcache.protocol.framing import NO_BODY, BodyFraming, Framing
from fastcache.protocol.query import QueryItem, QueryKind, classify_query
from fastcache.protocol.requests import RequestHead, forward_headers
from fastcache.protocol.sigv4_canonical import encode, encode_path
from fastcache.protocol.targets import AddressStyle, S3Target

_SIGNATURE_KINDS = frozenset({QueryKind.PRESIGN_V4, QueryKind.PRESIGN_V2})
_REPLACED = frozenset(
    {
        b"host",
        b"authorization",
        b"date",
        b"x-amz-date",
        b"x-amz-content-sha256",
        b"x-amz-security-token",
        b"x-amz-s3session-token",
        b"trailer",
    }
)
"""What says who asks, and when: ours stand in their place. No trailers of HTTP's are sent."""
_DNS_LABEL = re.compile(rb"[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])").fullmatch
"""A bucket name that is one label: with dots in it no wildcard certificate covers the host."""
_FIELD_VALUE = re.compile(rb"[\x20-\x7e\x80-\xff\t]*").fullmatch


_DEFAULT_PORT = {"http": ":80", "https": ":443"}


def host_of(origin: OriginId) -> bytes:
    """An origin's own Host value (RFC 9110 section 7.2): without the scheme's own port."""
    return str(origin).partition("://")[2].removesuffix(_DEFAULT_PORT.get(origin.scheme, "-")).encode("ascii")


class BucketPlace(enum.StrEnum):
    """Where the origin is told the bucket: in the path, or in the host name where its name allows that."""

    AUTO = "auto"
    PATH = "path"
    VIRTUAL = "virtual"


def in_one_reading(head: RequestHead, target: S3Target) -> tuple[RequestHead, S3Target]:
    """The request in the form that can be read in one way: ``+`` in a query is the space that it stands for, and header
    fields that a client moved into the query are header fields again.

    Raises RequestError (400) for what has no such form: a name that comes twice, a bad ``%XX``, an access point's host.
    Which objects a path can mean at all is looked at with the permission (``policy.access``).
    """
    if target.style is AddressStyle.ACCESS_POINT:
        raise RequestError("Access points cannot be asked through this cache.", close=False)
    query = target.query
    if not query.items:
        return head, target
    if not query.well_formed or len(query.names) != len(query.items):
        raise RequestError("The query has a malformed escape, or a name twice.", code="InvalidURI", close=False)
    if b"+" in target.raw_query:
        raw_query = target.raw_query.replace(b"+", b"%20")
        query = classify_query(raw_query)
        target = replace(target, raw_query=raw_query, query=query)
    if not query.hoisted:
        return head, target
    kept = [item for item in query.items if item.kind is not QueryKind.HOISTED]
    raw_query = b"&".join(item.raw for item in kept)
    return _with_fields(head, query.hoisted), replace(target, raw_query=raw_query, query=classify_query(raw_query))


def _with_fields(head: RequestHead, fields: tuple[tuple[bytes, bytes], ...]) -> RequestHead:
    for name, value in fields:
        if name in head.by_name or not _FIELD_VALUE(value) or value != value.strip():
            raise RequestError("A header field in the query is malformed, or in the header too.", close=False)
    by_name = {**head.by_name, **{name: [value] for name, value in fields}}
    return replace(head, headers=head.headers + fields, by_name=by_name)


@dataclass(frozen=True, slots=True)
class OriginNames:
    """How the origin is addressed."""

    host: bytes
    """Its Host, with the port where it is not the scheme's own."""
    place: BucketPlace
    is_aws: bool

    def host_for(self, bucket: bytes | None) -> bytes | None:
        """The Host that names ``bucket``; None where the path does."""
        if bucket is None or self.place is BucketPlace.PATH:
            return None
        if self.place is BucketPlace.AUTO and not self.is_aws:
            return None
        return bucket + b"." + self.host if _DNS_LABEL(bucket) else None


def own_target(target: S3Target, names: OriginNames) -> tuple[bytes, bytes]:
    """Host and request target for a request in one reading."""
    host = names.host_for(target.bucket)
    path = b"/" if target.bucket is None or host is not None else b"/" + encode(target.bucket)
    if target.key is not None:
        path = path.rstrip(b"/") + b"/" + encode_path(target.key)
    elif target.raw_path.endswith(b"/") and host is None and target.bucket is not None:
        path += b"/"
    query = b"&".join(_spelled(item) for item in target.query.items if item.kind not in _SIGNATURE_KINDS)
    return host or names.host, path + b"?" + query if query else path


def _spelled(item: QueryItem) -> bytes:
    name = encode(item.name)
    return name + b"=" + encode(item.value) if b"=" in item.raw else name


def own_fields(head: RequestHead, *, without: frozenset[bytes] = frozenset()) -> Headers:
    """The client's fields that go along: all but who it is and what ``without`` (lower-case names) leaves out."""
    dropped = _REPLACED | without
    return tuple((name, value) for name, value in forward_headers(head) if name.lower() not in dropped)


def is_preflight(head: RequestHead) -> bool:
    """A browser's question whether it may send the request that follows (Fetch standard, CORS-preflight): it can carry
    no signature, and S3 answers it to anybody."""
    return (
        head.method == b"OPTIONS"
        and head.framing in (NO_BODY, BodyFraming(Framing.LENGTH, 0))
        and head.get(b"origin") is not None
        and head.get(b"access-control-request-method") is not None
    )
