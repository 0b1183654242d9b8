"""P-04: killed before any system call that changes or opens a file, a store loses nothing and keeps nothing false."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crash.sweeping import Lives, Script, check, make_scripts

NAMES = (
    "pwritev", "pwritev2", "write", "rename", "renameat", "renameat2", "unlink", "unlinkat", "openat", "close",
    "ftruncate", "mkdir", "mkdirat", "fsync", "rmdir",
)  # fmt: skip
Point = tuple[Script, str, int]


@pytest.fixture(scope="session")
def points(lives: Lives, tmp_path_factory: pytest.TempPathFactory) -> list[Point]:
    """Every call of every script."""
    scratch = tmp_path_factory.mktemp("scripts")
    found: list[Point] = []
    for script in make_scripts(lives, scratch):
        script.prepare(scratch / "cache")
        calls = lives.count_calls(script.name, scratch / "cache", NAMES)
        assert calls["pwritev"] + calls["pwritev2"] > 10 or script.name == "start"
        found += [(script, name, n) for name in sorted(calls) for n in range(1, calls[name] + 1)]
    return found


async def sweep(lives: Lives, points: list[Point], cache: Path, record: Callable[[str, object], None]) -> None:
    killed = 0
    for script, name, n in points:
        promises = script.prepare(cache)
        inject = f"inject={name}:signal=SIGKILL:when={n}"
        log = lives.lead(script.name, cache, "-o", "/dev/null", "-e", f"trace={name}", "-e", inject)
        assert log.killed or log.over, (script.name, inject, log)
        killed += log.killed
        try:
            await check(cache, promises.follow(log.lines))
        except AssertionError as error:
            raise AssertionError(f"{script.name} {inject}: {error}; {log}") from error
    record("points", len(points))
    record("killed", killed)
    assert killed > 0.9 * len(points)  # a call that is not reached again is a rare accident


async def test_killed_at_some_calls(
    lives: Lives, points: list[Point], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(len(points))
    chosen = [
        dice.choice(list(group)) for _, group in itertools.groupby(points, key=lambda point: (point[0].name, point[1]))
    ]
    await sweep(lives, chosen, tmp_path / "cache", record_property)


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_killed_at_every_call(
    lives: Lives, points: list[Point], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    await sweep(lives, points, tmp_path / "cache", record_property)
