"""What surrounds the code keeps its promises: workflows, scripts, the source distribution, the docs."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.harness.tools import REPOSITORY, TOOLS, VARIABLE

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.y*ml"))
PINNED = re.compile(r"uses: +[\w.-]+/[\w./-]+@[0-9a-f]{40} +# v[\w.]+$")
# What a stranger can choose the text of, put into a script, is a script of theirs.
UNTRUSTED = re.compile(r"\$\{\{[^}]*(github\.event\.|github\.head_ref|github\.ref_name|inputs\.)")


def unpinned(workflow: str) -> list[str]:
    """The lines that use an action by a name its owner can move."""
    lines = [line.strip().removeprefix("- ") for line in workflow.splitlines()]
    return [line for line in lines if line.startswith("uses:") and not PINNED.fullmatch(line)]


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def keeps_credentials(workflow: dict[str, Any]) -> bool:
    """Whether a checkout leaves its token where the code it runs can read it."""
    return any(
        step.get("uses", "").startswith("actions/checkout@") and step.get("with", {}).get("persist-credentials", True)
        for step in steps(workflow)
    )


def runs_untrusted_text(workflow: dict[str, Any]) -> bool:
    return any(UNTRUSTED.search(step.get("run", "")) for step in steps(workflow))


def test_there_are_workflows() -> None:
    assert {path.name for path in WORKFLOWS} >= {"test.yml", "wheels.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_pinned_and_has_least_permissions(path: Path) -> None:
    text = path.read_text()
    workflow = yaml.safe_load(text)
    assert unpinned(text) == []
    assert workflow["permissions"] == {"contents": "read"}
    assert not keeps_credentials(workflow)
    assert not runs_untrusted_text(workflow)
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    # YAML 1.1 reads the key `on` as true.
    assert "pull_request_target" not in workflow[True]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_only_a_pushed_tag_may_publish(path: Path) -> None:
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        if set(job.get("permissions", {})) - {"contents"}:
            assert job["if"] == "github.event_name == 'push' && startsWith(github.ref, 'refs/tags/v')"


@pytest.mark.parametrize(
    "line",
    [
        "- uses: actions/checkout@v6",
        "- uses: actions/checkout@main # v6.0.2",
        "- uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83d # v6.0.2",
        "- uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd",
        "uses: docker://alpine:3",
    ],
)
def test_an_action_that_is_not_pinned_is_found(line: str) -> None:
    assert len(unpinned(f"steps:\n  {line}\n")) == 1


def test_kept_credentials_and_untrusted_text_are_found() -> None:
    def workflow(step: dict[str, Any]) -> dict[str, Any]:
        return {"jobs": {"a": {"steps": [step]}}}

    assert keeps_credentials(workflow({"uses": "actions/checkout@x"}))
    assert keeps_credentials(workflow({"uses": "actions/checkout@x", "with": {"persist-credentials": True}}))
    assert not keeps_credentials(workflow({"uses": "actions/checkout@x", "with": {"persist-credentials": False}}))
    assert runs_untrusted_text(workflow({"run": "echo ${{ github.event.pull_request.title }}"}))
    assert runs_untrusted_text(workflow({"run": "echo ${{github.head_ref}}"}))
    assert not runs_untrusted_text(workflow({"run": "echo ${{ matrix.python }}"}))


SCRIPTS = [REPOSITORY / ".ci" / "run", *sorted((REPOSITORY / "tools").iterdir())]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_executable_and_stops_at_the_first_error(path: Path) -> None:
    text = path.read_text()
    assert path.stat().st_mode & stat.S_IXUSR
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    subprocess.run(["bash", "-n", path], check=True)


def required_by_ci() -> set[str]:
    found = re.findall(r"^required\+?=\(([^)]*)\)$", (REPOSITORY / ".ci" / "run").read_text(), re.MULTILINE)
    assert found
    return set(" ".join(found).split())


def test_ci_allows_no_test_to_be_skipped_for_want_of_a_tool() -> None:
    used = {"swift"}  # by the fixture
    for path in set((REPOSITORY / "tests").rglob("test_*.py")) - {REPOSITORY / "tests/harness/test_tools.py"}:
        for call in re.finditer(r"require_tool\(([^()]*)\)", path.read_text()):
            used |= set(re.findall(r"\"([a-z]+)\"", call[1]))
    assert (used & TOOLS.keys()) - required_by_ci() == set()
    assert required_by_ci() <= TOOLS.keys()


def test_ci_runs_the_command_of_the_readme() -> None:
    assert (REPOSITORY / ".ci" / "run").read_text().splitlines()[-1] == "make test"
    assert "make test" in (REPOSITORY / "README.md").read_text()


def pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_every_dependency_has_a_reason_in_the_docs() -> None:
    project = pyproject()
    lists = [project["project"]["dependencies"], project["build-system"]["requires"]]
    lists += project["project"]["optional-dependencies"].values()
    lists += project["dependency-groups"].values()
    names = {
        re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        for requirements in lists
        for requirement in requirements
        if isinstance(requirement, str)
    }
    documented = set(
        re.findall(r"^\| `([\w.-]+)`", (REPOSITORY / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    )
    assert names - documented == set()
    assert documented - names == {"swift"}


def test_the_source_distribution_holds_everything_that_is_compiled(tmp_path: Path) -> None:
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path]
    made = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "FASTCACHE_BUILD": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    core = REPOSITORY / "src" / "fastcache" / "_core"
    wanted = {
        str(path.relative_to(REPOSITORY)) for path in core.iterdir() if path.suffix in (".pyx", ".pxd", ".pyi", ".h")
    }
    assert wanted
    assert wanted - held == set()
    assert {name for name in held if name.endswith((".c", ".so")) or name.startswith("tests/")} == set()


def run_make_environment(*arguments: str | Path, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REPOSITORY / "tools" / "make-environment", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path, "HOME": "/nonexistent"},
        timeout=110,
    )


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with what every Debian has, and no Python but what a test puts there."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("bash", "env", "cat", "ls", "rm", "id", "true"):
        found = next(Path(place, name) for place in ("/usr/bin", "/bin") if Path(place, name).exists())
        (directory / name).symlink_to(found)
    return directory


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def test_a_python_that_is_too_old_is_named(bare_path: Path, tmp_path: Path) -> None:
    program(bare_path / "python3", 'case "$*" in *platform*) echo 3.9.2 ;; *) exit 1 ;; esac')
    done = run_make_environment("python3", tmp_path / "venv", path=str(bare_path))
    assert done.returncode == 2
    assert "Python 3.11 or newer is needed; python3 is 3.9.2" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_named(bare_path: Path, tmp_path: Path) -> None:
    done = run_make_environment("python3", tmp_path / "venv", path=str(bare_path))
    assert done.returncode == 2
    assert "python3 is not there" in done.stderr


def a_debian_python_without_headers(bare_path: Path) -> None:
    """An interpreter that says it is Debian's, and has neither the venv module nor headers."""
    program(
        bare_path / "python3.12",
        """case "$*" in
            *platform*) echo 3.12.1 ;;
            *version_info*11*) exit 0 ;;
            *version_info*) echo 3.12 ;;
            *get_path*) echo /nonexistent/include ;;
            *'"CC"'*) echo no-such-compiler ;;
            *base_prefix*) echo /usr ;;
            *) exit 1 ;;
        esac""",
    )


def test_without_root_the_line_to_type_is_printed(bare_path: Path, tmp_path: Path) -> None:
    a_debian_python_without_headers(bare_path)
    (bare_path / "id").unlink()
    program(bare_path / "id", "echo 1000")
    done = run_make_environment("python3", tmp_path / "venv", path=str(bare_path))
    assert done.returncode == 2
    assert "python3 is not there; using python3.12 (3.12.1)" in done.stdout
    assert "sudo apt-get install python3.12-venv python3.12-dev gcc libc6-dev" in done.stderr


def test_root_gets_what_is_missing_through_apt(bare_path: Path, tmp_path: Path) -> None:
    a_debian_python_without_headers(bare_path)
    (bare_path / "id").unlink()
    program(bare_path / "id", "echo 0")
    program(bare_path / "apt-get", f'echo "$*" >> {tmp_path}/apt')
    done = run_make_environment("python3.12", tmp_path / "venv", path=str(bare_path))
    assert (tmp_path / "apt").read_text().splitlines() == [
        "update -qq",
        "install -y -qq --no-install-recommends python3.12-venv python3.12-dev gcc libc6-dev",
    ]
    # The apt of this test installs nothing, and that must not go unnoticed.
    assert done.returncode == 2
    assert "still missing after the installation" in done.stderr


def need_programs(*names: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [REPOSITORY / "tools" / "need-programs", *names],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(path)},
        timeout=30,
    )


def test_a_missing_program_is_installed_for_root_and_named_to_others(bare_path: Path, tmp_path: Path) -> None:
    (bare_path / "id").unlink()
    program(bare_path / "id", "echo 1000")
    assert need_programs("bash", "env", path=bare_path).returncode == 0
    done = need_programs("bash", "no-such-program", path=bare_path)
    assert done.returncode == 2
    assert "sudo apt-get install no-such-program\n" in done.stderr
    program(bare_path / "id", "echo 0")
    program(bare_path / "apt-get", f'echo "$*" >> {tmp_path}/apt')
    assert need_programs("bash", "no-such-program", path=bare_path).returncode == 0
    assert (tmp_path / "apt").read_text().endswith("install -y -qq --no-install-recommends no-such-program\n")


def test_a_directory_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    done = run_make_environment(sys.executable, tmp_path, path=os.environ["PATH"])
    assert done.returncode == 2
    assert "is not a virtual environment" in done.stderr
    assert (tmp_path / "precious").read_text() == "x"


@pytest.mark.parametrize("value", ["no-such-tool", "strace,swif"])
def test_an_unknown_name_in_the_list_of_required_tools_stops_the_run(value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/test_repository.py"],
        cwd=REPOSITORY,
        env={**os.environ, VARIABLE: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{VARIABLE}: unknown:" in done.stderr
