"""What the layers below count, as the product's metrics."""

from __future__ import annotations

from collections.abc import Callable

from fastcache.observe.metrics import Metrics
from fastcache.storage.metrics import StoreCounter


class StoreTally:
    """The store's counts."""

    __slots__ = ("_receivers",)

    def __init__(self, metrics: Metrics) -> None:
        self._receivers: dict[StoreCounter, Callable[[int], None]] = {
            StoreCounter.STORED_BYTES: metrics.store_commit,
            StoreCounter.EVICTED_FILES: lambda n: metrics.store_evicted(n, 0),
            StoreCounter.EVICTED_BYTES: lambda n: metrics.store_evicted(0, n),
            StoreCounter.CORRUPT_FILES: lambda n: _times(n, metrics.store_corrupt_file),
            StoreCounter.IO_ERRORS: lambda n: _times(n, metrics.store_io_error),
            StoreCounter.DISK_FULL: lambda n: _times(n, metrics.store_io_error),
            StoreCounter.WRITE_BEHIND_DROPPED: lambda n: _times(n, metrics.store_write_dropped),
            StoreCounter.CLAIMS_REFUSED: lambda n: _times(n, metrics.claim_refused),
        }

    def count(self, counter: StoreCounter, amount: int = 1) -> None:
        receiver = self._receivers.get(counter)
        if receiver is not None:
            receiver(amount)


def _times(n: int, tell: Callable[[], None]) -> None:
    for _ in range(n):
        tell()
