"""P-10: whatever system call fails with whatever error, only a write says so, no byte is wrong, and it passes."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crash.sweeping import Lives, Script, check, make_scripts

NAMES = (
    "pwritev", "pwritev2", "rename", "renameat", "renameat2", "unlink", "unlinkat", "openat", "close", "ftruncate",
    "mkdir", "mkdirat", "fsync", "rmdir", "newfstatat", "fstat", "pread64", "getdents64",
)  # fmt: skip
ERRORS = ("ENOSPC", "EIO", "EMFILE", "EROFS", "ESTALE")
RUNS = (1, 12)
"""So many calls fail one after another: less than the breaker needs, and more."""
Point = tuple[Script, str, int, str, int]


@pytest.fixture(scope="session")
def points(lives: Lives, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Script, str, int]]:
    """Every call of every script."""
    scratch = tmp_path_factory.mktemp("scripts")
    found: list[tuple[Script, str, int]] = []
    for script in make_scripts(lives, scratch):
        script.prepare(scratch / "cache")
        calls = lives.count_calls(script.name, scratch / "cache", NAMES)
        found += [(script, name, n) for name in sorted(calls) for n in range(1, calls[name] + 1)]
    return found


async def sweep(lives: Lives, points: list[Point], cache: Path, record: Callable[[str, object], None]) -> None:
    for script, name, n, error, run in points:
        promises = script.prepare(cache)
        inject = f"inject={name}:error={error}:when={n}..{n + run - 1}"
        log = lives.lead(f"{script.name}:errors", cache, "-o", "/dev/null", "-e", f"trace={name}", "-e", inject)
        refused = log.said("refused for good")  # with words, and what is stored is still there
        assert log.over or (refused and script.name == "start" and log.status == 0), (script.name, inject, log)
        assert log.said("corrupt") == [], (script.name, inject, log)
        try:
            await check(cache, promises.follow(log.lines), errors=True)
        except AssertionError as failure:
            raise AssertionError(f"{script.name} {inject}: {failure}; {log}") from failure
    record("points", len(points))


async def test_some_calls_fail(
    lives: Lives,
    points: list[tuple[Script, str, int]],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    dice = random.Random(len(points))
    groups = itertools.groupby(points, key=lambda point: (point[0].name, point[1]))
    chosen = [
        (*dice.choice(list(group)), error, dice.choice(RUNS))
        for (_, group), error in zip(groups, itertools.cycle(ERRORS), strict=False)
    ]
    await sweep(lives, dice.sample(chosen, 24), tmp_path / "cache", record_property)


@pytest.mark.slow
@pytest.mark.timeout(7200)
async def test_each_call_fails(
    lives: Lives,
    points: list[tuple[Script, str, int]],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    variants = itertools.cycle(itertools.product(ERRORS, RUNS))
    await sweep(
        lives,
        [(*point, *variant) for point, variant in zip(points, variants, strict=False)],
        tmp_path / "cache",
        record_property,
    )
