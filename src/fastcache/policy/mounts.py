"""Buckets under names of our own: bucket here → endpoint and bucket there (SEMANTICS 37).

What is cached of a mounted bucket is filed under what it is there, so two mounts of one bucket share every entry, and a
mount that is renamed loses none. A bucket that is not mounted is the default endpoint's own, unless a mount hides it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from fastcache.errors import RequestError
from fastcache.model import Headers, OriginId
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.targets import AddressStyle, S3Target

_COPY_SOURCE: Final = b"x-amz-copy-source"
_SOURCE = re.compile(rb"(?:/|%2[Ff])?([A-Za-z0-9_][A-Za-z0-9._-]{1,254})((?:/|%2[Ff]).*)", re.DOTALL)
_NAMES_BUCKETS: Final = frozenset((b"analytics", b"inventory", b"logging", b"policy", b"replication"))
"""Sub-resources whose documents name buckets, this one or others, in ways that are not rewritten here."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket is."""

    origin: OriginId
    bucket: bytes | None
    """None: no bucket, the service itself."""
    credentials: str = ""
    """The name of the credentials, and of the region, by which it is asked; empty for those of the default endpoint."""


class Mounts:
    """All mounts of one configuration."""

    def __init__(self, default: OriginId, mounts: Iterable[tuple[bytes, Place]] = ()) -> None:
        """``mounts`` are (bucket here, place there); ValueError for a name that stands there twice."""
        self._default = default
        self._places: dict[bytes, Place] = {}
        self._names: dict[tuple[OriginId, bytes], list[bytes]] = {}
        for name, place in mounts:
            if place.bucket is None:
                raise ValueError(f"{name!r} is mounted on no bucket")
            if name in self._places:
                raise ValueError(f"{name!r} is mounted twice")
            self._places[name] = place
            if not place.credentials:
                self._names.setdefault((place.origin, place.bucket), []).append(name)

    def place(self, bucket: bytes | None) -> Place:
        """Where the bucket that clients call so is."""
        return Place(self._default, None) if bucket is None else self._places.get(bucket) or self._own(bucket)

    def _own(self, bucket: bytes) -> Place:
        return Place(self._default, bucket)

    def names(self, origin: OriginId, bucket: bytes) -> list[bytes]:
        """What clients call a bucket that the default credentials see at ``origin``: none for one out of reach."""
        mounted = self._names.get((origin, bucket), [])
        if origin == self._default and bucket not in self._places:
            return [bucket, *mounted]
        return list(mounted)

    def mounted(self) -> list[bytes]:
        """All mounts, in order."""
        return sorted(self._places)

    def elsewhere(self) -> list[bytes]:
        """Mounts that no list of the default endpoint's buckets can hold, in order."""
        return [
            name
            for name, place in sorted(self._places.items(), key=lambda item: item[0])
            if place.origin != self._default or place.credentials
        ]

    def translate(self, head: RequestHead, target: S3Target) -> Translation:
        """How the request is put to the origin that has its bucket.

        Raises RequestError (501) for what cannot be put there: a copy from a bucket of another endpoint, a document or
        form that names buckets.
        """
        place = self.place(target.bucket)
        translation = Translation(self, target, place, head.headers)
        if translation.renamed:
            _refuse_documents_with_names(head, target)
        if head.get(_COPY_SOURCE) is None:
            return translation
        headers = tuple(
            (name, self._source_there(value, place) if name.lower() == _COPY_SOURCE else value)
            for name, value in head.headers
        )
        return replace(translation, headers=headers)

    def _source_there(self, value: bytes, target_place: Place) -> bytes:
        """``x-amz-copy-source`` as the target's origin knows it; what follows the bucket's name stays as it is."""
        found = _SOURCE.fullmatch(value)
        if found is None:
            raise RequestError("The copy source is not a bucket and a key.", code="InvalidArgument", close=False)
        place = self.place(found[1])
        if place.origin != target_place.origin or place.credentials != target_place.credentials:
            raise RequestError(
                "A copy between endpoints is not implemented here; read the object and write it.",
                status=501,
                code="NotImplemented",
                close=False,
            )
        assert place.bucket is not None
        return value if place.bucket == found[1] else b"/" + place.bucket + found[2]


@dataclass(frozen=True, slots=True)
class Translation:
    """One request as its origin is asked, and what is needed to translate the answer back."""

    mounts: Mounts
    """Those it was made by."""
    asked: S3Target
    """As the client said it."""
    place: Place
    headers: Headers
    """The request's header fields with the copy source translated."""

    @property
    def renamed(self) -> bool:
        """Whether the bucket has another name there."""
        return self.asked.bucket != self.place.bucket

    @property
    def target(self) -> S3Target:
        """The target there. A virtual-hosted name is in Host, which is the origin's own there."""
        if not self.renamed:
            return self.asked
        raw_path = self.asked.raw_path
        if self.asked.style is AddressStyle.PATH:
            _, slash, rest = raw_path[1:].partition(b"/")
            raw_path = b"/" + (self.place.bucket or b"") + slash + rest
        return replace(self.asked, bucket=self.place.bucket, raw_path=raw_path)


def _refuse_documents_with_names(head: RequestHead, target: S3Target) -> None:
    names = target.query.names
    named = target.key is None and not names.isdisjoint(_NAMES_BUCKETS)
    # A form's policy, and a rename's source, may say the bucket too.
    form = head.method == b"POST" and not names & {b"delete", b"uploads", b"uploadId", b"select"}
    if named or form or b"renameObject" in names:
        raise RequestError(
            "This operation names buckets in a way that is not translated for one that has another name behind this"
            " cache.",
            status=501,
            code="NotImplemented",
            close=False,
        )
