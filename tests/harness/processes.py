"""Child processes that cannot outlive the tests, whatever becomes of them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path


class ProcessError(AssertionError):
    """A server of the tests did not start, or did not end as it should; the text holds the end of its log."""


def start(
    command: Sequence[str | Path],
    *,
    stdout: Path,
    stderr: Path,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command`` leading a process group of its own.

    The kernel kills it when the thread that started it is gone (PR_SET_PDEATHSIG), so that not even a SIGKILL of the
    test run leaves a server behind.
    """
    with stdout.open("ab") as out, stderr.open("ab") as err:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for everything in the group ``process`` leads; returns when all of it is gone, and what it held free."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: process.poll() is not None and not group_members(process), 60, "a killed group is gone")


def group_members(process: subprocess.Popen[bytes]) -> list[int]:
    """Live processes of the group ``process`` leads or led (zombies are not live)."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # Field 2, the name, may hold anything but is the last thing in parentheses (proc(5)).
                state, _parent, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == process.pid and state != "Z":
                    members.append(int(entry.name))
    return members


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process does nothing as long as the block lasts; what is sent to it meanwhile waits in the kernel."""
    os.kill(pid, signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 20, f"process {pid} stands still")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until(condition: Callable[[], bool], seconds: float, what: str, *, step: float = 0.01) -> None:
    """Return as soon as ``condition()`` is true; ``ProcessError`` when it was not for ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ProcessError(f"not within {seconds:g} s: {what}")
        time.sleep(step)


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A TCP port of 127.0.0.1 that refuses connections: nobody listens there, and nobody else can as long as the block
    lasts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def free_ports(count: int) -> list[int]:
    """``count`` TCP ports of 127.0.0.1 nobody listened on a moment ago; another process may take one before you do."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def tail(path: Path, lines: int = 60) -> str:
    """The last lines of a log, or a word about why there are none."""
    try:
        text = path.read_text(errors="backslashreplace")
    except OSError as error:
        return f"({error})"
    return "\n".join(text.splitlines()[-lines:])
