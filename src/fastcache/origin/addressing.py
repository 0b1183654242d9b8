"""Which bucket and key a request names: path-style, virtual-hosted, and AWS's reading of unknown hosts."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from fastcache.errors import RequestError
from fastcache.origin.message import S3Error
from fastcache.origin.request import Request
from fastcache.protocol.sigv4_canonical import query_items, split_target

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})").search


@dataclass(frozen=True, slots=True)
class Names:
    """The names this origin answers to."""

    hosts: frozenset[bytes] = frozenset((b"localhost",))
    """Path-style names, lower case, without port."""
    domains: tuple[bytes, ...] = ()
    """Suffixes whose left side is a bucket."""
    unknown_is_bucket: bool = False
    """Whether any other name is itself the bucket, as at AWS (a CNAME)."""


def address(request: Request, names: Names, *, plus_is_space: bool) -> None:
    """Fill in ``bucket``, ``key``, ``params`` and ``virtual``; raises RequestError."""
    path, query = split_target(request.target)
    if _BAD_ESCAPE(path):
        raise RequestError("Couldn't parse the specified URI.", code="InvalidURI", close=False)
    if query:
        params: dict[bytes, bytes] = {}
        request.params = params
        for name, value in query_items(query):
            params.setdefault(name, value)
    host = request.fields.get(b"host")
    if not host or b"," in host:
        raise RequestError("A request must have one Host header.", code="InvalidRequest")
    if plus_is_space and b"+" in path:
        path = path.replace(b"+", b" ")
    bucket = _host_bucket(host, names)
    if bucket is not None:
        request.virtual = True
        request.bucket = bucket
        key = path[1:]
    else:
        name, _, key = path[1:].partition(b"/")
        request.bucket = unquote_to_bytes(name) if b"%" in name else name
    request.key = unquote_to_bytes(key) if b"%" in key else key
    if len(request.key) > 1024:
        raise S3Error(400, "KeyTooLongError", "Your key is too long")


def _host_bucket(host: bytes, names: Names) -> bytes | None:
    """The bucket a Host names, or None for path-style."""
    name = host.rpartition(b"]")[0] + b"]" if host.startswith(b"[") else host.partition(b":")[0]
    name = name.lower().rstrip(b".")
    if name in names.hosts:
        return None
    for domain in names.domains:
        if name == domain:
            return None
        if name.endswith(b"." + domain):
            return name[: -len(domain) - 1]
    if not names.unknown_is_bucket or _is_address(name):
        return None
    return name


def _is_address(name: bytes) -> bool:
    try:
        ipaddress.ip_address(name.strip(b"[]").decode("ascii", "replace"))
    except ValueError:
        return False
    return True
