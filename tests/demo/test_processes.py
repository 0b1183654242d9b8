"""Processes and files of the demo: what fails is told with its log, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.harness.processes import wait_until

from fastcache.cli.demo_processes import (
    Child,
    DemoError,
    scratch_directory,
    usable_port,
    wait_for_an_end,
)

READY = re.compile(r"^ready (\S+)$", re.MULTILINE)


def child(directory: Path, program: str) -> Child:
    return Child("server", [sys.executable, "-c", program], READY, directory / "child.log", dict(os.environ))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_child_that_ends_before_it_is_ready_is_told_with_its_log(tmp_path: Path) -> None:
    program = "import sys; print('the disk is on fire'); sys.exit(3)"
    with pytest.raises(DemoError, match=r"exit status 3.*child\.log:\n  the disk is on fire") as raised:
        child(tmp_path, program)
    assert str(raised.value).startswith("the server ended before it was ready")


def test_a_child_that_ends_later_is_told_with_its_log(tmp_path: Path) -> None:
    program = "import os; print('ready x', flush=True); print('goodbye', flush=True); os.kill(os.getpid(), 9)"
    with (
        child(tmp_path, program) as started,
        pytest.raises(DemoError, match=r"killed by SIGKILL.*\n  ready x\n  goodb"),
    ):
        wait_for_an_end([started])


def test_a_child_is_asked_to_end_and_is_gone_afterwards(tmp_path: Path) -> None:
    with child(tmp_path, "import time; print('ready x', flush=True); time.sleep(600)") as started:
        assert started.addresses == ("x",)
        assert started.ended() is None
    assert started.ended() == "killed by SIGTERM"


def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = f"""
import os, re, sys, time
from pathlib import Path
from fastcache.cli.demo_processes import Child
command = [sys.executable, "-c", "import time; print('ready x', flush=True); time.sleep(600)"]
child = Child("server", command, re.compile("ready (x)"), Path({str(tmp_path / "child.log")!r}), dict(os.environ))
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        # An orphan is reaped by init, or by nobody in a bare container; dead it is in both.
        wait_until(lambda: state(pid) in ("Z", ""), 10, "the child of a killed parent is gone")


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_the_scratch_directory_is_private_and_removed(temporary: Path) -> None:
    with scratch_directory() as directory:
        assert directory.parent == temporary
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "cache").mkdir()
        (directory / "cache" / "file").write_bytes(b"x")
    assert list(temporary.iterdir()) == []


def test_after_a_failure_the_logs_stay_until_the_next_start(temporary: Path) -> None:
    def fail() -> None:
        with scratch_directory() as directory:
            (directory / "cache").mkdir()
            (directory / "download").write_bytes(b"x")
            (directory / "proxy.log").write_bytes(b"what went wrong")
            raise DemoError("no")

    with pytest.raises(DemoError):
        fail()
    (directory,) = temporary.iterdir()
    assert {path.name for path in directory.iterdir()} == {"lock", "proxy.log"}
    with scratch_directory() as following:
        assert list(temporary.iterdir()) == [following]


def test_a_directory_in_use_is_left_to_its_owner(temporary: Path) -> None:
    with scratch_directory() as first:
        with scratch_directory() as second:
            assert {first, second} == set(temporary.iterdir())
        assert list(temporary.iterdir()) == [first]


def test_a_taken_port_is_replaced_and_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert usable_port(port) == (0, f"port {port} is taken, using a free one instead")
    assert usable_port(port) == (port, "")


def test_stopping_twice_is_fine(tmp_path: Path) -> None:
    started = child(tmp_path, "import time; print('ready x', flush=True); time.sleep(600)")
    started.stop()
    started.stop()
    assert started.ended() == f"killed by {signal.SIGTERM.name}"
