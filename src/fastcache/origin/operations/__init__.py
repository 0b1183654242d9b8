"""S3's operations, one function each, and the table that picks one for a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fastcache.origin.message import Response, S3Error
from fastcache.origin.operations import buckets, copying, listing, multipart, reading, subresources, writing
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState

Handler = Callable[[OriginState, Request], Response]


class Operation(NamedTuple):
    """An S3 API operation."""

    name: str
    run: Handler


_SERVICE = {(b"GET", b""): Operation("ListBuckets", buckets.list_buckets)}
_BUCKET = {
    (b"GET", b""): Operation("ListObjects", listing.list_objects),
    (b"GET", b"list-type"): Operation("ListObjectsV2", listing.list_objects),
    (b"GET", b"location"): Operation("GetBucketLocation", buckets.get_location),
    (b"GET", b"versions"): Operation("ListObjectVersions", listing.list_versions),
    (b"GET", b"uploads"): Operation("ListMultipartUploads", multipart.list_uploads),
    (b"GET", b"versioning"): Operation("GetBucketVersioning", subresources.get_versioning),
    (b"PUT", b"versioning"): Operation("PutBucketVersioning", subresources.put_versioning),
    (b"GET", b"acl"): Operation("GetBucketAcl", subresources.get_acl),
    (b"PUT", b"acl"): Operation("PutBucketAcl", subresources.put_bucket_acl),
    (b"GET", b"cors"): Operation("GetBucketCors", subresources.get_cors),
    (b"PUT", b"cors"): Operation("PutBucketCors", subresources.put_cors),
    (b"DELETE", b"cors"): Operation("DeleteBucketCors", subresources.delete_cors),
    (b"GET", b"tagging"): Operation("GetBucketTagging", subresources.get_tagging),
    (b"PUT", b"tagging"): Operation("PutBucketTagging", subresources.put_tagging),
    (b"DELETE", b"tagging"): Operation("DeleteBucketTagging", subresources.delete_tagging),
    (b"POST", b"delete"): Operation("DeleteObjects", writing.delete_objects),
    (b"HEAD", b""): Operation("HeadBucket", buckets.head_bucket),
    (b"PUT", b""): Operation("CreateBucket", buckets.create_bucket),
    (b"DELETE", b""): Operation("DeleteBucket", buckets.delete_bucket),
}
_OBJECT = {
    (b"GET", b""): Operation("GetObject", reading.get_object),
    (b"HEAD", b""): Operation("HeadObject", reading.head_object),
    (b"PUT", b""): Operation("PutObject", writing.put_object),
    (b"DELETE", b""): Operation("DeleteObject", writing.delete_object),
    (b"GET", b"acl"): Operation("GetObjectAcl", subresources.get_acl),
    (b"GET", b"tagging"): Operation("GetObjectTagging", subresources.get_tagging),
    (b"PUT", b"tagging"): Operation("PutObjectTagging", subresources.put_tagging),
    (b"DELETE", b"tagging"): Operation("DeleteObjectTagging", subresources.delete_tagging),
    (b"POST", b"uploads"): Operation("CreateMultipartUpload", multipart.create_upload),
    (b"PUT", b"uploadId"): Operation("UploadPart", multipart.upload_part),
    (b"GET", b"uploadId"): Operation("ListParts", multipart.list_parts),
    (b"POST", b"uploadId"): Operation("CompleteMultipartUpload", multipart.complete_upload),
    (b"DELETE", b"uploadId"): Operation("AbortMultipartUpload", multipart.abort_upload),
}
_COPY = Operation("CopyObject", copying.copy_object)
_COPY_PART = Operation("UploadPartCopy", copying.upload_part_copy)
_PREFLIGHT = Operation("OPTIONS", subresources.preflight)

_SUB_RESOURCES = frozenset(
    b"accelerate acl analytics append attributes cors delete encryption intelligent-tiering inventory legal-hold "
    b"lifecycle list-type location logging metadataTable metrics notification object-lock ownershipControls policy "
    b"policyStatus publicAccessBlock rename replication requestPayment restore retention select session tagging "
    b"torrent uploadId uploads versioning versions website".split()
)


def resolve(request: Request) -> Operation:
    """The operation a request asks for; raises S3Error (405, 501)."""
    method = request.method
    if method == b"OPTIONS":
        return _PREFLIGHT
    table = _OBJECT if request.key else _BUCKET if request.bucket else _SERVICE
    sub = _sub_resource(request) if request.params else b""
    operation = table.get((method, sub))
    if operation is None:
        if sub:
            raise S3Error(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
        raise S3Error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
    if method == b"PUT" and b"x-amz-copy-source" in request.fields:
        return _COPY_PART if sub == b"uploadId" else _COPY if request.key else operation
    return operation


def _sub_resource(request: Request) -> bytes:
    found = b""
    for name, value in request.params.items():
        # A bare unknown name is most likely a sub-resource that is newer than the table: never read it as GetObject.
        bare = not value and name not in _BARE_PARAMETERS and not name.lower().startswith(b"x-amz-")
        if name in _SUB_RESOURCES or bare:
            if found:
                raise S3Error(
                    400, "InvalidArgument", "Conflicting query string parameters were given for this operation."
                )
            found = name
    return found


_BARE_PARAMETERS = frozenset(
    b"prefix delimiter marker max-keys encoding-type continuation-token start-after fetch-owner key-marker "
    b"version-id-marker upload-id-marker part-number-marker max-parts max-uploads versionId partNumber x-id "
    b"response-cache-control response-content-disposition response-content-encoding response-content-language "
    b"response-content-type response-expires Signature Expires AWSAccessKeyId".split()
)
