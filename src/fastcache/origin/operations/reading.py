"""GetObject and HeadObject."""

from __future__ import annotations

from fastcache.model import Interval
from fastcache.origin import conditions
from fastcache.origin.message import Field, Response, S3Error
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState
from fastcache.origin.store import NULL_VERSION, Bucket, Part, Version

_OVERRIDES = {
    b"response-" + name.lower(): name
    for name in (
        b"Content-Type",
        b"Content-Language",
        b"Expires",
        b"Cache-Control",
        b"Content-Disposition",
        b"Content-Encoding",
    )
}
_NOT_ON_304 = frozenset((b"content-type", b"content-encoding", b"content-language", b"content-disposition"))


def get_object(state: OriginState, request: Request) -> Response:
    version = find_version(state.store.bucket(request.bucket), request)
    return _answer(state, request, version)


def head_object(state: OriginState, request: Request) -> Response:
    response = _answer(state, request, find_version(state.store.bucket(request.bucket), request))
    if response.status in (200, 206):
        response.headers.append((b"Content-Length", b"%d" % response.length))
    response.content = None
    response.length = 0
    return response


def find_version(bucket: Bucket, request: Request) -> Version:
    """The version asked for; raises S3Error 404 or, for a delete marker named by its id, 405."""
    wanted = request.params.get(b"versionId") if request.params else None
    if wanted is not None:
        if not wanted:
            raise S3Error(400, "InvalidArgument", "Version id cannot be the empty string")
        return named_version(bucket, request.key, wanted)
    version = bucket.latest(request.key)
    if version is None or version.delete_marker:
        headers: tuple[Field, ...] = ()
        if version is not None:
            headers = ((b"x-amz-delete-marker", b"true"), (b"x-amz-version-id", version.version_id or NULL_VERSION))
        raise S3Error(
            404,
            "NoSuchKey",
            "The specified key does not exist.",
            headers=headers,
            details=(("Key", request.key.decode("utf-8", "replace")),),
        )
    return version


def named_version(bucket: Bucket, key: bytes, version_id: bytes) -> Version:
    """A version by its id; raises S3Error 404 or 405."""
    version = bucket.version(key, version_id)
    if version is None:
        raise S3Error(404, "NoSuchVersion", "The specified version does not exist.")
    if version.delete_marker:
        raise S3Error(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
            headers=(
                (b"x-amz-delete-marker", b"true"),
                (b"x-amz-version-id", version_id),
                (b"Last-Modified", version.last_modified),
                (b"Allow", b"DELETE"),
            ),
        )
    return version


def _answer(state: OriginState, request: Request, version: Version) -> Response:
    fields = request.fields
    _check_customer_key(fields, version)
    overrides = _overrides(request) if request.params else []
    if not conditions.check(fields, version):
        return _not_modified(state, version)
    part = _asked_part(request, version) if b"partNumber" in request.params else None
    headers = [(b"Last-Modified", version.last_modified), (b"ETag", version.quoted_etag), (b"Accept-Ranges", b"bytes")]
    headers += version.headers
    if version.version_id is not None:
        headers.append((b"x-amz-version-id", version.version_id))
    if version.tags:
        headers.append((b"x-amz-tagging-count", b"%d" % len(version.tags)))
    if state.quirks and not any(name == b"x-amz-server-side-encryption" for name, _ in version.headers):
        headers.append((b"x-amz-server-side-encryption", b"AES256"))
    if overrides:
        replaced = {name.lower() for name, _ in overrides}
        headers = [item for item in headers if item[0].lower() not in replaced] + overrides
    interval = part[1] if part else conditions.requested_range(fields, version)
    if part and version.parts:
        headers.append((b"x-amz-mp-parts-count", b"%d" % len(version.parts)))
    if fields.get(b"x-amz-checksum-mode", b"").upper() == b"ENABLED":
        headers += _checksums(state, version, interval, part[0] if part else None)
    if interval is None:
        return Response(200, headers, version.content, 0, version.size)
    headers.append((b"Content-Range", b"bytes %d-%d/%d" % (interval.start, interval.end - 1, version.size)))
    return Response(206, headers, version.content, interval.start, interval.length)


def _not_modified(state: OriginState, version: Version) -> Response:
    headers = [(b"ETag", version.quoted_etag), (b"Last-Modified", version.last_modified)]
    if not state.quirks:
        headers += [item for item in version.headers if item[0].lower() not in _NOT_ON_304]
        if version.version_id is not None:
            headers.append((b"x-amz-version-id", version.version_id))
    return Response(304, headers)


def _asked_part(request: Request, version: Version) -> tuple[Part | None, Interval] | None:
    """The part ``partNumber`` names and its bytes; None if that is an empty object's only part."""
    if b"range" in request.fields:
        raise S3Error(400, "InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
    text = request.params[b"partNumber"]
    if not (text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 10_000):
        raise S3Error(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    number = int(text)
    parts = version.parts
    if number > max(1, len(parts)):
        raise S3Error(416, "InvalidPartNumber", "The requested partnumber is not satisfiable")
    if not parts:
        return (None, Interval(0, version.size)) if version.size else None
    start = sum(part.content.size for part in parts[: number - 1])
    return parts[number - 1], Interval(start, start + parts[number - 1].content.size)


def _checksums(state: OriginState, version: Version, interval: Interval | None, part: Part | None) -> list[Field]:
    """The whole object's checksums with the whole object; AWS sends a part's with exactly that part's bytes."""
    if interval is None:
        return checksum_fields(version.checksums)
    if not state.quirks:
        return []
    if part is None:
        start = 0
        for candidate in version.parts:
            if Interval(start, start + candidate.content.size) == interval:
                part = candidate
            start += candidate.content.size
    return checksum_fields(part.checksums) if part else []


def checksum_fields(checksums: dict[bytes, bytes]) -> list[Field]:
    """``x-amz-checksum-*`` fields, and the type S3 sends beside them."""
    fields = [(b"x-amz-checksum-" + name, value) for name, value in checksums.items()]
    if fields:
        composite = any(b"-" in value for value in checksums.values())
        fields.append((b"x-amz-checksum-type", b"COMPOSITE" if composite else b"FULL_OBJECT"))
    return fields


def _overrides(request: Request) -> list[Field]:
    found = [(_OVERRIDES[name], value) for name, value in request.params.items() if name in _OVERRIDES]
    if any(b"\r" in value or b"\n" in value for _, value in found):
        raise S3Error(400, "InvalidArgument", "A response header override must not hold line breaks.")
    if found and not (request.account and request.account.signed):
        raise S3Error(
            400, "InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests."
        )
    return found


def _check_customer_key(fields: dict[bytes, bytes], version: Version) -> None:
    for name, value in version.headers:
        if name == b"x-amz-server-side-encryption-customer-key-MD5":
            given = fields.get(b"x-amz-server-side-encryption-customer-key-md5")
            if given is None:
                raise S3Error(
                    400,
                    "InvalidRequest",
                    "The object was stored using a form of Server Side Encryption. The correct parameters must be "
                    "provided to retrieve the object.",
                )
            if given != value:
                raise S3Error(403, "AccessDenied", "Access Denied")
