"""Blocking work on the files of a cache directory. Everything here runs in the tier's I/O threads.

Calls about one object are made one at a time (see :mod:`fastcache.storage.disk`); calls about different objects run
side by side. What failed half-way is reported in the result, not raised, because the store accounts for every byte.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fastcache._core.crc32c import crc32c, crc_file
from fastcache._core.extent_codec import (
    BLOCK_SIZE,
    FileHeader,
    Kind,
    data_offset_for,
    decode_head,
    encode_head,
    header_length,
    pack,
    unpack,
)
from fastcache.errors import CorruptFileError
from fastcache.model import Codec, FenceToken, HeadRecord
from fastcache.storage import layout, recovery
from fastcache.storage.entry import DISK_BLOCK, disk_bytes

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""NONBLOCK: a planted FIFO must not hold an I/O thread; regular files ignore it."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_TOKEN = FenceToken(0, 0, 0)


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
    oddities: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Change:
    """What a call changed on the disk, as far as it came; ``error`` says what stopped it."""

    unlinked: set[str] = field(default_factory=set)
    whole_unlinked: bool = False
    directory: bool | None = None
    head_size: int | None = None
    void: bool | None = None
    size: int | None = None
    error: OSError | None = None


class Files:
    """The files below ``root``, a descriptor of the cache directory that the caller keeps open."""

    def __init__(self, root: int, *, fsync: bool) -> None:
        self._root = root
        self._fsync = fsync
        self._known_shards: set[str] = set()

    # -- directories

    def shard_exists(self, digest: bytes, *, make: bool = False) -> bool:
        """Whether the directories above an object are there and are directories, not links planted in their place."""
        shards = layout.shard_of(digest)
        if shards[1] in self._known_shards:
            return True
        for shard in shards:
            if make:
                try:
                    os.mkdir(shard, 0o700, dir_fd=self._root)
                except FileExistsError:
                    pass
                else:
                    self.sync_directory(os.path.dirname(shard))
            try:
                status = os.stat(shard, dir_fd=self._root, follow_symlinks=False)
            except FileNotFoundError:
                return False
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(20, "not a directory", shard)
        self._known_shards.add(shards[1])
        return True

    def sync_directory(self, path: str) -> None:
        """With ``durability: fsync``, make the names in ``path`` durable."""
        if not self._fsync:
            return
        fd = os.open(path, _DIRECTORY, dir_fd=self._root)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    # -- reading

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
        if not self.shard_exists(digest):
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
            directory = os.open(path, _DIRECTORY, dir_fd=self._root)
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

    def verify(self, fd: int, header: FileHeader, blocks: Sequence[int]) -> None:
        """Read ``blocks`` (by number) of an open file and compare their CRCs. Raises OSError or CorruptFileError."""
        for block in blocks:
            start = block * BLOCK_SIZE
            length = min(BLOCK_SIZE, header.stored_length - start)
            try:
                differs = crc_file(fd, header.data_offset + start, length) != header.blocks[block]
            except EOFError:
                raise CorruptFileError("file ends early") from None
            if differs:
                raise CorruptFileError(f"block {block} does not match its checksum")

    # -- writing

    def create_part(self, path: str) -> int:
        """A new file in progress; the caller owns the descriptor."""
        return os.open(path, _NEW, 0o600, dir_fd=self._root)

    def discard_part(self, fd: int, path: str) -> None:
        os.close(fd)
        os.unlink(path, dir_fd=self._root)

    def commit(self, fd: int, part: str, header: FileHeader, head: HeadRecord | None) -> Change:
        """Complete the file in progress and rename it into place, after ``head``, when its directory needs that one.

        Takes ``fd`` over. Whatever fails, the part is gone afterwards, or ``size`` is None and ``error`` says why not.
        """
        change = Change()
        whole = header.kind == Kind.OBJECT
        digest = header.object_digest
        try:
            try:
                write_all(fd, [memoryview(pack(header))], 0)
                # A failed or cancelled write may have left bytes behind the last one that counts.
                os.ftruncate(fd, header.file_size)
                if self._fsync:
                    os.fsync(fd)
            finally:
                os.close(fd)  # a failed close is a failed write: the file is discarded below
            self.shard_exists(digest, make=True)
            if whole:
                target = layout.object_file(digest)
            else:
                directory = layout.object_directory(digest)
                end = header.start + header.length
                target = f"{directory}/{layout.extent_name(header.generation_tag, header.start, end)}"
                self._make_object_directory(directory, change)
                if head is not None:
                    self._write_head(digest, head, f"{part}.head", change)
            os.rename(part, target, src_dir_fd=self._root, dst_dir_fd=self._root)
            change.size = disk_bytes(header.file_size)
            self.sync_directory(os.path.dirname(target))
        except OSError as error:
            change.error = error
            if change.size is None:
                self._unlink_quietly(part)
        return change

    def store(self, part: str, header: FileHeader, data: Sequence[memoryview], head: HeadRecord | None) -> Change:
        """Write a small file at once and commit it; ``header`` lacks the block CRCs."""
        crcs = BlockSums()
        for view in data:
            crcs = crcs.extended(view)
        header = replace(header, blocks=crcs.all())
        try:
            fd = self.create_part(part)
        except OSError as error:
            return Change(error=error)
        try:
            write_all(fd, list(data), header.data_offset)
        except OSError as error:
            os.close(fd)
            self._unlink_quietly(part)
            return Change(error=error)
        return self.commit(fd, part, header, head)

    def _make_object_directory(self, directory: str, change: Change) -> None:
        try:
            os.mkdir(directory, 0o700, dir_fd=self._root)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(directory, dir_fd=self._root, follow_symlinks=False).st_mode):
                raise
        else:
            self.sync_directory(os.path.dirname(directory))
        change.directory = True

    def _write_head(self, digest: bytes, record: HeadRecord, part: str, change: Change) -> None:
        blob = encode_head(record)
        generation = record.generation
        header = FileHeader(
            Kind.HEAD, digest, generation.tag, generation.size, 0, 0, 0, Codec.RAW, data_offset_for(len(blob), 0),
            _NO_TOKEN, blob, (),
        )  # fmt: skip
        fd = self.create_part(part)
        try:
            try:
                write_all(fd, [memoryview(pack(header))], 0)
                if self._fsync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            directory = layout.object_directory(digest)
            os.rename(part, f"{directory}/{layout.HEAD}", src_dir_fd=self._root, dst_dir_fd=self._root)
        except OSError:
            self._unlink_quietly(part)
            raise
        change.head_size = header.file_size
        self.sync_directory(directory)

    def settle(
        self, digest: bytes, part: str, *, unlink: Sequence[str] = (), unlink_whole: bool = False,
        remove_directory: bool = False, head: HeadRecord | None = None, unvoid: bool = False,
    ) -> Change:  # fmt: skip
        """Remove and rewrite what no longer agrees with memory, in the order that a crash may cut anywhere."""
        change = Change()
        directory = layout.object_directory(digest)
        try:
            if unlink_whole:
                self._unlink(layout.object_file(digest))
                change.whole_unlinked = True
            for name in unlink:
                self._unlink(f"{directory}/{name}")
                change.unlinked.add(name)
            if remove_directory:
                self._remove_directory(digest)
                change.directory = False
            if head is not None:
                self._write_head(digest, head, part, change)
            if unvoid:
                self._unlink(layout.void_file(digest))
                change.void = False
        except OSError as error:
            change.error = error
        return change

    def rewrite_whole(self, part: str, header: FileHeader, source: str, expected: FileHeader) -> Change:
        """Give a whole object's file another head: a new file with the same, verified data takes its name."""
        fd, old = self.open_file(source, expected)
        try:
            self.verify(fd, old, range(len(old.blocks)))
            data = os.pread(fd, old.stored_length, old.data_offset)
        finally:
            os.close(fd)
        if len(data) != old.stored_length:
            raise CorruptFileError("file ends early")
        return self.store(part, header, [memoryview(data)], None)

    def mark_void(self, digest: bytes) -> bool:
        """If anything of the object is on the disk, note there that it must not be used unproved."""
        if not self.shard_exists(digest):
            return False
        if not (self._is_file(layout.object_file(digest)) or self._is_file(layout.object_directory(digest))):
            return False
        path = layout.void_file(digest)
        try:
            fd = os.open(path, _NEW, 0o600, dir_fd=self._root)
        except FileExistsError:
            return True
        try:
            if self._fsync:
                os.fsync(fd)
        finally:
            os.close(fd)
        self.sync_directory(os.path.dirname(path))
        return True

    def measure(self, digest: bytes) -> int:
        """Bytes that an object takes now, as the recovery scan would count them."""
        return recovery.measure(self._root, digest)

    def remove_object(self, digest: bytes) -> None:
        """Everything of an object, its marker last."""
        if not self.shard_exists(digest):
            return
        self._unlink(layout.object_file(digest))
        self._remove_directory(digest)
        self._unlink(layout.void_file(digest))

    def _remove_directory(self, digest: bytes) -> None:
        path = layout.object_directory(digest)
        try:
            directory = os.open(path, _DIRECTORY, dir_fd=self._root)
        except FileNotFoundError:
            return
        try:
            # Without the head the rest is garbage, whatever happens next.
            names = sorted(os.listdir(directory), key=lambda name: name != layout.HEAD)
            for name in names:
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)
        os.rmdir(path, dir_fd=self._root)

    def _is_file(self, path: str) -> bool:
        try:
            os.stat(path, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _unlink(self, path: str) -> None:
        try:
            os.unlink(path, dir_fd=self._root)
        except FileNotFoundError:
            return

    def _unlink_quietly(self, part: str) -> None:
        # The error that brought us here is the one to report; the next start removes what is left in fills/.
        try:
            os.unlink(part, dir_fd=self._root)
        except OSError:
            return


def _is_not_a_file(error: OSError) -> bool:
    """ELOOP of O_NOFOLLOW, ENOTDIR, EISDIR, ENXIO of a socket or FIFO: something else has the name."""
    return error.errno in (40, 20, 21, 6)


def _supersedes(whole: HeadRecord, other: HeadRecord) -> bool:
    """Which of two layouts of one object counts: a complete one of the same generation, else the later answer."""
    return whole.generation == other.generation or whole.stored_at >= other.stored_at


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


def write_all(fd: int, views: list[memoryview], offset: int) -> None:
    """Write ``views`` one after another from ``offset``, at most one block per system call.

    A throttled write may take hundreds of milliseconds; short ones let readers of the same file in between.
    """
    batch: list[memoryview] = []
    room = BLOCK_SIZE
    for view in views:
        while len(view):
            batch.append(view[:room])
            room -= len(batch[-1])
            view = view[len(batch[-1]) :]
            if room == 0:
                offset = _write_batch(fd, batch, offset)
                batch, room = [], BLOCK_SIZE
    _write_batch(fd, batch, offset)


def _write_batch(fd: int, batch: list[memoryview], offset: int) -> int:
    while batch:
        written = os.pwritev(fd, batch[:512], offset)
        offset += written
        while batch and written >= len(batch[0]):
            written -= len(batch.pop(0))
        if written:
            batch[0] = batch[0][written:]
    return offset


@dataclass(frozen=True, slots=True)
class BlockSums:
    """CRCs of the bytes written so far, per block; the last one is still open."""

    full: tuple[int, ...] = ()
    open: int = 0
    filled: int = 0

    def extended(self, view: memoryview) -> BlockSums:
        full = list(self.full)
        crc, filled = self.open, self.filled
        while len(view):
            piece = view[: BLOCK_SIZE - filled]
            crc = crc32c(piece, crc)
            filled += len(piece)
            view = view[len(piece) :]
            if filled == BLOCK_SIZE:
                full.append(crc)
                crc, filled = 0, 0
        return BlockSums(tuple(full), crc, filled)

    def all(self) -> tuple[int, ...]:
        return (*self.full, self.open) if self.filled else self.full


def write_part(fd: int, offset: int, views: list[memoryview], sums: BlockSums) -> BlockSums:
    """Append ``views`` to a file in progress. The sums are new ones: after a failure the old ones still hold."""
    write_all(fd, views, offset)
    for view in views:
        sums = sums.extended(view)
    return sums
