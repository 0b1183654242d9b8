from collections.abc import Callable, Mapping
from socket import socket

from fastcache._core.load_loop import LoadLoop
from fastcache._core.load_task import Task

class StalledError(Exception): ...

class Load(LoadLoop):
    def __init__(self) -> None: ...
    def add(self, opener: Callable[[], socket], count: int) -> int: ...
    def run(
        self,
        tasks: Mapping[int, Task],
        *,
        seconds: float | None = None,
        spinning: bool = False,
        stall: float = 20.0,
    ) -> float: ...
    def close(self) -> None: ...
