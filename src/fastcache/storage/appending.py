"""Appending to files in progress: room taken first, in calls that suit the disk and the page cache."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastcache.storage.blocks import BlockSums, write_part
from fastcache.storage.disk import ObjectDisk
from fastcache.storage.entry import disk_bytes

_LEAST_WRITE = 256 << 10
_MOST_WRITE = 1 << 20
_FAST = 200e6
"""Bytes a second from which on the disk may be given twice as much at once: a slow one is given little, so that what
waits behind a call waits for little."""


@dataclass(slots=True)
class Part:
    """A file in progress. ``fd`` belongs to whoever holds the part, and goes over to the commit or the discard."""

    path: str
    fd: int
    start: int
    data_offset: int
    limit: int
    """Where it has to end: the next border of the grid, or what is committed already."""
    length: int = 0
    sums: BlockSums = BlockSums()  # noqa: RUF009 - frozen
    reserved: int = 0
    """Bytes counted for it in the store's space."""


class Appender:
    """Appends to one part at a time; learns how much this disk takes at once. Loop thread only."""

    def __init__(self, disk: ObjectDisk) -> None:
        self._disk = disk
        self._unit = _LEAST_WRITE

    def wanted(self, at: int, left: int, most: int) -> int:
        """How many bytes are best written next, ``most`` at most (256 KiB or more), to offset ``at`` of a file that
        takes ``left`` more: up to where a large piece of the file ends."""
        unit = self._unit
        while unit > most:
            unit >>= 1
        return min(unit - at % unit, left)

    async def append(self, part: Part, blocks: list[memoryview]) -> int:
        """Write as much of ``blocks`` as the part takes; how many bytes. Raises OSError or StorageError."""
        taken = min(sum(len(block) for block in blocks), part.limit - part.start - part.length)
        needed = disk_bytes(part.data_offset + part.length + taken) - part.reserved
        if needed > 0:
            await self._disk.space.reserve(needed)
            part.reserved += needed
        begun = asyncio.get_running_loop().time()
        part.sums = await self._disk.io.run(
            write_part, part.fd, part.data_offset + part.length, first_bytes(blocks, taken), part.sums
        )
        took = asyncio.get_running_loop().time() - begun
        self._unit = min(2 * self._unit, _MOST_WRITE) if taken >= took * _FAST else _LEAST_WRITE
        part.length += taken
        return taken


def first_bytes(blocks: list[memoryview], length: int) -> list[memoryview]:
    """The first ``length`` bytes of ``blocks``."""
    chosen = []
    for block in blocks:
        if length <= 0:
            break
        chosen.append(block[:length])
        length -= len(block)
    return chosen


def bytes_behind(blocks: list[memoryview], length: int) -> list[memoryview]:
    """What follows the first ``length`` bytes of ``blocks``."""
    for at, block in enumerate(blocks):
        if length < len(block):
            return [block[length:], *blocks[at + 1 :]]
        length -= len(block)
    return []
