"""Answers of a mounted bucket's origin in the names that the client knows (SEMANTICS 37).

Which elements of which documents name the bucket: S3 API reference, the response syntax of each operation, and "REST
error responses".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote_from_bytes

from fastcache.model import Headers
from fastcache.policy.mounts import Translation
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
    return method in (b"GET", b"POST") and not names.isdisjoint({b"uploads", b"uploadId"})


def lists_buckets(translation: Translation, method: bytes, status: int) -> bool:
    """Whether an answer's body is the list of the default endpoint's buckets."""
    return method == b"GET" and status == 200 and translation.asked.bucket is None


def fields_there(translation: Translation, method: bytes) -> Headers:
    """The request's fields for its origin, which is not to compress an answer that has to be read here."""
    headers = translation.headers
    if not names_the_bucket(translation, method, 200) and not lists_buckets(translation, method, 200):
        return headers
    return tuple(field for field in headers if field[0].lower() != b"accept-encoding")


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


def bucket_list_here(translation: Translation, body: bytes) -> bytes:
    """The default endpoint's ListBuckets with the names here, and on its last page with mounts that it does not list.

    ``prefix``, which the origin has compared with the names there, is compared with those here too. Raises ValueError
    for a document that is not such a list.
    """
    mounts, origin = translation.mounts, translation.place.origin
    query = {item.name: item.value for item in translation.asked.query.items}
    prefix = query.get(b"prefix", b"")
    # Of a list in pages nobody knows what was on those before.
    unlisted = mounts.elsewhere() if b"continuation-token" in query else mounts.mounted()

    def wanted(names: Iterable[bytes]) -> list[str]:
        return [name.decode() for name in names if name.startswith(prefix)]

    return rename_buckets(body, lambda name: wanted(mounts.names(origin, name.encode())), wanted(unlisted))
