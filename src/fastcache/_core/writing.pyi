from collections.abc import Sequence

from fastcache._core.shared import SharedMemory
from fastcache.model import BytesLike

def write_views(fd: int, views: Sequence[BytesLike], offset: int, unit: int) -> None: ...
def sum_views(views: Sequence[BytesLike], crc: int = 0, filled: int = 0) -> tuple[list[int], int, int]: ...
def append_views(
    fd: int, views: Sequence[BytesLike], offset: int, unit: int, crc: int, filled: int
) -> tuple[list[int], int, int]: ...
def write_new(
    root: int, path: str, header: BytesLike, views: Sequence[BytesLike], data_offset: int, unit: int, fsync: bool
) -> None: ...
def complete(fd: int, header: BytesLike, size: int, fsync: bool) -> None: ...
def rename_counted(
    root: int,
    source: str,
    target: str,
    directories: Sequence[str],
    lock: int,
    at: int,
    memory: SharedMemory,
    digest: bytes,
) -> int: ...
def are_absent(root: int, paths: Sequence[str]) -> bool: ...
