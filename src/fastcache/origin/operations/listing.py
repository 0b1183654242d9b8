"""ListObjects, ListObjectsV2 and ListObjectVersions."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

from fastcache.origin.documents import document, element, key_text, leaf
from fastcache.origin.message import Response, S3Error, xml_response
from fastcache.origin.operations.buckets import iso, owner
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState
from fastcache.origin.store import NULL_VERSION, Bucket, Version

MAX_KEYS = 1000


@dataclass(slots=True)
class Page:
    """One answer's worth of a listing. ``last`` is the last key or common prefix in it."""

    versions: list[Version] = field(default_factory=list)
    prefixes: list[bytes] = field(default_factory=list)
    last: bytes = b""
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.versions) + len(self.prefixes)


def list_objects(state: OriginState, request: Request) -> Response:
    """Both versions of ListObjects; they differ in how the next page is asked for."""
    bucket = state.store.bucket(request.bucket)
    params = request.params
    second = params.get(b"list-type") == b"2"
    if b"list-type" in params and not second:
        raise S3Error(400, "InvalidArgument", "Invalid List Type specified in Query")
    token = params.get(b"continuation-token") if second else None
    if token is not None:
        after = _from_token(token)
    else:
        after = params.get(b"start-after" if second else b"marker", b"")
    limit = _limit(params)
    page = _collect(bucket, params, after, limit, _current)
    encoding = params.get(b"encoding-type")
    owned = not second or params.get(b"fetch-owner") == b"true"
    fields = _common(request, limit, page)
    if second:
        fields.append(leaf("KeyCount", len(page)))
        if token is not None:
            fields.append(leaf("ContinuationToken", token.decode("latin-1")))
        if b"start-after" in params:
            fields.append(leaf("StartAfter", key_text(params[b"start-after"], encoding)))
        if page.truncated:
            fields.append(leaf("NextContinuationToken", base64.urlsafe_b64encode(page.last).decode("ascii")))
    else:
        fields.append(leaf("Marker", key_text(after, encoding)))
        if page.truncated and b"delimiter" in params:
            fields.append(leaf("NextMarker", key_text(page.last, encoding)))
    fields += [_contents(bucket, version, encoding, owned) for version in page.versions]
    return xml_response(document("ListBucketResult", *fields, *_prefixes(page, encoding)))


def list_versions(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    params = request.params
    encoding = params.get(b"encoding-type")
    limit = _limit(params)
    marker, version_marker = params.get(b"key-marker", b""), params.get(b"version-id-marker", b"")
    rest: list[Version] = []
    if version_marker:
        ids = [version.version_id or NULL_VERSION for version in bucket.versions(marker)]
        if version_marker in ids:
            rest = bucket.versions(marker)[ids.index(version_marker) + 1 :]
    page = _collect(bucket, params, marker, limit, Bucket.versions, rest)
    fields = _common(request, limit, page)
    fields += [leaf("KeyMarker", key_text(marker, encoding)), leaf("VersionIdMarker", version_marker.decode("latin-1"))]
    if page.truncated:
        fields.append(leaf("NextKeyMarker", key_text(page.last, encoding)))
        if page.versions and page.versions[-1].key == page.last:
            last_id = page.versions[-1].version_id or NULL_VERSION
            fields.append(leaf("NextVersionIdMarker", last_id.decode("ascii")))
    for version in page.versions:
        latest = "true" if version is bucket.latest(version.key) else "false"
        identity = [
            leaf("Key", key_text(version.key, encoding)),
            leaf("VersionId", (version.version_id or NULL_VERSION).decode("ascii")),
            leaf("IsLatest", latest),
            leaf("LastModified", iso(version.modified)),
            element("Owner", owner(bucket.owner)),
        ]
        if version.delete_marker:
            fields.append(element("DeleteMarker", *identity))
        else:
            fields.append(element("Version", *identity, *_size_and_etag(version)))
    return xml_response(document("ListVersionsResult", *fields, *_prefixes(page, encoding)))


def _current(bucket: Bucket, key: bytes) -> list[Version]:
    version = bucket.latest(key)
    return [] if version is None or version.delete_marker else [version]


def _collect(
    bucket: Bucket,
    params: dict[bytes, bytes],
    after: bytes,
    limit: int,
    versions_of: Callable[[Bucket, bytes], list[Version]],
    first: list[Version] | None = None,
) -> Page:
    """Walk the sorted keys, jumping over what lies below a common prefix."""
    prefix, delimiter = params.get(b"prefix", b""), params.get(b"delimiter", b"")
    page = Page()
    if not limit:
        return page
    for version in first or ():
        if len(page) == limit:
            page.truncated = True
            return page
        page.versions.append(version)
        page.last = version.key
    keys = bucket.keys
    index = max(bisect_left(keys, prefix), bisect_right(keys, after) if after else 0)
    while index < len(keys) and keys[index].startswith(prefix):
        key = keys[index]
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut >= 0:
            common = key[: cut + len(delimiter)]
            below = bisect_left(keys, _successor(common), index)
            visible = any(versions_of(bucket, keys[at]) for at in range(index, below))
            # `after` may lie inside a common prefix that an earlier page has shown already.
            if visible and not after.startswith(common):
                if len(page) == limit:
                    page.truncated = True
                    return page
                page.prefixes.append(common)
                page.last = common
            index = below
            continue
        for version in versions_of(bucket, key):
            if len(page) == limit:
                page.truncated = True
                return page
            page.versions.append(version)
            page.last = key
        index += 1
    return page


def _successor(prefix: bytes) -> bytes:
    """The smallest key that is after everything beginning with ``prefix``; keys are UTF-8 and never hold 0xFF."""
    return prefix + b"\xff"


def _limit(params: dict[bytes, bytes]) -> int:
    text = params.get(b"max-keys", b"")
    if not text:
        return MAX_KEYS
    if not (text.isdigit() and len(text) <= 10):
        raise S3Error(400, "InvalidArgument", "Provided max-keys not an integer or within integer range")
    return min(MAX_KEYS, int(text))


def _from_token(token: bytes) -> bytes:
    try:
        return base64.b64decode(token, b"-_", validate=True)
    except binascii.Error as error:
        raise S3Error(400, "InvalidArgument", "The continuation token provided is incorrect") from error


def _common(request: Request, limit: int, page: Page) -> list[str]:
    params = request.params
    encoding = params.get(b"encoding-type")
    if encoding not in (None, b"", b"url"):
        raise S3Error(400, "InvalidArgument", "Invalid Encoding Method specified in Request")
    fields = [
        leaf("Name", request.bucket.decode("ascii")),
        leaf("Prefix", key_text(params.get(b"prefix", b""), encoding)),
        leaf("MaxKeys", limit),
        leaf("IsTruncated", "true" if page.truncated else "false"),
    ]
    if params.get(b"delimiter"):
        fields.append(leaf("Delimiter", key_text(params[b"delimiter"], encoding)))
    if encoding:
        fields.append(leaf("EncodingType", "url"))
    return fields


def _contents(bucket: Bucket, version: Version, encoding: bytes | None, owned: bool) -> str:
    fields = [leaf("Key", key_text(version.key, encoding)), leaf("LastModified", iso(version.modified))]
    fields += _size_and_etag(version)
    if owned:
        fields.append(element("Owner", owner(bucket.owner)))
    return element("Contents", *fields)


def _size_and_etag(version: Version) -> list[str]:
    return [
        leaf("ETag", version.quoted_etag.decode("ascii")),
        leaf("Size", version.size),
        leaf("StorageClass", dict(version.headers).get(b"x-amz-storage-class", b"STANDARD").decode("latin-1")),
    ]


def _prefixes(page: Page, encoding: bytes | None) -> list[str]:
    return [element("CommonPrefixes", leaf("Prefix", key_text(prefix, encoding))) for prefix in page.prefixes]
