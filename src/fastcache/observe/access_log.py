"""The access log: what is logged, and the thread that writes it. The form of a line is in ``access_line``."""

from __future__ import annotations

import enum
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from fastcache.errors import ConfigError
from fastcache.model import Result
from fastcache.observe.access_line import AccessRecord, line
from fastcache.observe.metrics import Metrics

log = logging.getLogger("fastcache.access_log")

BUFFER_RECORDS: Final = 65_536
GATHER_SECONDS: Final = 0.05
"""How long the writer waits for more records, so that a busy loop does not pay a thread switch per request."""
BATCH_RECORDS: Final = 1024

_FROM_CACHE: Final = frozenset((Result.HIT, Result.REVALIDATED))


class Mode(enum.StrEnum):
    """Which requests are logged."""

    OFF = "off"
    ALL = "all"
    MISSES = "misses"
    """Whatever needed bytes from the origin: all but HIT and REVALIDATED."""
    FAILURES = "failures"
    """Status 400 and above, an error code, or no answer at all."""


class AccessLog:
    """Appends records to a file, or to standard output for ``"-"``, from a thread of its own.

    ``write`` never blocks: a record that finds the buffer full is counted in ``fastcache_access_log_dropped_total``, as
    are the records that the file refused. Several processes may append to the same file: a batch of lines is one
    ``write`` to a file opened with O_APPEND. Create it after forking. ConfigError when the file cannot be opened.
    """

    def __init__(
        self, mode: Mode | str, path: str | os.PathLike[str], metrics: Metrics, *, buffer_records: int = BUFFER_RECORDS
    ) -> None:
        self.mode = Mode(mode)
        self._path = os.fspath(path)
        self._metrics = metrics
        self._limit = buffer_records
        # None: reopen; Event: a flush waits
        self._pending: deque[AccessRecord | Callable[[], Iterable[AccessRecord]] | threading.Event | None] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._torn = False
        self._failing = False
        self._fd = -1
        self._thread: threading.Thread | None = None
        if self.mode is Mode.OFF:
            return
        try:
            self._fd = self._open()
        except OSError as error:
            raise ConfigError(f"access log {self._path} cannot be opened: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def wants(self, status: int, result: Result, error_code: str | None) -> bool:
        """Whether such a request is logged in this mode; ask before building a record."""
        if self.mode is Mode.ALL:
            return True
        if self.mode is Mode.MISSES:
            return result not in _FROM_CACHE
        return self.mode is Mode.FAILURES and (status >= 400 or status == 0 or error_code is not None)

    def write(self, record: AccessRecord) -> None:
        """Hand ``record`` to the writer if the mode wants it; from any thread, never blocks."""
        if not self.wants(record.status, record.result, record.error_code):
            return
        if self._closing.is_set() or len(self._pending) >= self._limit:
            self._metrics.access_log_dropped()
            return
        self._pending.append(record)
        if not self._wake.is_set():
            self._wake.set()

    def write_later(self, records: Callable[[], Iterable[AccessRecord]]) -> None:
        """Have the writer's thread make records of requests that were counted already, and write them."""
        self._pending.append(records)
        self._wake.set()

    @property
    def backlog(self) -> int:
        """What was handed over and not taken up yet."""
        return len(self._pending)

    def reopen(self) -> None:
        """Open the path again (it was renamed away); what was handed over before goes to the old file."""
        if self._thread is not None and self._path != "-":
            self._pending.append(None)
            self._wake.set()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait up to ``timeout`` seconds until what was handed over is written; False when it was not."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._pending.append(done)
        self._wake.set()
        return done.wait(timeout)

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is buffered, then close. Blocks up to ``timeout`` seconds; False when the file hung longer.

        Records handed over later are counted as dropped.
        """
        self._closing.set()
        self._wake.set()
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout)
        if thread.is_alive():
            log.error("access log %s does not accept its last lines", self._path)
            return False
        self._thread = None
        # A thread may have passed the check in ``write`` just before the close.
        self._lost(sum(isinstance(item, AccessRecord) for item in self._pending))
        self._pending.clear()
        return True

    # -- the writer thread

    def _run(self) -> None:
        while True:
            self._wake.wait()
            closing = self._closing.wait(GATHER_SECONDS)
            # Cleared before the buffer is emptied: a record added meanwhile wakes again.
            self._wake.clear()
            self._drain()
            if closing:
                break
        if self._path != "-":
            os.close(self._fd)

    def _drain(self) -> None:
        lines: list[bytes] = []
        while self._pending:
            item = self._pending.popleft()
            if isinstance(item, AccessRecord):
                lines.append(line(item))
                if len(lines) < BATCH_RECORDS:
                    continue
            elif callable(item):
                lines += self._made(item)
                continue
            self._append(lines)
            lines = []
            if item is None:
                self._reopen()
            elif isinstance(item, threading.Event):
                item.set()
        self._append(lines)

    def _made(self, records: Callable[[], Iterable[AccessRecord]]) -> list[bytes]:
        lines: list[bytes] = []
        try:
            for record in records():
                if self.wants(record.status, record.result, record.error_code):
                    lines.append(line(record))  # noqa: PERF401 - those before an error are kept
        except Exception:  # one that cannot be read must not end this thread, and with it every later line
            log.exception("records for access log %s cannot be read", self._path)
            self._lost(1)
        return lines

    def _append(self, lines: list[bytes]) -> None:
        if not lines:
            return
        # After a write that stopped inside a line, the next one starts on a line of its own.
        mend = b"\n" if self._torn else b""
        data = mend + b"".join(lines)
        offset = 0
        try:
            while offset < len(data):
                offset += os.write(self._fd, data[offset:] if offset else data)
        except OSError as error:
            self._failed("written", error)
            if offset:
                self._torn = data[offset - 1 : offset] != b"\n"
            whole = data.count(b"\n", len(mend), max(offset, len(mend)))
            self._metrics.access_log_lines(whole)
            self._lost(len(lines) - whole)
            return
        self._torn = False
        self._metrics.access_log_lines(len(lines))
        if self._failing:
            self._failing = False
            log.warning("access log %s is written again", self._path)

    def _reopen(self) -> None:
        try:
            fd = self._open()
        except OSError as error:
            self._failed("reopened", error)
            return
        os.close(self._fd)
        self._fd = fd
        self._torn = False

    def _open(self) -> int:
        if self._path == "-":
            return 1
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _failed(self, what: str, error: OSError) -> None:
        self._metrics.access_log_error()
        if not self._failing:
            self._failing = True
            log.error("access log %s cannot be %s: %s", self._path, what, error.strerror)

    def _lost(self, n: int) -> None:
        self._metrics.access_log_dropped(n)
