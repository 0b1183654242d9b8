"""Extents kept open for others than a reader: for leases, whose answers are sent without Python."""

from __future__ import annotations

import os
from collections.abc import Iterable

from fastcache._core.extent_codec import BLOCK_SIZE
from fastcache.model import Codec
from fastcache.storage.descriptors import Descriptors
from fastcache.storage.entry import Extent


class Pins:
    """Open extents that stay open, and keep their bytes, until ``release``; they may be evicted all the same."""

    __slots__ = ("_descriptors", "extents")

    def __init__(self, descriptors: Descriptors, extents: Iterable[Extent]) -> None:
        self._descriptors = descriptors
        self.extents: dict[Extent, None] = {}
        """What is held, in no order."""
        self.add(extents)

    def add(self, extents: Iterable[Extent]) -> None:
        """Hold these too; what is held already is not held twice."""
        for extent in extents:
            if extent not in self.extents:
                extent.leased += 1
                self._descriptors.pin(extent)
                self.extents[extent] = None

    def take(self, other: Pins) -> None:
        """Hold what ``other`` held, which holds nothing then."""
        self.add(other.extents)
        other.release()

    @property
    def raw(self) -> bool:
        """Whether the files hold the object's bytes as they are, so that ``sendfile`` can send them."""
        return all(extent.header is not None and extent.header.codec is Codec.RAW for extent in self.extents)

    def read_whole(self, size: int) -> bytes | None:
        """All ``size`` bytes of an object that lies in one extent, if they were checked and are in memory; never waits
        for a disk."""
        extent = next((one for one in self.extents if one.start == 0 and one.end == size), None)
        if extent is None:
            return None
        if not extent.is_verified(0, (size - 1) // BLOCK_SIZE):
            return None
        body = bytearray(size)
        try:
            got = os.preadv(extent.fd, [body], extent.data_offset, os.RWF_NOWAIT)
        except OSError:
            return None  # not in memory, or not to be read: the path that waits for the disk finds out which
        return bytes(body) if got == size else None

    def release(self) -> None:
        """Let the extents go."""
        extents, self.extents = self.extents, {}
        for extent in extents:
            extent.leased -= 1
            self._descriptors.unpin(extent)
