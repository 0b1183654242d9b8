"""docs/promises.md names tests that exist."""

from __future__ import annotations

import re

import pytest
from tests.harness.shown import missing, names_a_test, page

ROWS = [line for line in page("promises.md").splitlines() if re.match(r"\| P-\d\d ", line)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:6])
def test_every_promise_names_tests_that_exist(row: str) -> None:
    assert names_a_test(row), "a promise without a test is not shown: say so below the table"
    assert missing(row) == []


def test_a_test_that_does_not_exist_is_found() -> None:
    row = "| P-99 | x | `test_no_such_thing` in [here](../tests/test_promises.py), [gone](../tests/gone.py) | 0 |"
    assert missing(row) == ["gone.py", "test_no_such_thing"]
