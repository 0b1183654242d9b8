"""The access keys in effect: read at start, read again when their file changes, and never lost to a bad edit."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from fastcache.errors import KeysFileError
from fastcache.lifecycle.keys_file import read_keys_file
from fastcache.observe.catalogue import GAUGES
from fastcache.observe.metrics import Metrics
from fastcache.policy.access import KeySet
from fastcache.upstream.credentials.private_file import Stamp, current_stamp

_log = logging.getLogger("fastcache.keys")

POLL_INTERVAL: Final = 1.0
"""Seconds between two looks at the files. A look is a stat; notification would miss network file systems, and the links
by which Kubernetes swaps a secret."""

Listener = Callable[[KeySet], None]


class _Look(NamedTuple):
    """What was found in one reading of the files."""

    stamps: Mapping[Path, Stamp | None]
    """As they were before each file was read: what changes while it is read is seen by the next look. None: no file."""
    keys: KeySet | None
    error: KeysFileError | None = None


class KeyRing:
    """The current KeySet. Files are read in a thread, ``current`` and the listeners change on the loop's."""

    def __init__(
        self,
        path: Path,
        metrics: Metrics,
        *,
        environ: Mapping[str, str] = os.environ,
        interval: float = POLL_INTERVAL,
        no_roles: str = "",
    ) -> None:
        """Reads the file now; KeysFileError when it cannot be used. ``no_roles`` as ``read_keys_file`` has it."""
        self._path = path
        self._no_roles = no_roles
        self._metrics = metrics
        self._environ = environ
        self._interval = interval
        self._listeners: list[Listener] = []
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        look = self._look(serial=1)
        if look.keys is None:
            raise look.error or KeysFileError(f"{path}: cannot be used")
        self.current = look.keys
        self._stamps = look.stamps
        gauge = GAUGES["fastcache_keys"]
        metrics.gauge(gauge.name, gauge.help, lambda: sum(key.enabled for key in self.current))

    def on_change(self, listener: Listener) -> None:
        """Call ``listener`` with every further KeySet as soon as it is the current one."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin to watch the files, in the running loop."""
        if self._task is not None:
            raise RuntimeError("already started")
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="keys")

    async def close(self) -> None:
        """End watching; what the watcher itself raised, if anything, is raised here."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.result()

    async def reload(self) -> bool:
        """Read the files now, changed or not. False, with a log line, when they cannot be used: the keys stay."""
        async with self._lock:
            look = await asyncio.to_thread(self._look, self.current.serial + 1)
            self._stamps = look.stamps
            if look.keys is None:
                self._metrics.keys_reloaded("failed")
                reason = "; ".join(str(look.error).splitlines())
                _log.warning("the keys file cannot be used, %d keys stay in effect: %s", len(self.current), reason)
                return False
            if look.keys.keys == self.current.keys:
                self._metrics.keys_reloaded("unchanged")
                return True
            before, self.current = self.current, look.keys
            self._metrics.keys_reloaded("loaded")
            _log.info("%d keys read from %s (before: %d)", len(self.current), self._path, len(before))
            for listener in self._listeners:
                listener(self.current)
            return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            stamps = self._stamps
            if await asyncio.to_thread(_stamps_of, stamps) != stamps:
                await self.reload()

    def _look(self, serial: int) -> _Look:
        """Read everything; on a thread, so it changes nothing."""
        stamps = {self._path: current_stamp(self._path)}
        try:
            file = read_keys_file(self._path, no_roles=self._no_roles)
            stamps |= {path: current_stamp(path) for path in file.secret_files}
            return _Look(stamps, file.key_set(self._environ, serial))
        except KeysFileError as error:
            return _Look(stamps, None, error)


def _stamps_of(paths: Mapping[Path, Stamp | None]) -> Mapping[Path, Stamp | None]:
    return {path: current_stamp(path) for path in paths}
