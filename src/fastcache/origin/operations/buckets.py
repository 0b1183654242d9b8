"""Operations on buckets themselves."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from fastcache.origin.documents import document, element, leaf
from fastcache.origin.message import Response, S3Error, xml_response
from fastcache.origin.request import Request
from fastcache.origin.state import OriginState

_NAME = re.compile(rb"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]").fullmatch


def iso(when: float) -> str:
    """A time as S3's documents write it."""
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def owner(name: bytes) -> str:
    """An ``<Owner>``'s children."""
    text = name.decode("utf-8", "replace")
    return leaf("ID", text) + leaf("DisplayName", text)


def list_buckets(state: OriginState, request: Request) -> Response:
    identity = request.account
    account = identity.account if identity else None
    listed = [
        element("Bucket", leaf("Name", name.decode("utf-8", "replace")), leaf("CreationDate", iso(bucket.created)))
        for name, bucket in sorted(state.store.buckets.items())
        if account is None or account.reaches_bucket(name)
    ]
    name = identity.name if identity else b""
    return xml_response(document("ListAllMyBucketsResult", element("Owner", owner(name)), element("Buckets", *listed)))


def create_bucket(state: OriginState, request: Request) -> Response:
    if not _NAME(request.bucket):
        raise S3Error(400, "InvalidBucketName", "The specified bucket is not valid.")
    if request.bucket in state.store.buckets:
        raise S3Error(
            409,
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
        )
    name = request.account.name if request.account else b""
    bucket = state.store.create(request.bucket, name, state.now())
    bucket.public_read = request.fields.get(b"x-amz-acl") in (b"public-read", b"public-read-write")
    return Response(200, [(b"Location", b"/" + request.bucket)])


def head_bucket(state: OriginState, request: Request) -> Response:
    state.store.bucket(request.bucket)
    headers = [(b"x-amz-bucket-region", state.region), (b"Content-Type", b"application/xml")]
    return Response(200, headers)


def delete_bucket(state: OriginState, request: Request) -> Response:
    if not state.store.bucket(request.bucket).empty:
        raise S3Error(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
    del state.store.buckets[request.bucket]
    return Response(204)


def get_location(state: OriginState, request: Request) -> Response:
    state.store.bucket(request.bucket)
    # The default region has an empty constraint, at AWS and everywhere else.
    region = "" if state.region == b"us-east-1" else state.region.decode("ascii")
    text = document("LocationConstraint", region)
    return xml_response(text)
