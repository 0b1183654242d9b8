"""How much memory a process takes while something happens."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path


class Watch:
    """Resident memory in bytes: when the watch began, and the most there was."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.first = self.most = self._resident()

    def look(self) -> None:
        self.most = max(self.most, self._resident())

    @property
    def grown(self) -> int:
        return self.most - self.first

    def _resident(self) -> int:
        found = re.search(r"^VmRSS:\s+(\d+) kB$", self._status.read_text(), re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


@contextlib.contextmanager
def watching(pid: int, every: float = 0.02) -> Iterator[Watch]:
    """Look at a process's memory ``every`` so many seconds until the block ends."""
    watch = Watch(pid)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(every):
            watch.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()
        watch.look()
