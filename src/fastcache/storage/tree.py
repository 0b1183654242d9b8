"""The directories of a cache directory: made, checked, removed. Blocking; runs in the tier's I/O threads."""

from __future__ import annotations

import os
import stat

from fastcache._core.writing import make_directories
from fastcache.storage import directory, layout, recovery

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """The names below ``root``, a descriptor of the cache directory that the caller keeps open."""

    def __init__(self, root: int, *, fsync: bool) -> None:
        self._root = root
        self._fsync = fsync
        self._known_shards: set[str] = set()

    def make_shard(self, digest: bytes) -> None:
        """Make the directories above an object, if they are not there and not links planted in their place."""
        if self._fsync:
            self.shard_exists(digest, make=True)
            return
        shards = layout.shard_of(digest)
        if shards[1] not in self._known_shards:
            make_directories(self._root, shards)
            self._known_shards.add(shards[1])

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

    def close(self) -> None:
        """Give back what was opened beside the root."""

    def restore(self) -> None:
        """Start over in a directory that somebody emptied under us. Raises OSError when it is gone altogether."""
        self._known_shards.clear()
        directory.restore(self._root)

    def sync_directory(self, path: str) -> None:
        """With ``durability: fsync``, make the names in ``path`` durable."""
        if not self._fsync:
            return
        fd = os.open(path, DIRECTORY, dir_fd=self._root)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def measure(self, digest: bytes) -> int:
        """Bytes that an object takes now, as the recovery scan would count them."""
        return recovery.measure(self._root, digest)

    def _remove_directory(self, digest: bytes) -> None:
        path = layout.object_directory(digest)
        try:
            fd = os.open(path, DIRECTORY, dir_fd=self._root)
        except FileNotFoundError:
            return
        except NotADirectoryError:  # something was planted in its place
            self._unlink(path)
            return
        try:
            # Without the head the rest is garbage, whatever happens next.
            names = sorted(os.listdir(fd), key=lambda name: name != layout.HEAD)
            for name in names:
                os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)
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
        except (FileNotFoundError, NotADirectoryError):  # gone, or something was planted in place of its directory
            return
