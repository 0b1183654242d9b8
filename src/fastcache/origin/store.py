"""Buckets and object versions in memory."""

from __future__ import annotations

import secrets
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate

from fastcache.origin.content import Content, Literal
from fastcache.origin.message import Field, S3Error

NULL_VERSION = b"null"


@dataclass(slots=True)
class Part:
    """A part of a multipart upload, or of the object completed from it."""

    number: int
    content: Content
    etag: bytes
    """Unquoted."""
    modified: float
    checksums: dict[bytes, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class Version:
    """One version of an object. ``headers`` are replayed as they were put: Content-Type, x-amz-meta-* and the like."""

    key: bytes
    content: Content
    etag: bytes
    """Unquoted."""
    modified: float
    headers: list[Field] = field(default_factory=list)
    checksums: dict[bytes, bytes] = field(default_factory=dict)
    version_id: bytes | None = None
    delete_marker: bool = False
    parts: tuple[Part, ...] = ()
    tags: list[tuple[str, str]] = field(default_factory=list)
    generation: int | None = None
    """Of a synthetic object; None for others."""
    last_modified: bytes = b""
    quoted_etag: bytes = b""

    def __post_init__(self) -> None:
        self.modified = float(int(self.modified))
        self.last_modified = formatdate(self.modified, usegmt=True).encode("ascii")
        self.quoted_etag = b'"' + self.etag + b'"'

    @property
    def size(self) -> int:
        return self.content.size


@dataclass(slots=True)
class Upload:
    """A multipart upload in progress."""

    upload_id: bytes
    key: bytes
    headers: list[Field]
    created: float
    tags: list[tuple[str, str]]
    checksum_algorithm: bytes
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """A bucket. ``versioning`` is "" (never switched on), "Enabled" or "Suspended"."""

    name: bytes
    owner: bytes
    created: float
    public_read: bool = False
    versioning: str = ""
    cors: bytes = b""
    tags: list[tuple[str, str]] = field(default_factory=list)
    uploads: dict[bytes, Upload] = field(default_factory=dict)
    _versions: dict[bytes, list[Version]] = field(default_factory=dict)
    _sorted: list[bytes] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        return not self._versions

    def versions(self, key: bytes) -> list[Version]:
        """All versions of ``key``, newest first."""
        return list(reversed(self._versions.get(key, ())))

    def latest(self, key: bytes) -> Version | None:
        """The newest version, which may be a delete marker."""
        found = self._versions.get(key)
        return found[-1] if found else None

    def version(self, key: bytes, version_id: bytes) -> Version | None:
        """The version with this id; ``null`` names the one put while versioning was off."""
        for version in self._versions.get(key, ()):
            if (version.version_id or NULL_VERSION) == version_id:
                return version
        return None

    @property
    def keys(self) -> Sequence[bytes]:
        """All keys, sorted; not a copy."""
        return self._sorted

    def add(self, version: Version) -> Version:
        """Make ``version`` the current one, as the bucket's versioning says."""
        held = self._versions.get(version.key)
        if held is None:
            self._versions[version.key] = held = []
            insort(self._sorted, version.key)
        if self.versioning == "Enabled":
            version.version_id = secrets.token_urlsafe(24).encode("ascii")
        else:
            version.version_id = NULL_VERSION if self.versioning else None
            held[:] = [old for old in held if old.version_id not in (None, NULL_VERSION)]
        held.append(version)
        return version

    def delete(self, key: bytes, now: float) -> Version | None:
        """DELETE without a version id: the delete marker made, if the bucket is versioned."""
        if not self.versioning:
            self._drop(key)
            return None
        return self.add(Version(key, Literal(b""), b"", now, delete_marker=True))

    def delete_version(self, key: bytes, version_id: bytes) -> Version | None:
        """Remove one version for good; what was removed, if there was such a version."""
        found = self.version(key, version_id)
        if found is not None:
            held = self._versions[key]
            held[:] = [version for version in held if version is not found]
            if not held:
                self._drop(key)
        return found

    def _drop(self, key: bytes) -> None:
        if self._versions.pop(key, None) is not None:
            del self._sorted[bisect_left(self._sorted, key)]


class Store:
    """All buckets."""

    def __init__(self) -> None:
        self.buckets: dict[bytes, Bucket] = {}

    def bucket(self, name: bytes) -> Bucket:
        """Raises S3Error NoSuchBucket."""
        found = self.buckets.get(name)
        if found is None:
            raise S3Error(
                404,
                "NoSuchBucket",
                "The specified bucket does not exist",
                details=(("BucketName", name.decode("utf-8", "replace")),),
            )
        return found

    def create(self, name: bytes, owner: bytes, now: float) -> Bucket:
        """A new bucket; the name must be free."""
        bucket = self.buckets[name] = Bucket(name, owner, now)
        return bucket
