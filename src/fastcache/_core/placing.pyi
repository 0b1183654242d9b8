from collections.abc import Sequence

from fastcache._core.shared import SharedMemory

class Guards:
    def __init__(self, fd: int, memory: SharedMemory) -> None: ...
    def enter(self, digest: bytes) -> None: ...
    def leave(self, digest: bytes) -> None: ...

def mark_void(
    root: int, guards: Guards | None, digest: bytes, object_file: str, directory: str, mark: str, durable: bool
) -> tuple[bool, int]: ...
def store_whole(
    root: int,
    guards: Guards | None,
    digest: bytes,
    part: str,
    target: str,
    header: bytes,
    data: Sequence[memoryview],
    data_offset: int,
    unit: int,
    durable: bool,
    clear: bool,
) -> int: ...
