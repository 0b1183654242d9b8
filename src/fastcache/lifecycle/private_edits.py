"""Files that hold secrets, replaced in one step that no reader sees half of."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fastcache.errors import ConfigError
from fastcache.upstream.credentials.private_file import read_private


def edit_private(path: Path, edit: Callable[[bytes | None], bytes]) -> None:
    """Replace the file by what ``edit`` makes of its bytes (None: there is no file yet), mode and owner kept.

    Editors wait for one another, so that none undoes what another has just written; readers see the old or the new
    file. ConfigError when the file is not private or cannot be replaced; whatever ``edit`` raises changes nothing.
    """
    place = path.resolve()  # a link stays one
    try:
        while not _edited(place, edit):
            pass
    except OSError as error:
        raise ConfigError(f"{path} cannot be replaced: {error.strerror}") from None


def _edited(path: Path, edit: Callable[[bytes | None], bytes]) -> bool:
    """Edit once; False when somebody else replaced or made the file meanwhile."""
    try:
        with _opened(path) as descriptor:
            # The lock is on the file, not on its name: whoever waited for it may hold one that is gone.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_at(path, descriptor):
                return False
            content, _ = read_private(path)
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
