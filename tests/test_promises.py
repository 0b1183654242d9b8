"""docs/promises.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "promises.md"
ROWS = [line for line in PAGE.read_text().splitlines() if re.match(r"\| P-\d\d ", line)]
_LINK = re.compile(r"\]\(\.\./(tests/[^)]+\.py)\)")
_TEST = re.compile(r"`(test_\w+)`")


def missing(row: str) -> list[str]:
    """Files that are not there, and tests that no file of the row defines."""
    files = [PAGE.parent.parent / path for path in _LINK.findall(row)]
    absent = [path.name for path in files if not path.is_file()]
    text = "".join(path.read_text() for path in files if path.is_file())
    return absent + [name for name in _TEST.findall(row) if not re.search(rf"^(async )?def {name}\b", text, re.M)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:6])
def test_every_promise_names_tests_that_exist(row: str) -> None:
    assert _LINK.search(row), "a promise without a test is not shown: say so below the table"
    assert missing(row) == []


def test_a_test_that_does_not_exist_is_found() -> None:
    row = "| P-99 | x | `test_no_such_thing` in [here](../tests/test_promises.py), [gone](../tests/gone.py) | 0 |"
    assert missing(row) == ["gone.py", "test_no_such_thing"]
