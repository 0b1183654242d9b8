"""Taking possession of a cache directory: checks, the lock, FORMAT. Blocking; runs in a thread.

Every refusal is a CacheDirectoryError whose text says what is wrong and names the directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
from pathlib import Path

from fastcache._core.extent_codec import FORMAT_VERSION
from fastcache.errors import CacheDirectoryError
from fastcache.storage import layout
from fastcache.storage.blocks import close_all

logger = logging.getLogger("fastcache.storage")

_FORMAT_TEXT = re.compile(rb"fastcache cache directory\nversion ([0-9]{1,9})\nstore ([0-9a-f]{32})\n")
_TOLERATED = {layout.LOCK, layout.FORMAT + ".new", "lost+found"}
"""What may lie in a directory that has no FORMAT yet: our own start cut short, or the root of a file system."""


class CacheDirectory:
    """A directory held by this process. ``fd`` is owned here and stays open until ``release``."""

    def __init__(self, path: Path, fd: int, lock_fd: int, store_id: str) -> None:
        self.path = path
        self.fd = fd
        self.store_id = store_id
        self.lock_fd = lock_fd

    def release(self) -> None:
        """Give the lock back; another process may open the directory at once."""
        failed = close_all((self.fd, self.lock_fd))
        if failed is not None:
            logger.warning("cache directory %s: closing: %s", self.path, failed.strerror)


def acquire(path: Path) -> CacheDirectory:
    """Open ``path`` as a cache directory, making it when it is missing, and lock it against other processes."""
    fd = _open_root(path)
    try:
        lock_fd = _lock(path, fd)
        try:
            store_id = _check_format(path, fd)
            for name in (layout.OBJECTS, layout.FILLS):
                _make_directory(path, fd, name)
        except BaseException:
            close_all((lock_fd,))
            raise
    except OSError as error:
        close_all((fd,))
        raise CacheDirectoryError(f"cache directory {path}: {_reason(error)}") from error
    except BaseException:
        close_all((fd,))
        raise
    return CacheDirectory(path, fd, lock_fd, store_id)


def restore(root: int) -> None:
    """Make again what ``acquire`` made: somebody emptied the directory while it was in use. Raises OSError."""
    if not _exists(root, layout.FORMAT):
        _write_format(root)
    for name in (layout.OBJECTS, layout.FILLS):
        if not _exists(root, name):
            os.mkdir(name, 0o700, dir_fd=root)


def _reason(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "is not writable for this user"
    if error.errno == errno.EROFS:
        return "lies on a read-only file system"
    return f"cannot be used: {error.strerror}"


def _open_root(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            if path.is_symlink():
                raise CacheDirectoryError(f"cache directory {path}: is a symbolic link; name its target") from None
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise CacheDirectoryError(f"cache directory {path}: is not a directory") from None
    except OSError as error:
        raise CacheDirectoryError(f"cache directory {path}: {_reason(error)}") from error
    try:
        owner = os.fstat(fd).st_uid
    except OSError as error:
        close_all((fd,))
        raise CacheDirectoryError(f"cache directory {path}: {_reason(error)}") from error
    if owner != os.geteuid():
        close_all((fd,))
        raise CacheDirectoryError(
            f"cache directory {path}: belongs to user {owner}, but this process runs as {os.geteuid()}"
        )
    return fd


def _lock(path: Path, root: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    is_new = not _exists(root, layout.FORMAT)
    if is_new:
        _refuse_foreign_content(path, root)
    fd = os.open(layout.LOCK, flags, 0o600, dir_fd=root)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        close_all((fd,))
        raise CacheDirectoryError(f"cache directory {path}: in use by another process") from None
    except BaseException:
        close_all((fd,))
        raise
    return fd


def _exists(root: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _refuse_foreign_content(path: Path, root: int) -> None:
    foreign = sorted(set(os.listdir(root)) - _TOLERATED)
    if foreign:
        raise CacheDirectoryError(
            f"cache directory {path}: holds {foreign[0]!r} but no {layout.FORMAT} file, so it is not a cache; "
            "name an empty directory"
        )


def _check_format(path: Path, root: int) -> str:
    # NONBLOCK: a planted FIFO is refused, not waited for; regular files ignore it.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        fd = os.open(layout.FORMAT, flags, dir_fd=root)
    except FileNotFoundError:
        return _write_format(root)
    try:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        match = _FORMAT_TEXT.fullmatch(os.read(fd, 256)) if is_file else None
    finally:
        os.close(fd)
    if match is None:
        raise CacheDirectoryError(f"cache directory {path}: its {layout.FORMAT} file is not one of fastcache")
    if int(match[1]) != FORMAT_VERSION:
        raise CacheDirectoryError(
            f"cache directory {path}: has format version {int(match[1])}, this fastcache writes version "
            f"{FORMAT_VERSION}; empty the directory or name another one"
        )
    return match[2].decode("ascii")


def _write_format(root: int) -> str:
    # Only we own the tree: modes of a directory somebody made for us are tightened, never loosened.
    os.fchmod(root, 0o700)
    store_id = os.urandom(16).hex()
    new = layout.FORMAT + ".new"
    # Removed, not written over: it may be a FIFO, or another name of a file outside.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new, dir_fd=root)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
    try:
        os.write(fd, f"fastcache cache directory\nversion {FORMAT_VERSION}\nstore {store_id}\n".encode("ascii"))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(new, layout.FORMAT, src_dir_fd=root, dst_dir_fd=root)
    os.fsync(root)
    return store_id


def _make_directory(path: Path, root: int, name: str) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=root)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode):
            raise CacheDirectoryError(f"cache directory {path}: {name} in it is not a directory") from None
    # A read-only mount or a lost permission shows here, not at the first miss.
    if not os.access(name, os.W_OK | os.X_OK, dir_fd=root):
        raise CacheDirectoryError(f"cache directory {path}: {name} in it is not writable for this user")
