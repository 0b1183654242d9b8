"""Reading what the disk holds of an object. Blocking; runs in the tier's I/O threads."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from fastcache._core.crc32c import crc_file
from fastcache._core.extent_codec import BLOCK_SIZE, FileHeader, Kind, decode_head
from fastcache._core.writing import are_absent
from fastcache.errors import CorruptFileError
from fastcache.model import Codec, HeadRecord
from fastcache.storage import layout
from fastcache.storage.blocks import read_header
from fastcache.storage.entry import DISK_BLOCK, disk_bytes
from fastcache.storage.tree import DIRECTORY, Tree

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""NONBLOCK: a planted FIFO must not hold an I/O thread; regular files ignore it."""


@dataclass(slots=True)
class FoundExtent:
    """An extent that lies on the disk, by its name only: its header is checked when it is opened."""

    start: int
    end: int
    size: int


@dataclass(slots=True)
class Found:
    """What the disk holds of an object after useless files were removed."""

    head: HeadRecord | None = None
    whole: bool = False
    directory: bool = False
    overhead: int = 0
    extents: list[FoundExtent] = field(default_factory=list)
    voided: bool = False
    changes: int = 0
    """In a directory that is shared: how often files of such objects had been changed before we looked."""
    oddities: list[str] = field(default_factory=list)


_STREAM = 4
_AHEAD = 16
"""Blocks: what a stream has read at once at least, and what is fetched ahead for it."""


class Loading(Tree):
    """Files are opened only to be checked: nothing of them is believed that their headers do not say too."""

    def open_file(self, path: str, expected: FileHeader) -> tuple[int, FileHeader]:
        """Open a file and compare every field of its header with what is ``expected``.

        ``expected`` carries identity and interval; sizes, blocks and fences are the file's own. The caller owns the
        descriptor. Raises OSError, or CorruptFileError for any difference.
        """
        fd = os.open(path, _READ, dir_fd=self._root)
        try:
            header = read_header(fd)
            if (
                header.kind != expected.kind
                or header.object_digest != expected.object_digest
                or header.generation_tag != expected.generation_tag
                or header.object_size != expected.object_size
                or header.start != expected.start
                or header.length != expected.length
            ):
                raise CorruptFileError("another object's, generation's or interval's file")
            if header.codec != Codec.RAW:
                raise CorruptFileError("stored with a codec that is not in use")
            # What sends from the file must not read ahead in it, which costs the loop milliseconds; ``verify`` does.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        except BaseException:
            os.close(fd)
            raise
        return fd, header

    def read_head(self, path: str, digest: bytes, kind: Kind) -> tuple[HeadRecord, int]:
        """The head record of a head file or of a whole object's file, and the size of the file."""
        fd = os.open(path, _READ, dir_fd=self._root)
        try:
            header = read_header(fd)
        finally:
            os.close(fd)
        if header.kind != kind or header.object_digest != digest:
            raise CorruptFileError("another object's file")
        record = decode_head(header.blob)
        generation = record.generation
        if generation.tag != header.generation_tag or generation.size != header.object_size:
            raise CorruptFileError("head and header speak of different generations")
        return record, header.file_size

    def load(self, digest: bytes) -> Found:
        """What is stored of an object. Files that cannot be used are removed on the way and named in ``oddities``."""
        found = Found()
        if self.is_absent(digest):
            return found
        found.voided = self._is_file(layout.void_file(digest))
        whole, whole_size = self._load_whole(digest, found)
        self._load_directory(digest, found)
        if whole is None:
            return found
        if found.head is not None and not _supersedes(whole, found.head):
            self._unlink(layout.object_file(digest))
            return found
        if found.directory:
            self._remove_directory(digest)
        found.head, found.whole, found.directory, found.overhead = whole, True, False, 0
        found.extents = [FoundExtent(0, whole.generation.size, disk_bytes(whole_size))]
        return found

    def is_absent(self, digest: bytes) -> bool:
        """Whether nothing at all is stored of an object."""
        if not self.shard_exists(digest):
            return True
        names = layout.object_file(digest), layout.object_directory(digest), layout.void_file(digest)
        return are_absent(self._root, names)

    def _load_whole(self, digest: bytes, found: Found) -> tuple[HeadRecord | None, int]:
        path = layout.object_file(digest)
        try:
            return self.read_head(path, digest, Kind.OBJECT)
        except FileNotFoundError:
            return None, 0
        except (CorruptFileError, FileExistsError, EOFError) as error:
            found.oddities.append(f"{path}: {error}")
        except OSError as error:
            if not _is_not_a_file(error):
                raise
            found.oddities.append(f"{path}: {error.strerror}")
        self._unlink(path)
        return None, 0

    def _load_directory(self, digest: bytes, found: Found) -> None:
        path = layout.object_directory(digest)
        try:
            directory = os.open(path, DIRECTORY, dir_fd=self._root)
        except FileNotFoundError:
            return
        except OSError as error:
            if not _is_not_a_file(error):
                raise
            found.oddities.append(f"{path}: not a directory")
            self._unlink(path)
            return
        try:
            try:
                head, head_size = self.read_head(f"{path}/{layout.HEAD}", digest, Kind.HEAD)
            except FileNotFoundError:
                head, head_size = None, 0
            except (CorruptFileError, EOFError) as error:
                found.oddities.append(f"{path}/{layout.HEAD}: {error}")
                head, head_size = None, 0
            except OSError as error:
                if not _is_not_a_file(error):
                    raise
                found.oddities.append(f"{path}/{layout.HEAD}: {error.strerror}")
                head, head_size = None, 0
            if head is not None:
                found.extents = self._list_extents(directory, path, head, found)
        finally:
            os.close(directory)
        if not found.extents:
            self._remove_directory(digest)
            return
        found.head, found.directory, found.overhead = head, True, DISK_BLOCK + disk_bytes(head_size)

    def _list_extents(self, directory: int, path: str, head: HeadRecord, found: Found) -> list[FoundExtent]:
        current = layout.generation_name(head.generation.tag)
        extents = []
        for name in os.listdir(directory):
            if name == layout.HEAD:
                continue
            parsed = layout.parse_extent_name(name)
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            regular = stat.S_ISREG(status.st_mode)
            if parsed is not None and regular and parsed.generation == current and parsed.end <= head.generation.size:
                extents.append(FoundExtent(parsed.start, parsed.end, disk_bytes(status.st_size)))
                continue
            if parsed is None or not regular:
                found.oddities.append(f"{path}/{name!r}: does not belong here")
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=directory)
        return extents

    def verify(self, fd: int, header: FileHeader, blocks: range) -> None:
        """Read ``blocks`` (by number, one behind the other) of an open file and compare their CRCs. Raises OSError or
        CorruptFileError. Behind as much as a stream asks for at once, the disk is told what comes next."""
        if len(blocks) >= _STREAM:
            ahead = (len(blocks) + _AHEAD) * BLOCK_SIZE
            os.posix_fadvise(fd, header.data_offset + blocks[0] * BLOCK_SIZE, ahead, os.POSIX_FADV_WILLNEED)
        start, end = blocks.start * BLOCK_SIZE, min(blocks.stop * BLOCK_SIZE, header.stored_length)
        try:
            sums = crc_file(fd, header.data_offset + start, end - start, BLOCK_SIZE)
        except EOFError:
            raise CorruptFileError("file ends early") from None
        for block, crc in zip(blocks, sums, strict=True):
            if crc != header.blocks[block]:
                raise CorruptFileError(f"block {block} does not match its checksum")


def _is_not_a_file(error: OSError) -> bool:
    """ELOOP of O_NOFOLLOW, ENOTDIR, EISDIR, ENXIO of a socket or FIFO: something else has the name."""
    return error.errno in (40, 20, 21, 6)


def _supersedes(whole: HeadRecord, other: HeadRecord) -> bool:
    """Which of two layouts of one object counts: a complete one of the same generation, else the later answer."""
    return whole.generation == other.generation or whole.stored_at >= other.stored_at
