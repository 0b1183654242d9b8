"""A proxy of several processes, spoken to over connections enough to reach each of its workers."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.front.conftest import Front, _open_origin, open_origin, start_front
from tests.harness import processes
from tests.harness.raw import RawConnection

__all__ = ["_open_origin", "open_origin", "start_front"]

StartFront = Callable[..., Front]
ENOUGH = 24
"""Connections of which each of two workers has some, as good as always (the kernel chooses by a hash)."""


def descendants(pid: int) -> list[int]:
    """The processes below ``pid``, those that are gone meanwhile left out."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def nursery_of(front: Front) -> int:
    """The process id of the nursery."""
    return next(pid for pid in descendants(front.proxy.pid) if b"nursery" in command_of(pid))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


def replaced(front: Front, slot: int, former: int, seconds: float = 20.0) -> None:
    """Wait until another process than ``former`` accepts connections in a slot."""
    processes.wait_until(
        lambda: front.proxy.workers().get(slot, former) != former, seconds, f"worker {slot} is replaced"
    )


@contextlib.contextmanager
def connections(front: Front, count: int = ENOUGH) -> Iterator[list[RawConnection]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(front.connect()) for _ in range(count)]


def log_of(front: Front) -> str:
    return front.proxy.stderr.read_text(errors="replace")


def until_logged(front: Front, text: str, seconds: float = 20.0, times: int = 1) -> None:
    processes.wait_until(lambda: log_of(front).count(text) >= times, seconds, f"the log says {text!r}")


@pytest.fixture
def two(start_front: StartFront) -> Front:
    """Two workers, in the mode that asks nobody while the TTL lasts."""
    return start_front("--workers", "2", "--authorization", "none", "--ttl", "1h")


def wait(seconds: float) -> None:
    """Let time pass where nothing can be waited for."""
    time.sleep(seconds)
