"""The processes of the demo and the directory they work in: nothing of either outlives the demo."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fastcache.errors import FastcacheError
from fastcache.origin.identity import ACCOUNTS_VARIABLE

READY_TIMEOUT = 30.0
"""Seconds until a process must have said that it listens."""
STOP_TIMEOUT = 10.0
"""Seconds between SIGTERM and SIGKILL."""

ORIGIN_READY = re.compile(r"^listening on (\S+) \(control (\S+)\)$", re.MULTILINE)
PROXY_READY = re.compile(r"^listening on (\S+) \(admin (\S+)\)$", re.MULTILINE)

_PREFIX = "fastcache-demo-"
_LOCK = "lock"
_LOG_LINES = 20
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class DemoError(FastcacheError):
    """Something the demo needs did not work; the text says what, and where to look."""


class Child:
    """A process that says in its log where it listens; the kernel ends it when the demo is gone, however that died."""

    def __init__(
        self, name: str, command: Sequence[str], ready: re.Pattern[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        """Start ``command`` and wait for the line ``ready`` matches; its groups become ``addresses``.

        Raises DemoError, with the end of the log.
        """
        self.name = name
        self.log = log
        with log.open("xb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                # A group of its own: Ctrl-C is for the demo, which then stops its children one after the other.
                start_new_session=True,
                preexec_fn=_ended_with_parent(),
            )
        try:
            self.addresses = self._wait(ready)
        except BaseException:
            self.stop()
            raise

    def _wait(self, ready: re.Pattern[str]) -> tuple[str, ...]:
        deadline = time.monotonic() + READY_TIMEOUT
        while time.monotonic() < deadline:
            if match := ready.search(self.log.read_text(errors="backslashreplace")):
                return match.groups()
            if (status := self._process.poll()) is not None:
                raise DemoError(self.describe(f"ended before it was ready ({_ending(status)})"))
            time.sleep(0.02)
        raise DemoError(self.describe(f"was not ready within {READY_TIMEOUT:g} s"))

    @property
    def pid(self) -> int:
        return self._process.pid

    def describe(self, what: str) -> str:
        """``what`` happened to it, and the end of its log."""
        lines = self.log.read_text(errors="backslashreplace").splitlines()[-_LOG_LINES:]
        return "\n".join([f"the {self.name} {what}; the end of {self.log}:", *(f"  {line}" for line in lines)])

    def ended(self) -> str | None:
        """How it ended, or None while it runs."""
        status = self._process.poll()
        return None if status is None else _ending(status)

    def stop(self) -> None:
        """Ask it to end, insist after ten seconds; nothing when it has ended."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_origin(directory: Path, access_key: str, secret_key: str, bandwidth: int) -> Child:
    """The S3 service, which verifies signatures; ``bandwidth`` in bytes per second of one connection, 0 for no limit.

    ``addresses`` are those of S3 and of its control port. Raises DemoError.
    """
    # -P: `python -m` would otherwise look for modules in the directory the demo was started in.
    command = [sys.executable, "-P", "-m", "fastcache.origin", "--bandwidth", str(bandwidth)]
    account = {"access_key": access_key, "secret_key": secret_key}
    environment = {**_environment(), ACCOUNTS_VARIABLE: json.dumps([account])}
    return Child("S3 origin", command, ORIGIN_READY, directory / "origin.log", environment)


def start_proxy(directory: Path, endpoint: str, port: int, admin_port: int) -> Child:
    """fastcache in front of ``endpoint``; ``addresses`` are those for clients and of the admin port. DemoError."""
    command = [sys.executable, "-P", "-m", "fastcache", "serve", "-e", endpoint, "-p", str(port)]
    command += ["--admin-port", str(admin_port), "--cache-dir", str(directory / "cache"), "--cache-size", "4GiB"]
    return Child("proxy", command, PROXY_READY, directory / "proxy.log", _environment())


def _environment() -> dict[str, str]:
    """Ours without what would change the settings of the proxy: the demo shows the defaults."""
    ours = ("ENDPOINT", "PORT", "CACHE_DIRECTORY")
    return {name: value for name, value in os.environ.items() if not name.startswith("FASTCACHE_") and name not in ours}


def _ended_with_parent() -> Callable[[], None]:
    """Runs in the child before its program: SIGTERM for it when the demo dies (prctl(2))."""
    # Loaded here, in the parent: between fork and exec there is no place for a dynamic loader.
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return prepare


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def wait_for_an_end(children: Sequence[Child]) -> None:
    """Returns never; raises DemoError when one of ``children`` has ended. Signal handlers interrupt it."""
    while True:
        for child in children:
            if (how := child.ended()) is not None:
                raise DemoError(child.describe(f"ended ({how})"))
        time.sleep(0.25)


def usable_port(port: int) -> tuple[int, str]:
    """``port``, or 0 (any free one) and a word about why when something listens there. DemoError if not permitted."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return 0, f"port {port} is taken, using a free one instead"
            raise DemoError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from error
    return port, ""


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory (0700) that is removed at the end; after a DemoError the logs in it stay until the next start.

    What demos that were killed left is removed first. Raises DemoError when no directory can be made.
    """
    _remove_leftovers(Path(tempfile.gettempdir()))
    try:
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    except OSError as error:
        raise DemoError(f"no temporary directory: {error}") from error
    try:
        with (directory / _LOCK).open("xb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory
    except DemoError:
        _keep_logs(directory)
        raise
    except BaseException:
        shutil.rmtree(directory)
        raise
    shutil.rmtree(directory)


def _keep_logs(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK and path.suffix != ".log":
            path.unlink()


def _remove_leftovers(parent: Path) -> None:
    for directory in parent.glob(f"{_PREFIX}*"):
        # Another user's, one that is being made or removed, and one in use are left alone.
        with contextlib.suppress(OSError):
            if directory.is_symlink() or directory.stat().st_uid != os.getuid():
                continue
            with (directory / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory)
