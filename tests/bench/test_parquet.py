"""The Parquet benchmark: engines agree, and its section of RESULTS.md is written beside the others'."""

from __future__ import annotations

import pytest
from bench.parquet import Cost, Figures, main, section
from bench.report import MEMORY, PARQUET, section_of, with_section
from tests.harness import tools

OTHERS = "# Results\n\n| case |\n|---|\n| `hit` |\n"


def test_each_section_is_written_without_touching_the_other() -> None:
    first = with_section(OTHERS, PARQUET, f"{PARQUET}\n\nold figures\n")
    assert first.startswith(OTHERS)
    second = with_section(first, PARQUET, f"{PARQUET}\n\nnew figures\n")
    assert second == f"{OTHERS}\n{PARQUET}\n\nnew figures\n"
    assert section_of(second, PARQUET) == f"{PARQUET}\n\nnew figures\n"
    assert with_section("# Results, anew\n", PARQUET, section_of(second, PARQUET)).endswith("new figures\n")
    assert with_section(OTHERS, PARQUET, section_of(OTHERS, PARQUET)) == OTHERS
    third = with_section(second, MEMORY, f"{MEMORY}\n\nother figures\n")
    fourth = with_section(third, PARQUET, f"{PARQUET}\n\nnewest figures\n")
    assert section_of(fourth, MEMORY) == f"{MEMORY}\n\nother figures\n"
    assert section_of(fourth, PARQUET) == f"{PARQUET}\n\nnewest figures\n"
    assert fourth.startswith(OTHERS)
    assert fourth.count("\n## ") == 2


def test_ratios_are_taken_within_a_turn() -> None:
    direct = [Cost(0.1, 9, 900), Cost(0.4, 9, 900), Cost(0.2, 9, 900)]
    cold = [Cost(0.1, 3, 3_000_000), Cost(0.2, 3, 3_000_000), Cost(0.05, 3, 3_000_000)]
    warm = [Cost(0.01, 0, 0), Cost(0.1, 0, 0), Cost(0.02, 0, 0)]
    text = section(["fact"], [Figures("engine", "query", "way", direct, cold, warm)])
    assert "| 2.00 (1.00 to 4.00) | 10.00 (4.00 to 10.00) | 9, 3, 0 | 0.00, 3.00, 0.00 |" in text


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_engine_gets_the_same_rows_straight_cold_and_warm(capsys: pytest.CaptureFixture[str]) -> None:
    """The benchmark itself compares them."""
    tools.require_tool("polars")
    tools.require_tool("duckdb")
    assert main(["--quick", "--turns", "1", "--rows", "5000"]) == 0
    rows = [line for line in capsys.readouterr().out.partition(PARQUET)[2].splitlines() if " + sign" in line]
    assert len(rows) == 27
    assert all(line.split("|")[-3].split(",")[2].strip() == "0" for line in rows), "a warm query asked the origin"
