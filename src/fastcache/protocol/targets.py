"""Which bucket and key a request is about (SEMANTICS 1 to 3): the identity that cache entries and fences hang on.

A key is decoded exactly once and never normalised, because S3 does not. Where servers are known to disagree about a
path, the target says so: such a request is never cached, and a write fences every key it could mean.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from fastcache.errors import RequestError
from fastcache.protocol.query import QueryClass, classify_query, has_bad_percent
from fastcache.protocol.requests import RequestHead

_MOST_KNOWN = 1024
_LONGEST_KNOWN = 261
"""Host values whose class is remembered: so many, and no longer than a name can be with a port."""
_PORT = re.compile(rb":[0-9]*\Z")
_IPV4 = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")
_ACCESS_POINT_LABELS = (b"s3-accesspoint", b"s3-object-lambda", b"accesspoint")
_ACCESS_POINT = b"accesspoint/"
"""A slash is in no bucket name, so an access point can never share an entry with a bucket of its name."""


class AddressStyle(enum.Enum):
    """How a request names its bucket."""

    PATH = "path"
    VIRTUAL = "virtual"
    ACCESS_POINT = "access-point"
    """The host names an access point, which is an entry of its own, never the bucket behind it."""


class HostClass(NamedTuple):
    """What a Host says: its style and, unless PATH, the bucket."""

    style: AddressStyle
    bucket: bytes | None = None


PATH_STYLE: Final = HostClass(AddressStyle.PATH)


def VIRTUAL(bucket: bytes) -> HostClass:  # noqa: N802 - reads as the constructor of a variant, beside PATH_STYLE
    """The class of a host whose first labels are ``bucket``."""
    return HostClass(AddressStyle.VIRTUAL, bucket)


def bare_host(host_header: bytes) -> bytes:
    """A Host value in lower case without port and without the root's trailing dot."""
    return _PORT.sub(b"", host_header.lower()).removesuffix(b".")


@dataclass(frozen=True)
class Addressing:
    """The names under which clients may reach us. Compared without case, port and trailing dot."""

    accepted_hosts: tuple[bytes, ...] = ()
    """Names of this machine and those of ``hosts:``; path-style."""
    virtual_host_suffixes: tuple[bytes, ...] = ()
    """``s3.example.com`` makes ``<bucket>.s3.example.com`` a virtual-hosted bucket; the bare suffix is path-style."""
    endpoint_host: bytes | None = None
    """The origin's own host name; path-style."""
    only_endpoint: bool = False
    """AWS as the endpoint: it takes no Host but its own names, and a signature covers the Host, so that a request under
    any other name can only fail there."""
    _path_names: frozenset[bytes] = field(init=False, repr=False, compare=False)
    _suffixes: tuple[bytes, ...] = field(init=False, repr=False, compare=False)
    _classes: dict[bytes, HostClass] = field(init=False, repr=False, compare=False, default_factory=dict)
    """What was found out about Host values, as received: clients of one cache use few."""

    def __post_init__(self) -> None:
        suffixes = {bare_host(suffix).lstrip(b".") for suffix in self.virtual_host_suffixes} - {b""}
        names = {bare_host(name) for name in self.accepted_hosts} | suffixes | {b"localhost"}
        if self.endpoint_host:
            names.add(bare_host(self.endpoint_host))
        object.__setattr__(self, "_path_names", frozenset(names - {b""}))
        # The longest first, so that of two nested suffixes the more exact one names the bucket.
        object.__setattr__(self, "_suffixes", tuple(sorted(suffixes, key=len, reverse=True)))

    def _endpoint_host_class(self, host: bytes) -> HostClass:
        endpoint = bare_host(self.endpoint_host or b"")
        if host == endpoint:
            return PATH_STYLE
        if host.endswith(b"." + endpoint):
            return _virtual_host(host[: -len(endpoint) - 1], endpoint)
        raise RequestError(_AWS_HOST % endpoint.decode("ascii", "replace"), close=False)

    def classify_host(self, host_header: bytes) -> HostClass:
        """PATH_STYLE or a virtual-hosted bucket; RequestError (400) for a name nobody vouched for.

        An empty value is an HTTP/1.0 request without Host, which can only mean this address.
        """
        known = self._classes.get(host_header)
        if known is not None:
            return known
        found = self._find_class(host_header)
        if len(host_header) <= _LONGEST_KNOWN:
            if len(self._classes) >= _MOST_KNOWN:
                self._classes.clear()
            self._classes[host_header] = found
        return found

    def _find_class(self, host_header: bytes) -> HostClass:
        host = bare_host(host_header)
        if self.only_endpoint:
            return self._endpoint_host_class(host)
        if host in self._path_names or not host_header or _is_ip_literal(host):
            return PATH_STYLE
        for suffix in self._suffixes:
            if host.endswith(b"." + suffix) and len(host) > len(suffix) + 1:
                return _virtual_host(host[: -len(suffix) - 1], suffix)
        # Many servers take an unknown Host for a bucket, so its answers would be filed under a wrong name.
        shown = host.decode("ascii", "replace")[:255]
        raise RequestError(
            f"The host name {shown!r} is not one of this cache's. If it is meant to be, add it to hosts: in the"
            " configuration, or to the virtual-host suffixes if it names a bucket.",
            close=False,
        )


_AWS_HOST = (
    "AWS accepts its own host names only, and a signature covers the Host, so that this request cannot be forwarded."
    " Keep the endpoint %s in your client and bring its requests here: let DNS resolve that name to this cache, or set"
    " HTTP_PROXY to it. An endpoint_url that names this cache needs one that signs upstream (upstream: sign)."
)


def _virtual_host(label: bytes, suffix: bytes) -> HostClass:
    first = suffix.split(b".", 1)[0]
    if first.startswith(_ACCESS_POINT_LABELS):
        return HostClass(AddressStyle.ACCESS_POINT, _ACCESS_POINT + label + b"." + suffix)
    return VIRTUAL(label)


def bucket_aliases(pairs: Iterable[tuple[str, str]]) -> dict[bytes, bytes]:
    """Alias to bucket, by every form in which a request can name the alias: a bucket, or an access point's host."""
    named = [(name.encode("ascii"), bucket.encode("ascii")) for name, bucket in pairs]
    return dict(named) | {_ACCESS_POINT + name.lower(): bucket for name, bucket in named}


def _is_ip_literal(host: bytes) -> bool:
    text = host.decode("ascii", "replace")
    try:
        if host.startswith(b"[") and host.endswith(b"]"):
            ipaddress.IPv6Address(text[1:-1])
        elif _IPV4.fullmatch(host):
            ipaddress.IPv4Address(text)
        else:
            return False
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class S3Target:
    """The object, bucket or service a request is about. ``repr`` leaves out the query, which holds signatures."""

    bucket: bytes | None
    """None for a service-level request."""
    key: bytes | None
    """Decoded exactly once; None for a bucket or service request."""
    raw_path: bytes
    """As received, without the query; what is forwarded."""
    raw_query: bytes = field(repr=False)
    """As received, without the ``?``."""
    query: QueryClass
    cacheable_identity: bool
    """Whether every server reads this request as the same object and version. If not, it is never stored nor served."""
    alternative_keys: tuple[bytes, ...]
    """Every key the path can mean, ``key`` first: what a write must fence. Empty without a key."""
    style: AddressStyle

    @property
    def version(self) -> bytes | None:
        """The usable versionId, else None."""
        return self.query.version


def parse_target(head: RequestHead, addressing: Addressing) -> S3Target:
    """The S3 target of a request.

    Raises RequestError (400) for a Host that is not accepted and for a path-style path with an empty bucket name but
    more behind it (``//key``), which servers that merge slashes take for another bucket.
    """
    host = addressing.classify_host(head.host)
    raw_path, _, raw_query = head.path.partition(b"?")
    query = classify_query(raw_query)
    if raw_path == b"*":
        return S3Target(None, None, raw_path, raw_query, query, False, (), host.style)
    if host.bucket is None:
        bucket, raw_key, plain_bucket = _split_path(raw_path)
    else:
        bucket, raw_key, plain_bucket = host.bucket, raw_path[1:], True
    keys = _readings(raw_key)
    return S3Target(
        bucket=bucket,
        key=keys[0] if keys else None,
        raw_path=raw_path,
        raw_query=raw_query,
        query=query,
        cacheable_identity=plain_bucket and _unambiguous(raw_key) and query.well_formed and query.version_usable,
        alternative_keys=keys,
        style=host.style,
    )


def _split_path(raw_path: bytes) -> tuple[bytes | None, bytes, bool]:
    """Bucket (decoded once), raw key, and whether the bucket segment can be read in one way only."""
    segment, _, raw_key = raw_path[1:].partition(b"/")
    plain = _unambiguous(segment)
    if b"%2f" in segment.lower():
        # No bucket name has a slash, so the only reading that names an object decodes before it splits.
        cut = segment.lower().index(b"%2f")
        segment, raw_key = segment[:cut], raw_path[1 + cut + 3 :]
        plain = False
    if not segment:
        if raw_key or raw_path != b"/":
            raise RequestError("The path has an empty bucket name", code="InvalidBucketName", close=False)
        return None, b"", True
    bucket = unquote_to_bytes(segment)
    return bucket, raw_key, plain and bucket not in (b".", b"..")


def _unambiguous(raw: bytes) -> bool:
    return b"+" not in raw and not has_bad_percent(raw)


def _readings(raw_key: bytes) -> tuple[bytes, ...]:
    """Every key a raw path can mean: ``+`` as itself and as a space, a bad ``%XX`` left alone or nothing decoded."""
    if not raw_key:
        return ()
    if b"%" not in raw_key and b"+" not in raw_key:
        return (raw_key,)
    readings = [unquote_to_bytes(raw_key)]
    if b"+" in raw_key:
        readings.append(unquote_to_bytes(raw_key.replace(b"+", b"%20")))
    if has_bad_percent(raw_key):
        readings.append(raw_key)
        readings.append(raw_key.replace(b"+", b" "))
    return tuple(dict.fromkeys(readings))
