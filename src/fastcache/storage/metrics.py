"""What a store counts, and to whom it tells."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class StoreCounter(StrEnum):
    """Things worth a counter, by their metric label."""

    CORRUPT_FILES = "corrupt_files"
    """Files that were not what they should be; each was discarded and is a miss."""
    IO_ERRORS = "io_errors"
    DISK_FULL = "disk_full"
    STORED_BYTES = "stored_bytes"
    STORED_FILES = "stored_files"
    DISCARDED_FILLS = "discarded_fills"
    """Parts thrown away: outdated fence, another generation, or a failed write."""
    REFUSED_FILLS = "refused_fills"
    WRITE_BEHIND_DROPPED = "write_behind_dropped"
    EVICTED_FILES = "evicted_files"
    EVICTED_BYTES = "evicted_bytes"
    BROKEN = "broken"
    """How often the store gave the directory up for a while."""
    LEFTOVERS = "leftovers"
    """Files of an interrupted life that were removed."""
    VOID_MARKER_FAILED = "void_marker_failed"
    CLAIMS_REFUSED = "claims_refused"
    """Fills and requests that other workers could not be told of: there was no room for one more."""


class StoreMetrics(Protocol):
    """The receiver of a store's counts; called on the loop thread, must not block."""

    def count(self, counter: StoreCounter, amount: int = 1) -> None: ...


class NoMetrics:
    """Counts nothing."""

    def count(self, counter: StoreCounter, amount: int = 1) -> None:
        return None
