"""docs/semantics.md has every rule once and names tests that exist."""

from __future__ import annotations

import re

import pytest
from tests.harness.shown import missing, names_a_test, page
from tests.harness.tools import REPOSITORY

TEXT, WORST = page("semantics.md").split("\n## The worst of it\n")
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| \d+ ", line)]
CASES = [line for line in WORST.splitlines() if line.startswith("| ") and not line.startswith("| case ")]
_MODULE = re.compile(r"`((?:engine|lifecycle|policy|protocol|storage|upstream)/\w*)")


def number(row: str) -> int:
    return int(row.split()[1])


def test_every_rule_is_there_once() -> None:
    assert [number(row) for row in ROWS] == [*range(1, 36), 37, 39]
    assert re.findall(r"\b(3[68]) \(", TEXT) == ["36", "38"]


@pytest.mark.parametrize("row", ROWS, ids=number)
def test_every_rule_names_tests_and_modules_that_exist(row: str) -> None:
    shown = row.rstrip("| ").rpartition("|")[2]
    assert names_a_test(shown) or "| **Not yet:**" in row, "a rule without a test is not done"
    assert missing(row) == []
    source = REPOSITORY / "src" / "fastcache"
    absent = [
        name for name in _MODULE.findall(row) if not ((source / f"{name}.py").is_file() or (source / name).is_dir())
    ]
    assert absent == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2:42])
def test_every_worst_case_names_tests_that_exist(case: str) -> None:
    assert names_a_test(case)
    assert missing(case) == []


def test_the_worst_cases_are_all_there() -> None:
    assert len(CASES) == 23
