"""Fills the store from a directory: its first level are buckets, the paths below are keys."""

from __future__ import annotations

import mimetypes
import os
from pathlib import Path

from fastcache.errors import ConfigError
from fastcache.origin.content import Literal
from fastcache.origin.store import Store, Version


def preload(store: Store, directory: Path, now: float) -> int:
    """Read every file below ``directory`` into memory; how many there were. Raises ConfigError."""
    if not directory.is_dir():
        raise ConfigError(f"--data-dir {directory}: not a directory")
    loaded = 0
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        name = os.fsencode(relative.parts[0])
        bucket = store.buckets.get(name)
        if bucket is None:
            bucket = store.create(name, b"preload", now)
        if len(relative.parts) < 2 or not path.is_file():
            continue
        try:
            content = Literal(path.read_bytes())
            modified = path.stat().st_mtime
        except OSError as error:
            raise ConfigError(f"--data-dir: {error}") from error
        key = os.fsencode(Path(*relative.parts[1:]))
        kind = mimetypes.guess_type(path.name)[0] or "binary/octet-stream"
        bucket.add(Version(key, content, content.md5(), modified, [(b"Content-Type", kind.encode())]))
        loaded += 1
    return loaded
