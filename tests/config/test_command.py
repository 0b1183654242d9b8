"""The ``fastcache`` command as a process and in process."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

import fastcache
from fastcache.cli.main import main
from fastcache.errors import ConfigError
from fastcache.lifecycle.settings import Settings


def run(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FASTCACHE_")}
    return subprocess.run(
        [sys.executable, "-m", "fastcache", *arguments],
        env={**inherited, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_version_is_printed() -> None:
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"fastcache, version {fastcache.__version__}\n")


def test_the_version_needs_neither_the_schema_nor_yaml_nor_the_proxy() -> None:
    program = (
        "import sys\n"
        "from fastcache.cli.main import main\n"
        "main(['--version'], standalone_mode=False)\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'pydantic', 'yaml', 'uvloop', 'asyncio'})\n"
        "print(*(name for name in sys.modules if name.startswith('fastcache.lifecycle')))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.splitlines()[1:] == ["", ""]


def test_check_prints_effective_settings_as_yaml(tmp_path: Path) -> None:
    (tmp_path / "fastcache.yaml").write_text("endpoint: http://origin.test:9000\nfill:\n  window: 1MiB\n")
    result = run(
        *("check", "-c", str(tmp_path / "fastcache.yaml"), "-p", "4000", "--hosts", "a.test", "--hosts", "b.test"),
        environ={"FASTCACHE_CACHE_DIR": str(tmp_path / "cache"), "FASTCACHE_SERVICE_HOST": "10.0.0.1"},
    )
    assert result.returncode == 0, result.stderr
    effective = yaml.safe_load(result.stdout)
    assert effective["port"] == 4000
    assert effective["hosts"] == ["a.test", "b.test"]
    assert effective["fill"]["window"] == "1MiB"
    assert f"cache-dir: {tmp_path}/cache  # variable FASTCACHE_CACHE_DIR\n" in result.stdout
    assert result.stderr.startswith("fastcache: note: ignored what Kubernetes sets for a Service (1, ")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("command", ["check", "serve"])
def test_each_problem_is_one_line_on_stderr_and_the_status_2(command: str, tmp_path: Path) -> None:
    result = run(command, "-e", "http://origin.test", "-p", "x", "--fill-window", "y", "--cache-dir", str(tmp_path))
    assert (result.returncode, result.stdout) == (2, "")
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()] == [
        ["fastcache", "flag --port"],
        ["fastcache", "flag --fill-window"],
    ]


def test_an_unknown_flag_and_an_unknown_command_name_the_nearest() -> None:
    flag = CliRunner().invoke(main, ["serve", "--fill-windo", "1"])
    assert flag.exit_code == 2
    assert "--fill-window" in flag.output
    command = CliRunner().invoke(main, ["sevre"])
    assert command.exit_code == 2
    assert "No such command 'sevre'. Did you mean 'serve'?" in command.output
    assert "Did you mean" not in CliRunner().invoke(main, ["zzz"]).output


def test_help_lists_the_commands_and_every_flag() -> None:
    assert {"serve", "check"} <= set(main.list_commands(click.Context(main)))
    text = CliRunner().invoke(main, ["serve", "--help"]).output
    for flag in ("-e, --endpoint URL", "-p, --port", "-c, --config FILE", "--fill-window SIZE", "--allow-from"):
        assert flag in text


def test_every_listed_command_can_be_loaded() -> None:
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A supervisor that only notes what it is given, in the place of the real one."""
    module = types.ModuleType("fastcache.lifecycle.supervisor")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_serve_makes_the_cache_directory_and_ends_with_the_supervisors_status(
    supervisor: types.ModuleType, tmp_path: Path
) -> None:
    seen: list[Settings] = []

    def run(load: Callable[[], Settings], settings: Settings) -> int:
        assert settings.cache_dir.is_dir()
        seen.extend((settings, load()))
        return 7

    supervisor.run = run  # type: ignore[attr-defined]
    arguments = ["serve", "-e", "http://origin.test", "--cache-dir", str(tmp_path / "cache")]
    result = CliRunner().invoke(main, arguments, env={"FASTCACHE_PORT": "4321"})
    assert result.exit_code == 7, result.output
    assert [settings.port for settings in seen] == [4321, 4321]


def test_serve_without_a_cache_makes_no_directory(supervisor: types.ModuleType, tmp_path: Path) -> None:
    supervisor.run = lambda load, settings: 0  # type: ignore[attr-defined]
    arguments = ["serve", "-e", "http://origin.test", "--cache-dir", str(tmp_path / "cache"), "--cache", "off"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert not (tmp_path / "cache").exists()


def test_a_config_error_of_the_supervisor_is_told_like_any_other(supervisor: types.ModuleType, tmp_path: Path) -> None:
    def run(load: Callable[[], Settings], settings: Settings) -> int:
        raise ConfigError("port 3000 is in use")

    supervisor.run = run  # type: ignore[attr-defined]
    result = CliRunner().invoke(main, ["serve", "-e", "http://origin.test", "--cache-dir", str(tmp_path / "cache")])
    assert (result.exit_code, result.stderr) == (2, "fastcache: port 3000 is in use\n")
