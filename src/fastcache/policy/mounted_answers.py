"""Answers of a mounted bucket's origin in the names that the client knows (SEMANTICS 37).

Which elements of which documents name the bucket: S3 API reference, the response syntax of each operation, and "REST
error responses".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote_from_bytes

from fastcache.model import Headers, OriginId
from fastcache.policy.mounts import Mounts, Translation
from fastcache.protocol.s3xml import rename_buckets
from fastcache.protocol.targets import AddressStyle
from fastcache.protocol.xml_rewriting import Path, Replace

_BUCKET: Final[tuple[Path, ...]] = (
    ("ListBucketResult", "Name"),
    ("ListVersionsResult", "Name"),
    ("ListMultipartUploadsResult", "Bucket"),
    ("ListPartsResult", "Bucket"),
    ("InitiateMultipartUploadResult", "Bucket"),
    ("CompleteMultipartUploadResult", "Bucket"),
    ("Error", "BucketName"),
    ("Error", "Bucket"),
)
_LOCATION: Final[Path] = ("CompleteMultipartUploadResult", "Location")
_RESOURCE: Final[Path] = ("Error", "Resource")


def names_the_bucket(translation: Translation, method: bytes, status: int) -> bool:
    """Whether the body of an answer may hold names that have to be translated."""
    if not translation.renamed or method == b"HEAD":
        return False
    names = translation.asked.query.names
    if status >= 300:
        return status != 304
    if translation.asked.key is None:
        return method == b"GET" and not names & _WITHOUT_NAME
    return not names.isdisjoint({b"uploads", b"uploadId"})


_WITHOUT_NAME: Final = frozenset((b"location", b"versioning", b"tagging", b"cors", b"acl", b"encryption"))


def replacements(translation: Translation, scheme: bytes, host: bytes) -> Mapping[Path, Replace]:
    """What stands in the place of the origin's own names, for a TextRewriter.

    ``scheme`` and ``host`` (its Host field) are those of the client's request.
    """
    here = (translation.asked.bucket or b"").decode("utf-8", "replace")
    there = (translation.place.bucket or b"").decode("utf-8", "replace")

    def bucket(text: str) -> str:
        return here if text == there else text

    def resource(text: str) -> str:
        """``/bucket/key``, or the key alone where the bucket was in the host's name."""
        first, slash, rest = text.removeprefix("/").partition("/")
        return f"/{here}{slash}{rest}" if text.startswith("/") and first == there else text

    location = location_of(translation, scheme, host).decode("ascii", "replace")
    return {**dict.fromkeys(_BUCKET, bucket), _RESOURCE: resource, _LOCATION: lambda text: location}


def location_of(translation: Translation, scheme: bytes, host: bytes) -> bytes:
    """The URL of the object that was asked for, as this client asks for it."""
    target = translation.asked
    path = b"/" + (target.bucket or b"") if target.style is AddressStyle.PATH else b""
    return scheme + b"://" + host + path + b"/" + quote_from_bytes(target.key or b"", safe="/-_.~").encode()


def headers_here(translation: Translation, headers: Headers) -> Headers:
    """An answer's header fields: the Location of CreateBucket is the bucket's path."""
    if not translation.renamed:
        return headers
    there = b"/" + (translation.place.bucket or b"")
    here = b"/" + (translation.asked.bucket or b"")
    return tuple(
        (name, here if name.lower() == b"location" and value.rstrip(b"/") == there else value)
        for name, value in headers
    )


def bucket_list_here(mounts: Mounts, origin: OriginId, body: bytes) -> bytes:
    """The default endpoint's ListBuckets with the names here, and with the buckets that are mounted from elsewhere.

    Raises ValueError for a document that is not such a list.
    """
    return rename_buckets(
        body,
        lambda name: [here.decode() for here in mounts.names(origin, name.encode())],
        [name.decode() for name in mounts.elsewhere()],
    )
