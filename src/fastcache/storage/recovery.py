"""After a start: remove what an interrupted life left in progress, and learn the sizes of what it stored."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from fastcache.storage import layout
from fastcache.storage.entry import DISK_BLOCK, disk_bytes

STEP = 512
"""Objects per step of the scan."""


class ScannedObject(NamedTuple):
    """One object's files, by their sizes alone; nothing of them was read."""

    digest: bytes
    size: int
    """Bytes taken from the disk."""
    modified: float
    """Wall-clock seconds of the newest file."""
    useful: bool
    """False when nothing can be served from it: a directory without head or extents, a marker of nothing."""


def remove_parts(root: int, owner: int | None = None) -> int:
    """Delete what is in progress in ``fills/``: all of it, parts of uploads too, while nobody but us has the
    directory's lock, or what was a dead owner's; the parts that it had completed anybody may use."""
    removed = 0
    directory = os.open(layout.FILLS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        for name in os.listdir(directory):
            if layout.is_part_name(name) and (owner is None or name.startswith(f"{owner}-")):
                os.unlink(name, dir_fd=directory)
                removed += 1
            elif owner is None and layout.is_upload_name(name):
                removed += remove_upload(root, bytes.fromhex(name))
    finally:
        os.close(directory)
    return removed


def size_of_parts(root: int, owner: int) -> int:
    """Bytes taken from the disk by what an owner has in progress. Blocking."""
    size = 0
    directory = os.open(layout.FILLS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        for name in os.listdir(directory):
            if layout.is_part_name(name) and name.startswith(f"{owner}-"):
                size += disk_bytes(os.stat(name, dir_fd=directory, follow_symlinks=False).st_size)
    finally:
        os.close(directory)
    return size


class UploadsThere(NamedTuple):
    """Uploads by digest, and when the last thing happened to them, in nanoseconds of the file system's clock."""

    staged: dict[bytes, int]
    """Those of which parts are there."""
    ended: dict[bytes, int]


def remove_upload(root: int, digest: bytes) -> int:
    """Delete all that there is of an upload; how many files there were. Blocking."""
    path = layout.upload_directory(digest)
    removed = _remove_parts(root, path)
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(path, dir_fd=root)
        removed += 1
    return removed


def end_upload(root: int, digest: bytes) -> None:
    """Delete the parts of an upload, and let a file stand where their directory was. So whoever stages a part of it
    later, a request for which was on its way all the time, does not find it there. Blocking."""
    path = layout.upload_directory(digest)
    while not _is_ended(root, path):
        _remove_parts(root, path)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=root))
        except FileExistsError:
            continue  # ended by another process, or a part came in between
        except FileNotFoundError:
            return  # the cache directory was emptied


def _is_ended(root: int, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return not stat.S_ISDIR(os.stat(path, dir_fd=root, follow_symlinks=False).st_mode)
    return False


def _remove_parts(root: int, path: str) -> int:
    directory = _open(root, path)
    if directory is None:
        return 0
    removed = 0
    with contextlib.suppress(FileNotFoundError):  # another process does it, too
        try:
            for name in os.listdir(directory):
                os.unlink(name, dir_fd=directory)
                removed += 1
        finally:
            os.close(directory)
        try:
            os.rmdir(path, dir_fd=root)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
    return removed


def uploads(root: int) -> UploadsThere:
    """The uploads that have left something. Blocking."""
    found = UploadsThere({}, {})
    directory = _open(root, layout.FILLS)
    if directory is None:
        return found
    try:
        for name in os.listdir(directory):
            if layout.is_upload_name(name):
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    which = found.staged if stat.S_ISDIR(status.st_mode) else found.ended
                    which[bytes.fromhex(name)] = status.st_mtime_ns
    finally:
        os.close(directory)
    return found


def scan(root: int) -> Iterator[list[ScannedObject]]:
    """All objects below ``root``, in lists of about ``STEP``. Blocking: one ``next`` per call in an I/O thread."""
    found: list[ScannedObject] = []
    for outer in _subdirectories(root, layout.OBJECTS):
        for shard in _subdirectories(root, f"{layout.OBJECTS}/{outer}"):
            found += _scan_shard(root, f"{layout.OBJECTS}/{outer}/{shard}")
            if len(found) >= STEP:
                yield found
                found = []
    yield found


def measure(root: int, digest: bytes) -> int:
    """Bytes of one object's files, whatever they are worth. Blocking."""
    total = 0
    shard = _open(root, layout.shard_of(digest)[1])
    if shard is None:
        return 0
    try:
        for name, is_file in ((f"{digest.hex()}.obj", True), (digest.hex(), False)):
            try:
                total += _measure(shard, name, is_file=is_file)[0]
            except FileNotFoundError:
                continue
    finally:
        os.close(shard)
    return total


def _open(root: int, path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except (FileNotFoundError, NotADirectoryError):
        return None  # removed meanwhile, or something that is not ours to follow


def _subdirectories(root: int, path: str) -> list[str]:
    directory = _open(root, path)
    if directory is None:
        return []
    try:
        return sorted(name for name in os.listdir(directory) if layout.is_shard_name(name))
    finally:
        os.close(directory)


def _scan_shard(root: int, path: str) -> list[ScannedObject]:
    shard = _open(root, path)
    if shard is None:
        return []
    objects: dict[bytes, ScannedObject] = {}
    try:
        for name in os.listdir(shard):
            parsed = layout.parse_object_name(name)
            if parsed is None:
                continue
            digest, suffix = parsed
            seen = objects.get(digest) or ScannedObject(digest, 0, 0.0, False)
            try:
                size, modified, useful = (
                    _measure(shard, name, is_file=suffix == ".obj") if suffix != ".void" else (0, 0.0, False)
                )
            except FileNotFoundError:
                continue  # evicted while we look
            objects[digest] = ScannedObject(
                digest, seen.size + size, max(seen.modified, modified), seen.useful or useful
            )
    finally:
        os.close(shard)
    return list(objects.values())


def _measure(shard: int, name: str, *, is_file: bool) -> tuple[int, float, bool]:
    if is_file:
        status = os.stat(name, dir_fd=shard, follow_symlinks=False)
        return disk_bytes(status.st_size), status.st_mtime, stat.S_ISREG(status.st_mode)
    directory = _open(shard, name)
    if directory is None:
        return 0, 0.0, False
    size, modified, has_head, has_extent = DISK_BLOCK, 0.0, False, False
    try:
        for entry in os.listdir(directory):
            status = os.stat(entry, dir_fd=directory, follow_symlinks=False)
            size += disk_bytes(status.st_size)
            modified = max(modified, status.st_mtime)
            has_head = has_head or entry == layout.HEAD
            has_extent = has_extent or layout.parse_extent_name(entry) is not None
    finally:
        os.close(directory)
    return size, modified, has_head and has_extent
