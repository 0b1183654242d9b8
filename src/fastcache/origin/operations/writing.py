"""PutObject, DeleteObject and DeleteObjects."""

from __future__ import annotations

from fastcache.origin import conditions, documents
from fastcache.origin.accounts import denied
from fastcache.origin.body import RequestBody
from fastcache.origin.content import Content, Literal, Synthetic
from fastcache.origin.message import Field, Response, S3Error, xml_response
from fastcache.origin.operations.reading import checksum_fields
from fastcache.origin.operations.subresources import tags_from_header
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState
from fastcache.origin.store import NULL_VERSION, Bucket, Version

_KEPT = {
    name.lower(): name
    for name in (
        b"Content-Type",
        b"Cache-Control",
        b"Content-Disposition",
        b"Content-Language",
        b"Expires",
        b"x-amz-website-redirect-location",
        b"x-amz-server-side-encryption",
        b"x-amz-server-side-encryption-aws-kms-key-id",
        b"x-amz-server-side-encryption-bucket-key-enabled",
        b"x-amz-server-side-encryption-customer-algorithm",
        b"x-amz-server-side-encryption-customer-key-MD5",
        b"x-amz-object-lock-mode",
        b"x-amz-object-lock-retain-until-date",
    )
}


def put_object(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    require_utf8(request.key)
    content, etag, checksums = received_content(request)
    conditions.check_write(request.fields, bucket.latest(request.key))
    version = bucket.add(
        Version(
            request.key,
            content,
            etag,
            state.now(),
            kept_headers(request.fields),
            checksums,
            tags=tags_from_header(request.fields),
        )
    )
    return Response(200, written_fields(version))


def received(request: Request) -> bytes:
    """A document sent as the request's body; raises RequestError if it is not what was promised."""
    return bytes(_body(request).finish())


def received_content(request: Request) -> tuple[Content, bytes, dict[bytes, bytes]]:
    """An upload's content, its ETag and the checksums that came with it; raises RequestError if they do not fit."""
    body = _body(request)
    data = body.finish()
    if body.kept:
        return Literal(data), body.md5, body.checksums()
    # The checksums were those of the forgotten bytes.
    content = Synthetic(request.key, 0, body.size)
    return content, content.md5(), {}


def _body(request: Request) -> RequestBody:
    if request.body is None:
        raise S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    return request.body


def require_utf8(key: bytes) -> None:
    """Keys are UTF-8 (S3 User Guide, "Naming Amazon S3 objects")."""
    try:
        key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise S3Error(400, "InvalidURI", "Couldn't parse the specified URI.") from error


def kept_headers(fields: dict[bytes, bytes]) -> list[Field]:
    """What of a write's header is replayed by every read."""
    kept = [(proper, fields[name]) for name, proper in _KEPT.items() if name in fields]
    codings = [coding.strip() for coding in fields.get(b"content-encoding", b"").split(b",")]
    codings = [coding for coding in codings if coding and coding.lower() != b"aws-chunked"]
    if codings:
        kept.append((b"Content-Encoding", b",".join(codings)))
    if b"content-type" not in fields:
        kept.append((b"Content-Type", b"binary/octet-stream"))
    storage_class = fields.get(b"x-amz-storage-class", b"STANDARD")
    if storage_class != b"STANDARD":
        kept.append((b"x-amz-storage-class", storage_class))
    kept += [(name, value) for name, value in fields.items() if name.startswith(b"x-amz-meta-")]
    return kept


def written_fields(version: Version) -> list[Field]:
    """The response fields of a finished write."""
    fields = [(b"ETag", version.quoted_etag)]
    if version.version_id is not None:
        fields.append((b"x-amz-version-id", version.version_id))
    fields += [item for item in version.headers if item[0].startswith(b"x-amz-server-side-encryption")]
    return fields + checksum_fields(version.checksums)


def delete_object(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    marker, version_id = _delete(state, bucket, request.key, request.params.get(b"versionId"))
    fields = []
    if version_id is not None:
        fields.append((b"x-amz-version-id", version_id))
    if marker:
        fields.append((b"x-amz-delete-marker", b"true"))
    return Response(204, fields)


def delete_objects(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    root = documents.parse(received(request))
    named = root.all("Object")
    if root.name != "Delete" or not 1 <= len(named) <= 1000:
        raise S3Error(400, "MalformedXML", "The XML you provided was not well-formed.")
    quiet = root.value("Quiet") == "true"
    account = request.account.account if request.account else None
    results = []
    for item in named:
        key = (item.value("Key") or "").encode()
        if account is not None and not account.reaches(request.bucket + b"/" + key):
            error = documents.leaf("Code", denied().response_code) + documents.leaf("Message", "Access Denied")
            results.append(documents.element("Error", documents.leaf("Key", item.value("Key")), error))
            continue
        wanted = item.value("VersionId")
        marker, version_id = _delete(state, bucket, key, wanted.encode() if wanted else None)
        if not quiet:
            results.append(documents.element("Deleted", *_deleted(item.value("Key") or "", wanted, marker, version_id)))
    return xml_response(documents.document("DeleteResult", *results))


def _deleted(key: str, wanted: str | None, marker: bool, version_id: bytes | None) -> list[str]:
    fields = [documents.leaf("Key", key)]
    if wanted:
        fields.append(documents.leaf("VersionId", wanted))
    if marker and version_id is not None:
        fields.append(documents.leaf("DeleteMarker", "true"))
        fields.append(documents.leaf("DeleteMarkerVersionId", version_id.decode("ascii")))
    return fields


def _delete(state: OriginState, bucket: Bucket, key: bytes, wanted: bytes | None) -> tuple[bool, bytes | None]:
    """``(a delete marker was made or removed, the version id concerned)``."""
    if wanted is not None:
        removed = bucket.delete_version(key, wanted)
        return removed is not None and removed.delete_marker, wanted
    made = bucket.delete(key, state.now())
    return made is not None, (made.version_id or NULL_VERSION) if made else None
