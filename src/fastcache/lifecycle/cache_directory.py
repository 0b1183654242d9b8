"""Where the cache lives by default, and whether a directory can be trusted with it."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path

from fastcache.errors import CacheDirectoryError


def default_cache_directory(environ: Mapping[str, str], uid: int) -> tuple[Path, str | None]:
    """The directory for the user ``uid`` and the variable that decided it, if one did.

    ``CACHE_DIRECTORY`` is what systemd sets for ``CacheDirectory=`` (systemd.exec(5); a colon-separated list). A
    relative ``XDG_CACHE_HOME`` is ignored, as the XDG Base Directory Specification asks.
    """
    from_systemd = environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if from_systemd:
        return Path(from_systemd), "CACHE_DIRECTORY"
    if uid == 0:
        return Path("/var/cache/fastcache"), None
    if environ.get("XDG_CACHE_HOME", "").startswith("/"):
        return Path(environ["XDG_CACHE_HOME"], "fastcache"), "XDG_CACHE_HOME"
    home = environ.get("HOME", "")
    return (Path(home) if home.startswith("/") else _home(uid)) / ".cache" / "fastcache", None


def _home(uid: int) -> Path:
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        # A container's user without an entry: nothing can be made below /, and the refusal then names the setting.
        return Path("/")


def check_usable(path: Path) -> None:
    """Raise CacheDirectoryError unless ``path`` is a safe directory of ours, or can be made. Changes nothing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        _check_can_be_made(path)
    except OSError as error:
        raise CacheDirectoryError(f"{path} cannot be used: {error.strerror}; choose another directory") from error
    else:
        _check_directory(path, status)


def _check_directory(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise CacheDirectoryError(f"{path} is not a directory; choose another path")
    _check_link(path)
    own = os.geteuid()
    inside = f"choose a directory inside it, such as {path}/store, which fastcache makes as its own"
    if status.st_uid != own:
        raise CacheDirectoryError(f"{path} belongs to uid {status.st_uid} and fastcache runs as uid {own}; {inside}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise CacheDirectoryError(f"{path} can be written by others; chmod it to 0700, or {inside}")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        raise CacheDirectoryError(f"{path} cannot be written by uid {own}; make it writable or choose another")


def _check_link(path: Path) -> None:
    """A link planted by somebody else would choose where our files go."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) and status.st_uid not in (0, os.geteuid()):
        raise CacheDirectoryError(f"{path} is a link of uid {status.st_uid}; give the directory it points to")


def _check_can_be_made(path: Path) -> None:
    if path.is_symlink():
        raise CacheDirectoryError(f"{path} is a link to nothing; make what it points to, or choose another directory")
    ancestor = path.parent
    while not ancestor.exists():
        ancestor = ancestor.parent
    if not ancestor.is_dir():
        raise CacheDirectoryError(f"{path} cannot be made: {ancestor} is not a directory; choose another path")
    if not os.access(ancestor, os.W_OK | os.X_OK, effective_ids=True):
        raise CacheDirectoryError(
            f"{path} cannot be made: uid {os.geteuid()} cannot write to {ancestor}; choose another directory"
        )


def prepare(path: Path) -> None:
    """Make ``path`` with mode 0700 if it is missing, and check it; CacheDirectoryError if that fails."""
    check_usable(path)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CacheDirectoryError(f"{path} cannot be made: {error.strerror}; choose another directory") from error
    check_usable(path)
