"""The files of a directory that several processes use: one of them at a time for each object.

The lock is one byte of the LOCK file for each object, taken as an open file description lock (fcntl(2)): the kernel
gives it back when its holder dies, whatever it was doing, and two objects do not wait for each other. It is held during
one call in an I/O thread and never across two.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

from fastcache._core.extent_codec import FileHeader, Kind
from fastcache._core.placing import Guards
from fastcache.errors import CorruptFileError
from fastcache.model import HeadRecord
from fastcache.storage import layout
from fastcache.storage.files import Change, Files
from fastcache.storage.loading import Found
from fastcache.storage.sharing import Share
from fastcache.storage.tree import DIRECTORY


class SharedFiles(Files):
    """Everything that is done to the files, under the object's lock, and counted for the others to see."""

    def __init__(self, root: int, *, fsync: bool, share: Share) -> None:
        super().__init__(root, fsync=fsync)
        self._share = share
        # A description of our own: the inherited one is the same for all processes, and so would its locks be.
        self._lock_fd = os.open(layout.LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
        self._guards: Guards = Guards(self._lock_fd, share.memory)

    def close(self) -> None:
        """Give the descriptor of the locks back."""
        os.close(self._lock_fd)

    @contextlib.contextmanager
    def _locked(self, digest: bytes) -> Iterator[None]:
        self._guards.enter(digest)
        try:
            yield
        finally:
            self._guards.leave(digest)

    def _count(self, digest: bytes, change: Change) -> Change:
        change.changes_before = self._share.memory.changed(digest)
        return change

    def load(self, digest: bytes) -> Found:
        # Most objects that are read for the first time are not there at all. To see that takes no lock: whoever stores
        # one meanwhile counts it behind what we have read of the counter, which has us look again.
        changes = self._share.memory.changes(digest)
        if self.is_absent(digest):
            return Found(changes=changes)
        with self._locked(digest):
            changes = self._share.memory.changes(digest)
            found = super().load(digest)
        found.changes = changes
        return found

    def _give_name(self, part: str, header: FileHeader, head: HeadRecord | None, change: Change) -> None:
        digest = header.object_digest
        with self._locked(digest):
            try:
                super()._give_name(part, header, head, change)
            finally:
                self._count(digest, change)

    def settle(
        self, digest: bytes, part: str, *, unlink: Sequence[str] = (), unlink_whole: Sequence[bytes] = (),
        remove_directory: bool = False, head: HeadRecord | None = None, unvoid: bool = False,
    ) -> Change:  # fmt: skip
        with self._locked(digest):
            change = super().settle(
                digest,
                part,
                unlink=unlink,
                unlink_whole=unlink_whole,
                remove_directory=remove_directory,
                head=head,
                unvoid=unvoid,
            )
            return self._count(digest, change)

    def end_upload(self, digest: bytes) -> None:
        super().end_upload(digest)
        self._share.memory.changed(digest)

    def remove_object(self, digest: bytes) -> None:
        with self._locked(digest):
            try:
                super().remove_object(digest)
            finally:
                self._share.memory.changed(digest)

    def _unlink_whole(self, digest: bytes, tags: Sequence[bytes]) -> None:
        """Not another generation's, which another process may have put there."""
        path = layout.object_file(digest)
        try:
            record, _ = self.read_head(path, digest, Kind.OBJECT)
        except FileNotFoundError:
            return
        except (OSError, CorruptFileError, EOFError):
            record = None  # whatever it is, it can be used by nobody
        if record is None or record.generation.tag in tags:
            self._unlink(path)

    def _remove_unused_directory(self, digest: bytes) -> bool:
        """Not with extents in it that another process has put there since we looked."""
        try:
            directory = os.open(layout.object_directory(digest), DIRECTORY, dir_fd=self._root)
        except FileNotFoundError:
            return True
        except OSError:
            return super()._remove_unused_directory(digest)
        try:
            used = any(layout.parse_extent_name(name) is not None for name in os.listdir(directory))
        finally:
            os.close(directory)
        return False if used else super()._remove_unused_directory(digest)
