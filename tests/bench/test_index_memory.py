"""The benchmark of the index's memory, with a few objects: every worker learns of all of them."""

from __future__ import annotations

import pytest
from bench.index_memory import Known, main, section
from bench.report import MEMORY


def test_workers_are_told_each_and_together() -> None:
    text = section(["fact"], 10, 20, [Known(2, "1GiB", [3 << 20, 5 << 20], 7 << 20, 400)])
    assert text.startswith(f"{MEMORY}\n")
    assert "200 extents" in text
    assert "| 2 | 1GiB | 3 to 5 | 8 | 7 | 400 |" in text


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_worker_learns_all_extents(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--objects", "30", "--extents", "4", "--workers", "1", "2"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if line.startswith("| ") and "GiB" in line]
    assert [int(row[6]) for row in rows] == [120, 120, 240, 240]
