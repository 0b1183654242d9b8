"""Outcomes as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from bench.contests import Outcome, Run, Spread

INTRODUCTION = """\
# Results

Made by `make bench`; how to read and repeat it is in `README.md`. Every ratio is *fastcache ÷ that server*, between
runs that follow each other: median (least to greatest) of the turns. For rates more than 1 is better, for CPU less.
*busy* is how much of its core the server and the client used: where the client is near 100 %, it was the limit and only
CPU compares; where both are far from it, other work on the machine was.
fastcache's own origin shares the client's core, so rates of revalidated hits and of misses are lower bounds.
"""

_COLUMNS = (
    "case",
    "server",
    "requests/s",
    "MB/s",
    "server CPU/request",
    "CPU-s/GB",
    "busy: server, client",
    "rate ratio",
    "CPU ratio",
)


def document(facts: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """The whole of RESULTS.md."""
    lines = [INTRODUCTION, "## Machine\n", *(f"- {fact}" for fact in facts), "", "## Figures\n", *table(outcomes), ""]
    return "\n".join(lines)


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each server of each contest."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|---|" + "---:|" * (len(_COLUMNS) - 2)]
    for outcome in outcomes:
        lines += rows(outcome)
    return lines


def rows(outcome: Outcome) -> list[str]:
    """The lines of one contest; the first is fastcache's and has no ratios."""
    contest = outcome.contest
    connections = f"{contest.connections} connections"
    lines = []
    for number, contender in enumerate(contest.contenders):
        name = contender.name
        cells = [
            f"`{contest.name}` {contest.what}, {connections}" if number == 0 else "",
            name,
            f"{outcome.median(name, lambda run: run.rate):,.0f}",
            f"{outcome.median(name, lambda run: run.bytes_per_second) / 1e6:,.0f}",
            f"{outcome.median(name, lambda run: run.cpu_per_request) * 1e6:,.1f} µs",
            f"{outcome.median(name, lambda run: run.cpu_per_gb):.3f}",
            f"{outcome.median(name, _server_share):.0%}, {outcome.median(name, _load_share):.0%}",
            _ratio(outcome.ratio(name, lambda run: run.rate)) if number else "",
            _ratio(outcome.ratio(name, _cpu)) if number else "",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _server_share(run: Run) -> float:
    return run.server_share


def _load_share(run: Run) -> float:
    return run.load_share


def _cpu(run: Run) -> float:
    return run.cpu_per_request


def _ratio(spread: Spread | None) -> str:
    return "" if spread is None else str(spread)
