"""The counts of a hit are counts of a hit, and the gate fails on what it is there for."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.instructions import Cost, calls, instructions, total

from bench import gate


def test_a_hit_makes_the_system_calls_it_cannot_do_without(tmp_path: Path, require_tool: Callable[..., None]) -> None:
    require_tool("strace")
    made = calls(tmp_path, 300)
    assert made["recvfrom"] >= 0.9
    assert sum(made.get(name, 0) for name in ("sendto", "writev", "sendmsg", "write")) >= 0.9
    assert made.get("openat", 0) < 0.5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hit_has_instructions(tmp_path: Path, require_tool: Callable[..., None]) -> None:
    require_tool("valgrind")
    # What reading a request head and answering it takes at the very least, and what no Python needs.
    assert 500 < instructions(tmp_path, 100) < 10_000_000


def test_a_cost_is_told_with_the_calls_that_matter() -> None:
    told = str(Cost(3130.4, {"recvfrom": 1.0, "sendto": 1.5, "brk": 0.001}))
    assert told.startswith("3,130 user instructions, 2.50 system calls (recvfrom 1.00, sendto 1.50)")


def test_the_totals_of_all_files_are_added(tmp_path: Path) -> None:
    (tmp_path / "out.7.1").write_text("events: Ir\nfn=(1) x\n1 999\nsummary: 100\n")
    (tmp_path / "out.7.2").write_text("events: Ir\ntotals: 20\n")
    (tmp_path / "out.8").write_text("events: Ir\n")
    assert total(tmp_path) == 120


@pytest.mark.parametrize(("now", "fails"), [(1000, False), (900, False), (1029, False), (1031, True), (2000, True)])
def test_three_percent_more_are_too_much(now: float, fails: bool) -> None:
    wrong = gate.verdict(Cost(1000, {}), Cost(now, {}))
    assert (wrong is not None) == fails


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """``repository("commit", ...)``: git in a repository of the test's own, which the gate takes for its own."""
    monkeypatch.setattr(gate, "REPOSITORY", tmp_path)
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a"}
    for name, value in identity.items():
        monkeypatch.setenv(name, value)
    subprocess.run(["git", "init", "-q", "-b", "main", tmp_path], check=True)
    return gate.git


def test_it_compares_with_where_the_branch_left_main(repository: Callable[..., str]) -> None:
    repository("commit", "-q", "--allow-empty", "-m", "one")
    first = repository("rev-parse", "HEAD")
    repository("commit", "-q", "--allow-empty", "-m", "two")
    second = repository("rev-parse", "HEAD")
    assert gate.branched_from() == first  # on main: the one before
    repository("checkout", "-q", "-b", "work")
    repository("commit", "-q", "--allow-empty", "-m", "three")
    assert gate.branched_from() == second


def test_without_a_main_it_says_what_to_name(
    repository: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    repository("commit", "-q", "--allow-empty", "-m", "one")
    repository("branch", "-q", "-m", "other")
    assert gate.main([]) == 2
    assert "name a commit: BASE=" in capsys.readouterr().err


def test_a_commit_that_does_not_build_is_told(
    repository: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "setup.py").write_text("raise SystemExit('no compiler')\n")
    repository("add", "setup.py")
    repository("commit", "-q", "-m", "one")
    assert gate.main(["--base", "HEAD"]) == 2
    assert "cannot be built:\nno compiler" in capsys.readouterr().err
    assert repository("worktree", "list").count("\n") == 0
