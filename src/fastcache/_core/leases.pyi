from collections.abc import Sequence

from fastcache._core.extents import ExtentState
from fastcache._core.fences import Fences
from fastcache._core.generations import Knowledge
from fastcache._core.lease_index import LeaseIndex
from fastcache._core.ordering import Latest
from fastcache.model import FenceToken, Identity

class Leases(LeaseIndex):
    published: int
    def __init__(self, fences: Fences, capacity: int, memo_bytes: int, extents: int, grants: int = 0) -> None: ...
    @property
    def memo_bytes(self) -> int: ...
    @property
    def open_extents(self) -> int: ...
    def publish(
        self,
        host: bytes,
        path: bytes,
        object_id: Identity,
        token: FenceToken,
        *,
        proved_at: float,
        get_ttl: float,
        head_ttl: float,
        until: float,
        etag: bytes,
        size: int,
        last_modified: bytes | None,
        headers: bytes,
        checksums: bytes,
        not_modified: bytes,
        resource: bytes | None,
        checksums_known: bool,
        memo: bytes | None,
        extents: Sequence[ExtentState],
        latest: Latest | None = None,
        knowledge: Knowledge | None = None,
        version: bytes | None = None,
        headers_without_vary: bytes | None = None,
    ) -> int: ...
    def extend(self, lease_id: int, extents: Sequence[ExtentState]) -> bool: ...
    def grant(self, lease_id: int, generation: int, slot: int) -> None: ...
    def is_granted(self, lease_id: int, generation: int, slot: int) -> bool: ...
    def revoke(self, lease_id: int) -> None: ...
    def revoke_all(self) -> None: ...
    def expire(self, now: float, looks: int) -> None: ...
    def take_released(self) -> list[int]: ...
    def lookup(self, host: bytes, path: bytes) -> int: ...
    def holds(self, lease_id: int, now: float) -> bool: ...
    def covers(self, lease_id: int, start: int, end: int) -> bool: ...
