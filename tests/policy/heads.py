"""Requests and answers as the tests of this directory write them: real heads, read by the real parsers."""

from __future__ import annotations

from fastcache.model import Generation, Headers, HeadRecord, ObjectId, OriginId
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.request_class import Classified, PassRequest, UnsafeRequest, classify
from fastcache.protocol.requests import parse_request_head
from fastcache.protocol.responses import ResponseHead, parse_response_head
from fastcache.protocol.targets import Addressing, parse_target

ORIGIN = OriginId("http", "origin.example.org", 9000)
ADDRESSING = Addressing(
    virtual_host_suffixes=(b"s3.example.com", b"s3-accesspoint.example.com"), endpoint_host=b"origin.example.org"
)
HOST = b"127.0.0.1:9000"
ETAG = b'"5d41402abc4b2a76b9719d911017c592"'
OTHER_ETAG = b'"7d793037a0760186574b0282f2f435e7"'
MODIFIED = b"Fri, 13 Nov 2026 10:00:00 GMT"
EARLIER = b"Fri, 13 Nov 2026 09:59:59 GMT"
LATER = b"Fri, 13 Nov 2026 10:00:01 GMT"


def identity(bucket: bytes, key: bytes, version: bytes | None = None) -> ObjectId:
    return ObjectId(ORIGIN, bucket, key, version)


KEY = identity(b"bucket", b"key")


def classified(
    *fields: bytes,
    method: bytes = b"GET",
    target: bytes = b"/bucket/key",
    host: bytes = HOST,
    multi_range: bool = False,
) -> Classified:
    """One request, all the way from its bytes."""
    lines = (method + b" " + target + b" HTTP/1.1", b"Host: " + host, *fields, b"", b"")
    head = parse_request_head(b"\r\n".join(lines))
    return classify(head, parse_target(head, ADDRESSING), identity, multi_range=multi_range)


def read_of(*fields: bytes, method: bytes = b"GET", target: bytes = b"/bucket/key", host: bytes = HOST) -> ReadRequest:
    found = classified(*fields, method=method, target=target, host=host)
    assert isinstance(found, ReadRequest), found
    return found


def passed(*fields: bytes, method: bytes = b"GET", target: bytes = b"/bucket/key", host: bytes = HOST) -> bytes:
    """The reason for which a request is passed on."""
    found = classified(*fields, method=method, target=target, host=host)
    assert isinstance(found, PassRequest), found
    return found.reason


def unsafe(*fields: bytes, method: bytes = b"PUT", target: bytes = b"/bucket/key", host: bytes = HOST) -> UnsafeRequest:
    found = classified(*fields, method=method, target=target, host=host)
    assert isinstance(found, UnsafeRequest), found
    return found


def answer(*fields: bytes, status: int = 200, method: bytes = b"GET") -> ResponseHead:
    return parse_response_head(b"\r\n".join((b"HTTP/1.1 %d X" % status, *fields, b"", b"")), method)


def record(
    size: int = 1000,
    *,
    etag: bytes = ETAG,
    modified: bytes | None = MODIFIED,
    version: bytes | None = None,
    headers: Headers = (),
) -> HeadRecord:
    fields: Headers = ((b"ETag", etag),)
    if modified is not None:
        fields += ((b"Last-Modified", modified),)
    if version is not None:
        fields += ((b"x-amz-version-id", version),)
    return HeadRecord(Generation(etag, size), fields + headers)


def names(headers: Headers) -> set[bytes]:
    return {name.lower() for name, _ in headers}
