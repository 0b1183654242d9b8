from collections.abc import Callable, Sequence

from fastcache._core.counters import Counters, Histogram
from fastcache._core.hit_heads import HitHeads
from fastcache._core.hit_log import HitLog
from fastcache._core.leases import Leases
from fastcache._core.origins import Origins
from fastcache._core.sigv4 import Verifier

STATUSES: tuple[int, ...]

_PlainFields = tuple[
    bool, bytes, bytes, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None, bytes | None, bool
]

class Hits(HitHeads):
    served: int
    unrecognised: int
    unleased: int
    unverified: int
    unready: int
    unasked: int
    passed_on: int
    taken_over: int
    def __init__(
        self,
        leases: Leases,
        counters: Counters,
        histograms: tuple[Histogram, Histogram, Histogram, Histogram],
        done_slots: Sequence[Sequence[int]],
        failed_slots: Sequence[Sequence[int]],
        sent_slot: int,
        errors: Sequence[tuple[bytes, bytes, bytes, bytes]],
        *,
        origins: Origins | None = None,
        origin_slots: tuple[int, int, int] = (0, 0, 0),
        log: HitLog | None = None,
        parser: Callable[[bytes], _PlainFields | None] | None = None,
        max_fields: int = 100,
        verifier: Verifier | None = None,
    ) -> None: ...
    def switch(self, on: bool) -> None: ...
    def outcomes(self) -> dict[str, int]: ...
