"""Multipart uploads (S3 User Guide, "Uploading and copying objects using multipart upload")."""

from __future__ import annotations

import base64
import hashlib
import secrets
import zlib
from collections.abc import Callable

from fastcache.origin import conditions, documents
from fastcache.origin.content import Segments
from fastcache.origin.documents import document, element, key_text, leaf
from fastcache.origin.message import Response, S3Error, late_response, xml_response
from fastcache.origin.operations.buckets import iso, owner
from fastcache.origin.operations.reading import checksum_fields
from fastcache.origin.operations.subresources import tags_from_header
from fastcache.origin.operations.writing import kept_headers, received, received_content, require_utf8
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState
from fastcache.origin.store import Part, Upload, Version

MIN_PART = 5 << 20
"""Smallest part but the last, bytes."""

_COMPOSITE: dict[bytes, Callable[[bytes], bytes]] = {
    b"crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    b"sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    b"sha256": lambda data: hashlib.sha256(data).digest(),
}


def create_upload(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    require_utf8(request.key)
    algorithm = request.fields.get(b"x-amz-checksum-algorithm", b"")
    upload = Upload(
        secrets.token_urlsafe(32).encode("ascii"),
        request.key,
        kept_headers(request.fields),
        state.now(),
        tags_from_header(request.fields),
        algorithm,
    )
    bucket.uploads[upload.upload_id] = upload
    fields = [(b"x-amz-checksum-algorithm", algorithm)] if algorithm else []
    checksum_type = request.fields.get(b"x-amz-checksum-type")
    if checksum_type is not None:
        fields.append((b"x-amz-checksum-type", checksum_type))
    return xml_response(document("InitiateMultipartUploadResult", *_identity(request, upload)), headers=tuple(fields))


def upload_part(state: OriginState, request: Request) -> Response:
    upload = find_upload(state, request)
    number = part_number(request)
    content, etag, checksums = received_content(request)
    part = Part(number, content, etag, state.now(), checksums)
    upload.parts[number] = part
    fields = [item for item in checksum_fields(checksums) if item[0] != b"x-amz-checksum-type"]
    return Response(200, [(b"ETag", b'"' + part.etag + b'"'), *fields])


def list_parts(state: OriginState, request: Request) -> Response:
    upload = find_upload(state, request)
    marker = _number(request, b"part-number-marker", 0)
    limit = _number(request, b"max-parts", 1000)
    later = [upload.parts[number] for number in sorted(upload.parts) if number > marker]
    shown = later[:limit]
    listed = [
        element(
            "Part",
            leaf("PartNumber", part.number),
            leaf("LastModified", iso(part.modified)),
            leaf("ETag", f'"{part.etag.decode("ascii")}"'),
            leaf("Size", part.content.size),
        )
        for part in shown
    ]
    fields = [
        leaf("StorageClass", "STANDARD"),
        leaf("PartNumberMarker", marker),
        leaf("NextPartNumberMarker", shown[-1].number if shown else 0),
        leaf("MaxParts", limit),
        leaf("IsTruncated", "true" if len(later) > len(shown) else "false"),
    ]
    return xml_response(document("ListPartsResult", *_identity(request, upload), *fields, *listed))


def list_uploads(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    prefix = request.params.get(b"prefix", b"")
    encoding = request.params.get(b"encoding-type")
    uploads = sorted(bucket.uploads.values(), key=lambda upload: (upload.key, upload.created))
    listed = [
        element(
            "Upload",
            leaf("Key", key_text(upload.key, encoding)),
            leaf("UploadId", upload.upload_id.decode("ascii")),
            element("Initiator", owner(bucket.owner)),
            element("Owner", owner(bucket.owner)),
            leaf("StorageClass", "STANDARD"),
            leaf("Initiated", iso(upload.created)),
        )
        for upload in uploads
        if upload.key.startswith(prefix)
    ]
    fields = [leaf("Bucket", request.bucket.decode("ascii")), leaf("Prefix", key_text(prefix, encoding))]
    fields += [leaf("MaxUploads", 1000), leaf("IsTruncated", "false")]
    return xml_response(document("ListMultipartUploadsResult", *fields, *listed))


def complete_upload(state: OriginState, request: Request) -> Response:
    upload = find_upload(state, request)
    bucket = state.store.bucket(request.bucket)
    parts = _chosen_parts(upload, documents.parse(received(request)))
    conditions.check_write(request.fields, bucket.latest(upload.key))
    declared = request.fields.get(b"x-amz-mp-object-size")
    content = Segments([part.content for part in parts])
    if declared is not None and declared != b"%d" % content.size:
        raise S3Error(400, "InvalidRequest", "The object size does not match x-amz-mp-object-size.")
    joined = b"".join(bytes.fromhex(part.etag.decode("ascii")) for part in parts)
    digest = hashlib.md5(joined, usedforsecurity=False).hexdigest()
    etag = f"{digest}-{len(parts)}".encode("ascii")
    version = Version(
        upload.key,
        content,
        etag,
        state.now(),
        upload.headers,
        _whole_checksums(request, parts),
        parts=tuple(parts),
        tags=upload.tags,
    )
    bucket.add(version)
    del bucket.uploads[upload.upload_id]
    fields = () if version.version_id is None else ((b"x-amz-version-id", version.version_id),)
    location = f"http://{request.fields[b'host'].decode('latin-1')}/{request.bucket.decode('ascii')}/"
    checksums = [
        leaf(f"Checksum{name.decode().upper()}", value.decode("latin-1")) for name, value in version.checksums.items()
    ]
    response = xml_response(
        document(
            "CompleteMultipartUploadResult",
            leaf("Location", location + key_text(upload.key, b"url")),
            leaf("Bucket", request.bucket.decode("ascii")),
            leaf("Key", key_text(upload.key, None)),
            leaf("ETag", f'"{etag.decode("ascii")}"'),
            *checksums,
        ),
        headers=fields,
    )
    return late_response(response, state.settings.complete_seconds) if state.quirks else response


def abort_upload(state: OriginState, request: Request) -> Response:
    upload = find_upload(state, request)
    del state.store.bucket(request.bucket).uploads[upload.upload_id]
    return Response(204)


def find_upload(state: OriginState, request: Request) -> Upload:
    """The upload that ``uploadId`` names, if it is this key's; raises S3Error NoSuchUpload."""
    bucket = state.store.bucket(request.bucket)
    upload = bucket.uploads.get(request.params[b"uploadId"])
    if upload is None or upload.key != request.key:
        raise S3Error(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
            "completed.",
        )
    return upload


def part_number(request: Request) -> int:
    """``partNumber`` of an upload, 1 to 10,000; raises S3Error."""
    text = request.params.get(b"partNumber", b"")
    if not (text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 10_000):
        raise S3Error(400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    return int(text)


def _chosen_parts(upload: Upload, root: documents.Node) -> list[Part]:
    if root.name != "CompleteMultipartUpload" or not root.all("Part"):
        raise S3Error(400, "MalformedXML", "The XML you provided was not well-formed.")
    chosen: list[Part] = []
    for item in root.all("Part"):
        number = item.value("PartNumber") or ""
        part = upload.parts.get(int(number)) if number.isdigit() and len(number) <= 5 else None
        if part is None or (item.value("ETag") or "").strip('"') != part.etag.decode("ascii"):
            raise S3Error(
                400,
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the "
                "specified entity tag may not match the part's entity tag.",
            )
        if chosen and part.number <= chosen[-1].number:
            raise S3Error(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        chosen.append(part)
    if any(part.content.size < MIN_PART for part in chosen[:-1]):
        raise S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    return chosen


def _whole_checksums(request: Request, parts: list[Part]) -> dict[bytes, bytes]:
    """The object's checksums: given for the whole, or the composite of the parts' where each has one."""
    prefix = b"x-amz-checksum-"
    given = {
        name.removeprefix(prefix): value
        for name, value in request.fields.items()
        if name.startswith(prefix) and name not in (prefix + b"type", prefix + b"algorithm")
    }
    if given or request.fields.get(b"x-amz-checksum-type") == b"FULL_OBJECT":
        return given
    found = {}
    for name, digest in _COMPOSITE.items():
        if all(name in part.checksums for part in parts):
            raw = digest(b"".join(base64.b64decode(part.checksums[name]) for part in parts))
            found[name] = base64.b64encode(raw) + b"-%d" % len(parts)
    return found


def _identity(request: Request, upload: Upload) -> list[str]:
    return [
        leaf("Bucket", request.bucket.decode("ascii")),
        leaf("Key", key_text(upload.key, request.params.get(b"encoding-type"))),
        leaf("UploadId", upload.upload_id.decode("ascii")),
    ]


def _number(request: Request, name: bytes, default: int) -> int:
    text = request.params.get(name, b"")
    if not text:
        return default
    if not (text.isdigit() and len(text) <= 5):
        raise S3Error(400, "InvalidArgument", f"{name.decode('ascii')} must be a number")
    return int(text)
