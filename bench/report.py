"""Outcomes and findings as tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.contests import Contest, Outcome, Run, Spread
from bench.findings import Finding

INTRODUCTION = """\
# Results

Made by `make bench`; how to read and repeat it is in `README.md`. Every ratio is *the first line of the case ÷ this
line*, between runs that follow each other: median (least to greatest) of the turns. For rates more than 1 is better,
for CPU and latency less. *busy* is how much of its core the server used, and how much of its time the client had
something to do: where the client is near 100 %, it was the limit and only CPU compares; where both are far from it,
other work on the machine was. Where fastcache's own origin has work, it shares the client's core: rates of revalidated
hits and of misses are lower bounds.
"""

RESULTS = Path(__file__).with_name("RESULTS.md")
MEMORY = "## Memory of the index"
PARQUET = "## Parquet"
"""Headings of what ``bench.index_memory`` and ``bench.parquet`` measure, each apart from the rest."""
APART = (MEMORY, PARQUET)


def with_section(text: str, heading: str, section: str) -> str:
    """``text`` with ``section``, which begins with ``heading``, in the place of what stands under that heading."""
    before, _, rest = text.partition(f"\n{heading}\n")
    after = rest[rest.index("\n## ") :] if "\n## " in rest else ""
    return "\n\n".join(part.strip("\n") for part in (before, section, after) if part.strip("\n")) + "\n"


def section_of(text: str, heading: str) -> str:
    """What stands in ``text`` under ``heading``, and it; empty when it is not there."""
    _, found, rest = text.partition(f"\n{heading}\n")
    body, _, _ = rest.partition("\n## ")
    return f"{heading}\n{body}" if found else ""


_COLUMNS = (
    "case",
    "server",
    "requests/s",
    "GB/s",
    "CPU/request",
    "CPU-s/GB",
    "p50",
    "p99",
    "busy: server, client",
    "rate ratio",
    "CPU ratio",
    "p50 ratio",
    "p99 ratio",
)


def document(facts: Sequence[str], results: Sequence[Outcome | Finding]) -> str:
    """The whole of RESULTS.md."""
    lines = [INTRODUCTION, "## Machine\n", *(f"- {fact}" for fact in facts), ""]
    lines += ["## Figures\n", *table([one for one in results if isinstance(one, Outcome)]), ""]
    findings = [line for one in results if isinstance(one, Finding) for line in rows(one)]
    if findings:
        lines += ["## Besides\n", "| case | figure |", "|---|---|", *findings, ""]
    return "\n".join(lines)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each server of each contest."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|---|" + "---:|" * (len(_COLUMNS) - 2)]
    for outcome in outcomes:
        lines += rows(outcome)
    return lines


def rows(result: Outcome | Finding) -> list[str]:
    """The lines of one case; the first of a contest has no ratios."""
    if isinstance(result, Finding):
        return [f"| `{result.name}` {result.what} | {result.text} |"]
    contest = result.contest
    return [
        "| " + " | ".join([_title(contest) if number == 0 else "", contender.name, *cells]) + " |"
        for number, contender in enumerate(contest.contenders)
        for cells in [[*_figures(result, contender.name), *_ratios(result, contender.name, number > 0)]]
    ]


def _title(contest: Contest) -> str:
    return f"`{contest.name}` {contest.what}, {contest.connections} connections"


def _figures(outcome: Outcome, name: str) -> list[str]:
    return [
        f"{outcome.median(name, lambda run: run.rate):,.0f}",
        f"{outcome.median(name, lambda run: run.bytes_per_second) / 1e9:,.2f}",
        *_cpu_figures(outcome, name),
        f"{outcome.median(name, lambda run: run.p50) * 1e6:,.0f} µs",
        f"{outcome.median(name, lambda run: run.p99) * 1e6:,.0f} µs",
        f"{outcome.median(name, lambda run: run.server_share):.0%}, "
        f"{outcome.median(name, lambda run: run.load_share):.0%}",
    ]


def _cpu_figures(outcome: Outcome, name: str) -> list[str]:
    if _shares_cpu(outcome):
        return ["", ""]
    return [
        f"{outcome.median(name, _cpu) * 1e6:,.1f} µs",
        f"{outcome.median(name, lambda run: run.cpu_per_gb):.3f}",
    ]


def _shares_cpu(outcome: Outcome) -> bool:
    """Whether the server worked for other requests meanwhile, so that its CPU is not that of these."""
    return not all(contender.alone for contender in outcome.contest.contenders)


def _ratios(outcome: Outcome, name: str, compared: bool) -> list[str]:
    if not compared:
        return [""] * 4
    cpu = None if _shares_cpu(outcome) else outcome.ratio(name, _cpu)
    spreads = [outcome.ratio(name, lambda run: run.rate), cpu]
    spreads += [outcome.ratio(name, lambda run: run.p50), outcome.ratio(name, lambda run: run.p99)]
    return [_ratio(spread) for spread in spreads]


def _cpu(run: Run) -> float:
    return run.cpu_per_request


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else str(spread)
