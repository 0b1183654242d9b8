from collections.abc import Sequence

from fastcache._core.expected import Expected
from fastcache._core.latency import Latencies

MODES: dict[str, int]
MAX_DEPTH: int

class Task:
    def __init__(
        self,
        asked: Sequence[tuple[bytes, Expected | None, int, int | None]],
        *,
        mode: str = "discard",
        depth: int = 1,
        seed: int | None = None,
        rate: float = 0.0,
        count: int | None = None,
    ) -> None: ...
    @property
    def bounded(self) -> bool: ...
    @property
    def latencies(self) -> Latencies: ...
    @property
    def first_bytes(self) -> Latencies: ...
    @property
    def answers(self) -> int: ...
    @property
    def body_bytes(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def statuses(self) -> dict[int, int]: ...
    @property
    def results(self) -> dict[str, int]: ...
    @property
    def failures(self) -> dict[str, int]: ...
    @property
    def wrong(self) -> tuple[int, int] | None: ...
