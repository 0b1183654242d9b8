"""The processes that are compared, each on the core it is told to use."""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.congestion import WANTED, is_allowed, set_congestion_of_listener
from fastcache.origin.control import OriginControl
from fastcache.origin.process import start_origin

READY = 20.0
"""Seconds until a server must listen."""
_QUIET = 0.05
"""Seconds without CPU use after which a server is taken to have finished its work."""
_RESTING = 0.02
"""The share of its core that a server uses for its timers when it has nothing to do."""
_LISTENING = re.compile(r"^listening on http://([^:\s]+):(\d+) ", re.MULTILINE)


class ServerError(Exception):
    """A server did not start, or did not come to rest."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running process and where it listens."""

    name: str
    pid: int
    address: tuple[str, int]
    congestion: bool
    """Whether WANTED is in force for its connections."""

    def cpu(self) -> float:
        """CPU seconds, user and system, of all its threads and of its children's so far."""
        return sum(_on_cpu(pid) for pid in (self.pid, *descendants(self.pid)))

    def settle(self) -> float:
        """Wait for what it does behind its answers (storing, writing); its CPU seconds then. Raises ServerError."""
        deadline = time.monotonic() + READY
        last = self.cpu()
        while time.monotonic() < deadline:
            time.sleep(_QUIET)
            now = self.cpu()
            if now - last <= _QUIET * _RESTING:
                return now
            last = now
        raise ServerError(f"{self.name} did not come to rest")

    def resident(self) -> int:
        """Bytes of memory that it and its children have for themselves (pages shared with nobody)."""
        return sum(private_bytes(pid) for pid in (self.pid, *descendants(self.pid)))


def _on_cpu(pid: int) -> float:
    """In nanoseconds, which the clock ticks of /proc/PID/stat are not (Documentation/scheduler/sched-stats)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a thread that ended meanwhile
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def descendants(pid: int) -> list[int]:
    """The children of ``pid``, their children, and so on."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            for one in map(int, (task / "children").read_text().split()):
                found += [one, *descendants(one)]
    return found


def private_bytes(pid: int) -> int:
    """Bytes of memory that a process has for itself."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(int(number) for number in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.MULTILINE))


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started inside runs on ``core``, with all its threads; we go back to where we were."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)


@contextlib.contextmanager
def origin(core: int, *flags: str, auth: bool) -> Iterator[tuple[Server, OriginControl]]:
    """Our own S3 origin and its control."""
    with on_core(core):
        process = start_origin(*flags, auth=auth)
    with process:
        congestion = set_congestion_of_listener(process.pid, process.port)
        yield Server("origin", process.pid, ("127.0.0.1", process.port), congestion), process.control


@contextlib.contextmanager
def fastcache(
    core: int,
    behind: Server,
    directory: Path,
    *flags: str,
    under: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    ready: float = READY,
    module: Sequence[str] = ("fastcache", "serve"),
    scheme: str = "http",
) -> Iterator[Server]:
    """``fastcache serve`` in front of ``behind``, its cache in a directory of its own below ``directory``.

    ``under`` is the command of a tool that runs it; ``environment`` is added to ours. ``module`` stands for it where
    the supervisor is in the way.
    """
    host, port = behind.address
    command = [*under, sys.executable, "-m", *module, "-e", f"{scheme}://{host}:{port}", "-p", "0"]
    command += ["--admin-port", "0", "--cache-dir", str(directory / "cache"), "--log-level", "warning", *flags]
    allowed = is_allowed()
    if allowed:
        command += ["--tcp-congestion", WANTED]  # its connections to the origin too
    variables = {**os.environ, **(environment or {})}
    with child(core, command, stdout=subprocess.PIPE, environment=variables) as process:
        found = _LISTENING.search(_first_output(process, ready))
        if found is None:
            raise ServerError(f"fastcache did not start: {' '.join([*under, *flags])}")
        yield Server("fastcache", process.pid, (found[1], int(found[2])), allowed)


def _first_output(process: subprocess.Popen[bytes], seconds: float) -> str:
    assert process.stdout is not None, "started with a pipe"
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline().decode() if ready else ""


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Until it accepts connections. Raises ServerError."""
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise ServerError(f"{process.args!r} did not start")


@contextlib.contextmanager
def child(
    core: int, command: list[str], stdout: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on ``core`` that the kernel ends with us, however we end."""
    with on_core(core):
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *command], stdout=stdout, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(READY)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
