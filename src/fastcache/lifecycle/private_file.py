"""Files that hold secrets: read only while nobody else can reach them, and replaced in one step."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fastcache.errors import KeysFileError
from fastcache.lifecycle.yaml_nodes import read_limited


def read_private(path: Path) -> bytes:
    """The bytes of a regular file that nobody but us (or root) can read or change; KeysFileError otherwise.

    Links are followed, because a Kubernetes secret is one, and what is judged is the file that was opened.
    """
    try:
        with _opened(path) as descriptor:
            return _read(path, descriptor)
    except OSError as error:
        raise KeysFileError(f"{path}: cannot be read: {error.strerror}") from None


def edit_private(path: Path, edit: Callable[[bytes | None], bytes]) -> None:
    """Replace the file by what ``edit`` makes of its bytes (None: there is no file yet), mode and owner kept.

    Editors wait for one another, so that none undoes what another has just written; readers see the old or the new
    file. KeysFileError when the file is not private or cannot be replaced; whatever ``edit`` raises changes nothing.
    """
    place = path.resolve()  # a link stays one
    try:
        while not _edited(place, edit):
            pass
    except OSError as error:
        raise KeysFileError(f"{path}: cannot be written: {error.strerror}") from None


def _edited(path: Path, edit: Callable[[bytes | None], bytes]) -> bool:
    """Edit once; False when somebody else replaced or made the file meanwhile."""
    try:
        with _opened(path) as descriptor:
            # The lock is on the file, not on its name: whoever waited for it may hold one that is gone.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_at(path, descriptor):
                return False
            content = _read(path, descriptor)
            edited = edit(content)
            if edited == content:
                return True
            with _written_beside(path, edited, os.fstat(descriptor)) as new:
                new.rename(path)
    except FileNotFoundError:
        with _written_beside(path, edit(None), None) as new:
            try:
                path.hardlink_to(new)
            except FileExistsError:
                return False
    _sync_directory(path.parent)
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    # Without O_NONBLOCK a pipe would keep us waiting for whoever writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(path: Path, descriptor: int) -> bytes:
    problem = _exposure(os.fstat(descriptor))
    if problem is not None:
        raise KeysFileError(f"{path}: {problem}")
    try:
        with open(descriptor, "rb", closefd=False) as stream:
            return read_limited(stream)
    except ValueError as error:
        raise KeysFileError(f"{path}: {error}") from None


def _exposure(status: os.stat_result) -> str | None:
    """Why a file is not private, if it is not."""
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {status.st_uid}; it must be ours (uid {os.geteuid()}) or root's"
    if status.st_mode & 0o077:
        return f"others can reach it (mode {stat.S_IMODE(status.st_mode):04o}); chmod it to 0600"
    return None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def _written_beside(path: Path, content: bytes, before: os.stat_result | None) -> Iterator[Path]:
    """A complete, synced file in the same directory, to be moved or linked into place; gone afterwards otherwise."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as stream:
            if before is not None:
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
