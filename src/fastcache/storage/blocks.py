"""Reading, writing and closing open cache files: header, data, block sums. Blocking."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastcache._core.extent_codec import FileHeader, header_length, unpack
from fastcache._core.writing import append_views, sum_views
from fastcache.errors import CorruptFileError

ONE_WRITE = 256 << 10
"""Bytes of one system call, which ends where a multiple of it does in the file. The page cache keeps what one call
wrote in pieces as large as its place allows, and sending it later costs by the piece: up to 20 % more CPU from those
that small writes leave, and nothing less from larger ones. Those have a price: a kernel under memory pressure must put
them together, and a guest gives pages of 2 MiB back to its host, which faults them in again 4 KiB at a time: ten times
the CPU of the write itself."""


def read_header(fd: int) -> FileHeader:
    """The checked header of an open file, whose size must be exactly what it promises."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise CorruptFileError("not a regular file")
    data = os.pread(fd, 4096, 0)
    length = header_length(data)
    if length > len(data):
        data += os.pread(fd, length - len(data), len(data))
    header = unpack(data[:length])
    if status.st_size != header.file_size:
        raise CorruptFileError(f"file has {status.st_size} bytes, its header says {header.file_size}")
    return header


def close_all(fds: Iterable[int]) -> OSError | None:
    """Blocking: the last close of an unlinked file frees its blocks. The last error, if there was one.

    Linux has given the descriptor back whatever close reports, and nothing was written through it: an error loses
    nothing, and must not keep the others open.
    """
    failed = None
    for fd in fds:
        try:
            os.close(fd)
        except OSError as error:
            failed = error
    return failed


@dataclass(frozen=True, slots=True)
class BlockSums:
    """CRCs of the bytes written so far, per block; the last one is still open."""

    full: tuple[int, ...] = ()
    open: int = 0
    filled: int = 0

    def extended(self, views: Sequence[memoryview]) -> BlockSums:
        """The sums with ``views`` behind what they are of."""
        full, crc, filled = sum_views(views, self.open, self.filled)
        return BlockSums((*self.full, *full), crc, filled)

    def all(self) -> tuple[int, ...]:
        return (*self.full, self.open) if self.filled else self.full


def write_part(fd: int, offset: int, views: Sequence[memoryview], sums: BlockSums) -> BlockSums:
    """Append ``views`` to a file in progress. The sums are new ones: after a failure the old ones still hold."""
    full, crc, filled = append_views(fd, views, offset, ONE_WRITE, sums.open, sums.filled)
    return BlockSums((*sums.full, *full), crc, filled)
