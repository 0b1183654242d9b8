"""Files that hold secrets: read only when nobody else can, and read again when they have changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from fastcache.errors import ConfigError

LARGEST = 1024 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class Stamp(NamedTuple):
    """What changes whenever a file's content does, in place or by another file under its name."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int


def stamp_of(status: os.stat_result) -> Stamp:
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def current_stamp(path: Path) -> Stamp | None:
    """That of the file under this name now, None without one that can be looked at."""
    try:
        return stamp_of(path.stat())
    except OSError:
        return None


def read_private(path: Path) -> tuple[bytes, Stamp]:
    """The content of a file that belongs to us or to root and that nobody else may read or write.

    ConfigError with what to do about it; its text holds nothing of the content. The open file is what is judged, so
    that nobody can exchange it in between.
    """
    data, status = _read(path)
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"{path} belongs to uid {status.st_uid}; it must be this user's own or root's")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise ConfigError(f"{path} has mode {mode:04o}, so that others can get at its secrets; chmod it to 0600")
    return data, stamp_of(status)


def read_any(path: Path) -> tuple[bytes, Stamp]:
    """The content of a file whose permissions are its owner's business. ConfigError as ``read_private``."""
    data, status = _read(path)
    return data, stamp_of(status)


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is not a file")
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST:
        raise ConfigError(f"{path} has more than {LARGEST} bytes; it is not a file of credentials")
    return data, status


def _open_at_once(path: str, flags: int) -> int:
    """An opener that does not wait for the writer of a pipe that somebody put there.

    (As an opener, so that ``open`` closes what it then refuses to read, a directory.)
    """
    return os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
