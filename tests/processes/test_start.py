"""A supervisor that is told to end before it has begun."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness import processes
from tests.harness.processes import wait_until


@pytest.fixture
def started(tmp_path: Path) -> Iterator[processes.subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "fastcache", "serve", "-e", "http://127.0.0.1:1", "-p", "0", "--admin-port", "0"]
    process = processes.start(
        [*command, "--workers", "2", "--cache-dir", tmp_path / "cache"],
        stdout=tmp_path / "out",
        stderr=tmp_path / "log",
    )
    yield process
    processes.kill_group(process)


def nursery_of(group: int) -> int | None:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.getpgid(int(entry.parent.name)) == group and b"fastcache.lifecycle.nursery" in entry.read_bytes():
                return int(entry.parent.name)
        except OSError:
            continue
    return None


def test_who_is_told_to_end_while_its_processes_are_still_to_be_born_ends(
    started: processes.subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """What it had for them is closed by the time that they could be."""
    wait_until(lambda: nursery_of(started.pid) is not None, 30, "there is a nursery", step=0.001)
    nursery = nursery_of(started.pid)
    assert nursery is not None
    os.kill(nursery, signal.SIGSTOP)
    started.send_signal(signal.SIGTERM)
    log = tmp_path / "log"
    wait_until(lambda: "draining" in log.read_text(), 30, "it has heard it")
    os.kill(nursery, signal.SIGCONT)
    assert started.wait(30) == 0
    assert (tmp_path / "out").read_text() == ""
    assert re.findall(r" (?:WARNING|ERROR) .*|Traceback", log.read_text()) == []
    assert processes.group_members(started) == []
