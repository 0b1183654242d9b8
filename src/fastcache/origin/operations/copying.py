"""CopyObject and UploadPartCopy."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from fastcache.origin import conditions
from fastcache.origin.accounts import denied
from fastcache.origin.content import Slice
from fastcache.origin.documents import document, leaf
from fastcache.origin.message import Response, S3Error, xml_response
from fastcache.origin.operations.buckets import iso
from fastcache.origin.operations.multipart import find_upload, part_number
from fastcache.origin.operations.reading import named_version
from fastcache.origin.operations.subresources import tags_from_header
from fastcache.origin.operations.writing import kept_headers, require_utf8, written_fields
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState
from fastcache.origin.store import Part, Version

_COPY_RANGE = re.compile(rb"bytes=(\d{1,19})-(\d{1,19})").fullmatch


def copy_object(state: OriginState, request: Request) -> Response:
    bucket = state.store.bucket(request.bucket)
    require_utf8(request.key)
    source, named = _source(state, request)
    fields = request.fields
    replaced = fields.get(b"x-amz-metadata-directive", b"COPY").upper() == b"REPLACE"
    current = bucket.latest(request.key)
    if source is current and not replaced and not named and b"x-amz-storage-class" not in fields:
        raise S3Error(
            400,
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes.",
        )
    conditions.check_write(fields, current)
    headers = kept_headers(fields) if replaced else list(source.headers)
    retagged = fields.get(b"x-amz-tagging-directive", b"COPY").upper() == b"REPLACE"
    version = bucket.add(
        Version(
            request.key,
            source.content,
            source.content.md5() if source.parts else source.etag,
            state.now(),
            headers,
            {name: value for name, value in source.checksums.items() if b"-" not in value},
            tags=tags_from_header(fields) if retagged else list(source.tags),
            generation=source.generation,
        )
    )
    response_fields = [item for item in written_fields(version) if item[0] != b"ETag"]
    if source.version_id is not None:
        response_fields.append((b"x-amz-copy-source-version-id", source.version_id))
    return xml_response(_result("CopyObjectResult", version.etag, version.modified), headers=tuple(response_fields))


def upload_part_copy(state: OriginState, request: Request) -> Response:
    upload = find_upload(state, request)
    source, _ = _source(state, request)
    start, length = 0, source.size
    asked = request.fields.get(b"x-amz-copy-source-range")
    if asked is not None:
        match = _COPY_RANGE(asked)
        if match is None:
            raise S3Error(
                400, "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last"
            )
        start, last = int(match[1]), int(match[2])
        if last < start or last >= source.size:
            raise S3Error(
                400, "InvalidArgument", f"Range specified is not valid for source object of size: {source.size}"
            )
        length = last - start + 1
    content = Slice(source.content, start, length)
    part = Part(part_number(request), content, content.md5(), state.now())
    upload.parts[part.number] = part
    return xml_response(_result("CopyPartResult", part.etag, part.modified))


def _source(state: OriginState, request: Request) -> tuple[Version, bool]:
    """The version to copy and whether it was named by its id; raises S3Error."""
    raw, _, query = request.fields[b"x-amz-copy-source"].partition(b"?")
    path = unquote_to_bytes(raw).removeprefix(b"/")
    name, slash, key = path.partition(b"/")
    if not (name and slash and key):
        raise S3Error(
            400, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        )
    account = request.account.account if request.account else None
    if account is not None and not account.reaches(path):
        raise denied()
    bucket = state.store.bucket(name)
    version_id = query.removeprefix(b"versionId=") if query.startswith(b"versionId=") else None
    version = bucket.latest(key) if version_id is None else named_version(bucket, key, version_id)
    if version is None or version.delete_marker:
        raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
    prefix = b"x-amz-copy-source-"
    given = {
        field.removeprefix(prefix): value
        for field, value in request.fields.items()
        if field.startswith(prefix + b"if-")
    }
    if not conditions.check(given, version):
        raise S3Error(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    return version, version_id is not None


def _result(name: str, etag: bytes, modified: float) -> bytes:
    return document(name, leaf("LastModified", iso(modified)), leaf("ETag", f'"{etag.decode("ascii")}"'))
