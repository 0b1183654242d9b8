"""How a store is used, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SMALLEST_EXTENT = 256 << 10
LARGEST_EXTENT = 32 << 20


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How one cache directory is used. Sizes are in bytes."""

    directory: Path
    capacity: int
    io_threads: int = 4
    index_memory: int = 512 << 20
    """What is known of objects in memory, as ``storage.known`` estimates it."""
    write_behind_limit: int = 64 << 20
    durability: Literal["none", "fsync"] = "none"
    idle_descriptors: int = 1024
    upload_expiry: float = 86400.0
    """Seconds after which the parts of a multipart upload that nobody goes on with are forgotten."""

    @property
    def extent_size(self) -> int:
        """How long one extent becomes at most: a sixteenth of the capacity, 256 KiB to 32 MiB, whole blocks."""
        sixteenth = self.capacity // 16 // SMALLEST_EXTENT * SMALLEST_EXTENT
        return max(SMALLEST_EXTENT, min(sixteenth, LARGEST_EXTENT))


@dataclass(frozen=True, slots=True)
class StoreStats:
    """A store at one moment."""

    capacity: int
    used: int
    objects_in_memory: int
    extents_in_memory: int
    objects_on_disk_only: int
    fills: int
    idle_descriptors: int
    scanned: bool
    available: bool
