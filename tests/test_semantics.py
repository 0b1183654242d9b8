"""docs/semantics.md has every rule once and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.test_promises import missing

PAGE = Path(__file__).parent.parent / "docs" / "semantics.md"
TEXT = PAGE.read_text()
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| \d+ ", line)]
_MODULE = re.compile(r"`((?:engine|lifecycle|policy|protocol|storage|upstream)/\w*)")


def number(row: str) -> int:
    return int(row.split()[1])


def test_every_rule_is_there_once() -> None:
    assert [number(row) for row in ROWS] == list(range(1, 36))
    assert re.findall(r"\b(3[678]) \(", TEXT) == ["36", "37", "38"]


@pytest.mark.parametrize("row", ROWS, ids=number)
def test_every_rule_names_tests_and_modules_that_exist(row: str) -> None:
    shown = row.rstrip("| ").rpartition("|")[2]
    assert ".py)" in shown or "| **Not yet:**" in row, "a rule without a test is not done"
    assert missing(row) == []
    source = PAGE.parent.parent / "src" / "fastcache"
    absent = [
        name for name in _MODULE.findall(row) if not ((source / f"{name}.py").is_file() or (source / name).is_dir())
    ]
    assert absent == []
