"""``fastcache demo`` as its users run it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.harness.processes import wait_until

COMMAND = [sys.executable, "-m", "fastcache", "demo", "--port", "0", "--admin-port", "0"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Little data, temporary files under ``tmp_path``/tmp, and settings of this user that must not matter."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    return {
        **os.environ,
        "FASTCACHE_TEST_DEMO_SCALE": "0.03",
        "FASTCACHE_AUTHORIZATION": "none",
        "TMPDIR": str(temporary),
        "AWS_PROFILE": "no-such-profile",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }


class Running:
    """A demo that stays up, with what it has printed."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("xb") as output:
            self.process = subprocess.Popen(COMMAND, stdout=output, stderr=subprocess.STDOUT, env=environment)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.output or self.process.poll() is not None, 60, f"the demo printed {text!r}")
        assert text in self.output

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def running(environment: dict[str, str], tmp_path: Path) -> Iterator[Running]:
    demo = Running(environment, tmp_path / "output")
    try:
        yield demo
    finally:
        demo.process.kill()
        demo.process.wait()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def left_behind(environment: dict[str, str]) -> list[Path]:
    return list(Path(environment["TMPDIR"]).iterdir())


def rows(output: str) -> dict[str, list[list[str]]]:
    """The table: what was read → the lines of each other cell."""
    found: dict[str, list[list[str]]] = {}
    block: list[list[str]] = []
    for line in output.splitlines():
        if line.startswith("│"):
            block.append([cell.strip() for cell in line.strip("│").split("│")])
        elif block:
            what, *cells = [[text for text in cell if text] for cell in zip(*block, strict=True)]
            found[what[0]] = cells
            block = []
    return found


def test_whole_objects_come_from_the_cache_the_second_time(environment: dict[str, str]) -> None:
    wide = {**environment, "COLUMNS": "160"}
    done = subprocess.run([*COMMAND, "--once"], env=wide, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every read returned the bytes that were uploaded." in done.stdout
    table = rows(done.stdout)
    assert len(table) == 7
    for what, count in {"CSV and JSON logs": 2, "a model file, whole": 1, "15 images and labels": 15}.items():
        _, (_, first), (_, second), results = table[what]
        assert first != "0 B"
        assert second == "0 B"
        assert results == [f"MISS {count}", f"REVALIDATED {count}"]
    assert done.stderr == ""
    assert left_behind(environment) == []


def test_nothing_comes_from_the_origin_the_second_time(environment: dict[str, str]) -> None:
    wide = {**environment, "COLUMNS": "160"}
    done = subprocess.run([*COMMAND, "--once"], env=wide, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The second time the origin sent 0 bytes of objects" in done.stdout
    table = rows(done.stdout)
    table.pop("everything")
    for _received, _first, (_, second), (missed, again) in table.values():
        assert second == "0 B"
        assert missed.startswith("MISS ")
        assert re.fullmatch(r"REVALIDATED \d+", again)


def test_it_stays_up_for_other_clients_until_it_is_stopped(
    running: Running, environment: dict[str, str], require_tool
) -> None:
    require_tool("curl")
    running.wait_for("Ctrl-C stops everything")
    children = running.children()
    assert len(children) == 2
    line = next(line for line in running.output.splitlines() if line.strip().startswith("curl "))
    plain = {name: value for name, value in environment.items() if "proxy" not in name.lower()}
    answer = subprocess.run(shlex.split(line), env=plain, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.startswith("HTTP/1.1 200")
    assert "x-cache: revalidated" in answer.stdout.lower()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    assert not any(map(alive, children))
    assert left_behind(environment) == []
    assert "Traceback" not in running.output


def test_stopped_halfway_it_cleans_up_and_says_by_its_status_that_it_was(
    running: Running, environment: dict[str, str]
) -> None:
    running.wait_for("proxy ")
    children = running.children()
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 128 + signal.SIGINT
    assert not any(map(alive, children))
    assert left_behind(environment) == []
    assert "Traceback" not in running.output


def test_killed_it_takes_its_children_along(running: Running) -> None:
    running.wait_for("proxy ")
    children = running.children()
    assert len(children) == 2
    running.process.kill()
    wait_until(lambda: not any(map(alive, children)), 60, "the children of a killed demo are gone")


def test_a_child_that_dies_ends_it_with_the_log(running: Running, environment: dict[str, str]) -> None:
    running.wait_for("Ctrl-C stops everything")
    os.kill(running.children()[1], signal.SIGKILL)
    assert running.process.wait(60) == 1
    assert "fastcache: the proxy ended (killed by SIGKILL); the end of " in running.output
    assert "Traceback" not in running.output
    (kept,) = left_behind(environment)
    assert {path.name for path in kept.iterdir()} == {"lock", "origin.log", "proxy.log"}


@pytest.mark.parametrize("missing", ["boto3", "pyarrow"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import fastcache.cli.main as c; c.main(['demo', '--once'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"fastcache: the demo needs {missing}, a part of:\n  pip install 'fastcache-s3[demo]'\n"


@pytest.mark.parametrize("option", [("--latency", "20 parsecs"), ("--port", "70000"), ("--bandwidth", "1K")])
def test_a_wrong_option_is_refused_with_words(option: tuple[str, str]) -> None:
    done = subprocess.run([*COMMAND, *option], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert option[0] in done.stderr
    assert "Traceback" not in done.stderr
