"""docs/pitfalls.md names tests that exist, for every pitfall."""

from __future__ import annotations

import pytest
from tests.harness.shown import missing, names_a_test, page

TEXT = page("pitfalls.md")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| pitfall ")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:42])
def test_every_pitfall_names_tests_that_exist(row: str) -> None:
    assert names_a_test(row)
    assert missing(row) == []


def test_every_heading_has_its_pitfalls() -> None:
    headings = [part.splitlines()[0] for part in TEXT.split("\n## ")[1:]]
    assert headings == [
        "Wrong bytes and poisoning",
        "Stale bytes and authorization",
        "Accounting, eviction, restart",
        "Liveness and resources",
        "Security",
    ]
    assert len(ROWS) == 54
