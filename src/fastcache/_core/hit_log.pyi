from collections.abc import Iterator
from typing import NamedTuple

class LoggedHit(NamedTuple):
    wall: float
    total: float
    first_byte: float | None
    sent: int
    size: int | None
    request_id: int
    status: int
    complete: bool
    origin_status: int | None
    peer: bytes
    head: bytes

class HitLog:
    @property
    def only_failures(self) -> bool: ...
    def __init__(self, capacity: int = 4194304, only_failures: bool = False) -> None: ...
    def __len__(self) -> int: ...
    def take(self) -> bytes: ...

def records(taken: bytes) -> Iterator[LoggedHit]: ...
