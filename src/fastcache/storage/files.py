"""Blocking work on the files of a cache directory. Everything here runs in the tier's I/O threads.

Calls about one object are made one at a time (see :mod:`fastcache.storage.disk`); calls about different objects run
side by side. What failed half-way is reported in the result, not raised, because the store accounts for every byte.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fastcache._core import placing
from fastcache._core.extent_codec import (
    FileHeader,
    Kind,
    data_offset_for,
    encode_head,
    pack,
)
from fastcache._core.writing import complete, write_new
from fastcache.errors import CorruptFileError
from fastcache.model import Codec, FenceToken, HeadRecord
from fastcache.storage import layout, recovery
from fastcache.storage.blocks import ONE_WRITE, BlockSums, read_header
from fastcache.storage.entry import disk_bytes
from fastcache.storage.loading import Loading
from fastcache.storage.tree import DIRECTORY

logger = logging.getLogger("fastcache.storage")

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_TOKEN = FenceToken(0, 0, 0)


@dataclass(slots=True)
class Change:
    """What a call changed on the disk, as far as it came; ``error`` says what stopped it."""

    unlinked: set[str] = field(default_factory=set)
    whole_unlinked: bool = False
    directory: bool | None = None
    head_size: int | None = None
    void: bool | None = None
    size: int | None = None
    changes_before: int | None = None
    """In a directory that is shared: how often files of such objects had been changed before."""
    error: OSError | None = None


class Marked(NamedTuple):
    """What was found of an object that was to be marked."""

    there: bool
    """Something of it is on the disk, and marked."""
    changes: int
    """In a directory that is shared: how often files of such objects had been changed before."""


class Files(Loading):
    """Everything that is done to the files of a cache directory."""

    _guards: placing.Guards | None = None
    """The locks of the objects, where other processes use the directory."""

    # -- writing

    def create_part(self, path: str) -> int:
        """A new file in progress; the caller owns the descriptor."""
        try:
            return os.open(path, _NEW, 0o600, dir_fd=self._root)
        except FileNotFoundError:
            self.restore()
            return os.open(path, _NEW, 0o600, dir_fd=self._root)

    def open_part(self, path: str) -> int:
        """A file in progress that was closed, for its header; the caller owns the descriptor."""
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root)

    def open_to_read(self, path: str) -> int:
        """A file in progress, perhaps another process's; the caller owns the descriptor."""
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # what sends from it must not read ahead on the loop
        return fd

    def close_part(self, fd: int) -> None:
        """Close a file in progress; OSError when what was written to it may be lost."""
        os.close(fd)

    def discard_part(self, fd: int, path: str) -> None:
        """Remove a file in progress; ``fd`` is -1 when it was closed."""
        try:
            if fd >= 0:
                os.close(fd)
        finally:
            os.unlink(path, dir_fd=self._root)

    def commit(self, fd: int, part: str, header: FileHeader, head: HeadRecord | None) -> Change:
        """Complete an extent's file and rename it into place, after ``head``, when its directory needs that one.

        Takes ``fd`` over. Whatever fails, the part is gone afterwards, or ``size`` is None and ``error`` says why not.
        """
        change = Change()
        try:
            complete(fd, pack(header), header.file_size, self._fsync)
            self._give_name(part, header, head, change)
        except OSError as error:
            self._give_up(part, error, change)
        return change

    def _give_up(self, part: str, error: OSError, change: Change) -> None:
        change.error = error
        if change.size is None:
            self._unlink_quietly(part)

    def _give_name(self, part: str, header: FileHeader, head: HeadRecord | None, change: Change) -> None:
        """Rename a complete file into place, after ``head``, when its directory needs that one."""
        try:
            target = self._place(part, header, head, change)
        except FileNotFoundError:
            self.restore()
            target = self._place(part, header, head, change)
        change.size = disk_bytes(header.file_size)
        self.sync_directory(os.path.dirname(target))

    def _place(self, part: str, header: FileHeader, head: HeadRecord | None, change: Change) -> str:
        """Rename a complete extent to where its header says that it belongs, and say where that is."""
        digest = header.object_digest
        self.make_shard(digest)
        directory = layout.object_directory(digest)
        end = header.start + header.length
        target = f"{directory}/{layout.extent_name(header.generation_tag, header.start, end)}"
        self._make_object_directory(directory, change)
        if head is not None:
            self._write_head(digest, head, f"{part}.head", change)
        os.rename(part, target, src_dir_fd=self._root, dst_dir_fd=self._root)
        return target

    def store(
        self, part: str, header: FileHeader, data: Sequence[memoryview], head: HeadRecord | None, *,
        clear: bool = False,
    ) -> Change:  # fmt: skip
        """Write a small file at once and commit it; ``header`` lacks the block CRCs. A whole object's takes the place
        of the one before; with ``clear`` that one is another generation's."""
        header = replace(header, blocks=BlockSums().extended(data).all())
        if header.kind == Kind.OBJECT:
            return self._store_whole(part, header, data, clear=clear)
        change = Change()
        try:
            self._write_new(part, header, data)
            self._give_name(part, header, head, change)
        except OSError as error:
            self._give_up(part, error, change)
        return change

    def _write_new(self, path: str, header: FileHeader, data: Sequence[memoryview]) -> None:
        how = pack(header), data, header.data_offset, ONE_WRITE, self._fsync
        try:
            write_new(self._root, path, *how)
        except FileNotFoundError:
            self.restore()
            write_new(self._root, path, *how)

    def _store_whole(self, part: str, header: FileHeader, data: Sequence[memoryview], *, clear: bool) -> Change:
        change = Change()
        try:
            try:
                before = self._put_whole(part, header, data, clear=clear)
            except FileNotFoundError:
                self.restore()
                before = self._put_whole(part, header, data, clear=clear)
            if self._guards is not None:
                change.changes_before = before
            change.size = disk_bytes(header.file_size)
            self.sync_directory(layout.shard_of(header.object_digest)[1])
        except OSError as error:
            change.error = error
        return change

    def _put_whole(self, part: str, header: FileHeader, data: Sequence[memoryview], *, clear: bool) -> int:
        digest = header.object_digest
        self.make_shard(digest)
        return placing.store_whole(
            self._root, self._guards, digest, part, layout.object_file(digest), pack(header), data,
            header.data_offset, ONE_WRITE, self._fsync, clear,
        )  # fmt: skip

    def stage(self, part: str, header: FileHeader, digest: bytes, name: str) -> bool:
        """Complete a closed file in progress as ``name`` among the parts of an upload. False: that has ended, and the
        file is gone. Raises OSError."""
        complete(self.open_part(part), pack(header), header.file_size, fsync=False)
        directory = layout.upload_directory(digest)
        while True:
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o700, dir_fd=self._root)
            try:
                os.rename(part, f"{directory}/{name}", src_dir_fd=self._root, dst_dir_fd=self._root)
            except NotADirectoryError:
                os.unlink(part, dir_fd=self._root)
                return False
            except FileNotFoundError:
                if not self._is_file(part):
                    raise
                # Another process has ended the upload since we made the directory: next time we see that.
            else:
                return True

    def staged(self, digest: bytes) -> list[layout.StagedName]:
        """What is there of an upload's parts, by name."""
        try:
            directory = os.open(layout.upload_directory(digest), DIRECTORY, dir_fd=self._root)
        except FileNotFoundError:
            return []
        try:
            parsed = [layout.parse_staged_name(name) for name in os.listdir(directory)]
        finally:
            os.close(directory)
        return [name for name in parsed if name is not None]

    def uploads(self) -> recovery.UploadsThere:
        """The uploads that have left something."""
        return recovery.uploads(self._root)

    def open_staged(self, path: str, expected: FileHeader) -> tuple[int, FileHeader]:
        """Open a piece of a part for its new header, when its own says what is ``expected``. The caller owns the
        descriptor. Raises OSError or CorruptFileError."""
        os.close(self.open_file(path, expected)[0])
        fd = self.open_part(path)
        try:
            return fd, read_header(fd)
        except BaseException:
            os.close(fd)
            raise

    def end_upload(self, digest: bytes) -> None:
        """Delete the parts of an upload, and take no more of it."""
        recovery.end_upload(self._root, digest)

    def forget_upload(self, digest: bytes) -> None:
        """Delete all that there is of an upload."""
        recovery.remove_upload(self._root, digest)

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
        try:
            self._write_new(part, header, ())
            directory = layout.object_directory(digest)
            os.rename(part, f"{directory}/{layout.HEAD}", src_dir_fd=self._root, dst_dir_fd=self._root)
        except OSError:
            self._unlink_quietly(part)
            raise
        change.head_size = header.file_size
        self.sync_directory(directory)

    def settle(
        self, digest: bytes, part: str, *, unlink: Sequence[str] = (), unlink_whole: Sequence[bytes] = (),
        remove_directory: bool = False, head: HeadRecord | None = None, unvoid: bool = False,
    ) -> Change:  # fmt: skip
        """Remove and rewrite what no longer agrees with memory, in the order that a crash may cut anywhere.

        ``unlink_whole``: the generations of which the whole object's file is to go.
        """
        change = Change()
        directory = layout.object_directory(digest)
        try:
            if unlink_whole:
                self._unlink_whole(digest, unlink_whole)
                change.whole_unlinked = True
            for name in unlink:
                self._unlink(f"{directory}/{name}")
                change.unlinked.add(name)
            if remove_directory:
                change.directory = not self._remove_unused_directory(digest)
            if head is not None:
                self._write_head(digest, head, part, change)
            if unvoid:
                self._unlink(layout.void_file(digest))
                change.void = False
        except OSError as error:
            change.error = error
        return change

    def _unlink_whole(self, digest: bytes, tags: Sequence[bytes]) -> None:
        self._unlink(layout.object_file(digest))

    def _remove_unused_directory(self, digest: bytes) -> bool:
        self._remove_directory(digest)
        return True

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

    def mark_void(self, digest: bytes) -> Marked:
        """If anything of the object is on the disk, note there that it must not be used unproved."""
        self.shard_exists(digest)  # or nothing is; what was planted in its place raises
        mark = layout.void_file(digest)
        marked = Marked(
            *placing.mark_void(
                self._root, self._guards, digest, layout.object_file(digest), layout.object_directory(digest), mark,
                self._fsync,
            )
        )  # fmt: skip
        if marked.there:
            self.sync_directory(os.path.dirname(mark))
        return marked

    def remove_object(self, digest: bytes) -> None:
        """Everything of an object, its marker last."""
        if not self.shard_exists(digest):
            return
        self._unlink(layout.object_file(digest))
        self._remove_directory(digest)
        self._unlink(layout.void_file(digest))

    def _unlink_quietly(self, part: str) -> None:
        # The error that brought us here is the one to report; the next start removes what is left in fills/.
        try:
            os.unlink(part, dir_fd=self._root)
        except OSError:
            return
