"""``python -m bench.parquet``: Parquet files through a gateway that signs, before an origin 20 ms away.

Each turn is one query of one engine over a file that no cache has seen: straight from the origin, through the cache for
the first time, and for the second. Ratios are within a turn; requests and bytes are the origin's own count.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from bench.contests import Spread
from bench.machine import describe, describe_load
from bench.report import PARQUET, RESULTS, with_section
from bench.servers import Server, fastcache, origin
from bench.tables import ENGINES, QUERIES, Source, lineitem, same
from fastcache.origin.control import OriginControl
from fastcache.origin.identity import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY

LATENCY = 0.02
_BUCKET = "tables"
_CLIENT = ("GATEWAYCLIENT", "the-secret-of-the-client")
_SIGN = ("--upstream", "sign", "--ttl", "1h")
_WAYS = {
    "verify + sign": ("--authorization", "verify", *_SIGN),
    "none + sign": ("--authorization", "none", *_SIGN),
    "verify + sign, widen 1MiB": ("--authorization", "verify", *_SIGN, "--widen", "1MiB"),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one query took: seconds, and what the origin had to do for it."""

    seconds: float
    requests: int
    body_bytes: int


@dataclass(slots=True)
class Figures:
    """All turns of one query by one engine through one cache."""

    engine: str
    query: str
    way: str
    direct: list[Cost] = field(default_factory=list)
    cold: list[Cost] = field(default_factory=list)
    warm: list[Cost] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Table:
    """A Parquet file, put under a new name whenever a cache must not know it."""

    control: OriginControl
    data: bytes

    def fresh(self, name: str) -> str:
        self.control.put(_BUCKET, f"{name}.parquet", self.data)
        return f"{_BUCKET}/{name}.parquet"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the section of RESULTS.md; the exit status."""
    options = _parser().parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    facts = [*describe(None), f"load average before: {describe_load()}"]
    print("\n".join(facts), flush=True)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastcache-bench-")))
        behind, control = stack.enter_context(origin(cores[-1], auth=True))
        control.bucket(_BUCKET)
        table = Table(control, lineitem(options.rows))
        ways = list(_started(stack, directory, cores[0], behind, options.way or list(_WAYS)))
        control.settings(latency=LATENCY)
        straight = Source(behind.address, DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY)
        figures = list(_measured(table, straight, ways, options.turns, options.engine))
    facts += [
        f"load average after: {describe_load()}",
        f"a table like TPC-H's lineitem, {options.rows:,} rows in a file of {len(table.data) / 1e6:.1f} MB; "
        f"{options.turns} turns",
    ]
    text = section(facts, figures)
    print(text)
    if not options.quick:
        RESULTS.write_text(with_section(RESULTS.read_text(), PARQUET, text))
    return 0


def _started(
    stack: contextlib.ExitStack, directory: Path, core: int, behind: Server, ways: Sequence[str]
) -> Iterator[tuple[str, Server, Source]]:
    keys = directory / "keys.yaml"
    keys.touch(mode=0o600)
    rule = {"actions": ["read", "list"], "resources": ["*"]}
    keys.write_text(yaml.safe_dump([{"access_key": _CLIENT[0], "secret_key": _CLIENT[1], "allow": [rule]}]))
    environment = {"AWS_ACCESS_KEY_ID": DEFAULT_ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": DEFAULT_SECRET_KEY}
    for way in ways:
        verify = ("--keys", str(keys)) if "verify" in _WAYS[way] else ()
        where = directory / way.replace(" ", "")
        cache = stack.enter_context(fastcache(core, behind, where, *_WAYS[way], *verify, environment=environment))
        yield way, cache, Source(cache.address, *_CLIENT)


def _measured(
    table: Table, straight: Source, ways: Sequence[tuple[str, Server, Source]], turns: int, engines: Sequence[str]
) -> Iterator[Figures]:
    names = (f"table-{number}" for number in itertools.count())
    for query, by_engine in QUERIES.items():
        for engine in by_engine:
            if engines and engine not in engines:
                continue
            of_way = [Figures(engine, query, way) for way, _, _ in ways]
            _timed(table.control, of_way[0], straight, table.fresh(next(names)))  # what is loaded at the first use
            for _ in range(turns):
                for figures, (_, cache, source) in zip(of_way, ways, strict=True):
                    _turn(table, straight, source, cache, figures, table.fresh(next(names)))
            for figures in of_way:
                print("\n".join(row(figures)), flush=True)
                yield figures


def _turn(table: Table, straight: Source, source: Source, cache: Server, figures: Figures, path: str) -> None:
    expected, seconds = _timed(table.control, figures, straight, path)
    figures.direct.append(_cost(table.control, seconds))
    for costs in (figures.cold, figures.warm):
        result, seconds = _timed(table.control, figures, source, path)
        if not same(result, expected):
            raise AssertionError(f"{figures.engine}, {figures.query}, {figures.way}: {result} is not {expected}")
        cache.settle()  # with what it fetches and stores behind its answers
        costs.append(_cost(table.control, seconds))


def _cost(control: OriginControl, seconds: float) -> Cost:
    stats = control.stats(0)
    return Cost(seconds, int(stats["requests"]), int(stats["body_total"]))


def _timed(control: OriginControl, figures: Figures, source: Source, path: str) -> tuple[object, float]:
    with ENGINES[figures.engine](source) as reader:
        control.reset()
        begun = time.perf_counter()
        result = QUERIES[figures.query][figures.engine](reader, path)
        return result, time.perf_counter() - begun


_COLUMNS = (
    "engine", "query", "through", "direct", "cold", "warm", "direct ÷ cold", "direct ÷ warm",
    "requests: direct, cold, warm", "MB from the origin: direct, cold, warm",
)  # fmt: skip


def section(facts: Sequence[str], figures: Sequence[Figures]) -> str:
    """What RESULTS.md says of it."""
    lines = [
        PARQUET,
        "",
        "Made by `make bench-parquet`: the origin is 20 ms away, times are medians, ratios those of a",
    ]
    lines += ["turn, median (least to greatest); requests and bytes are those of the last turn.", ""]
    lines += [*(f"- {fact}" for fact in facts), "", "| " + " | ".join(_COLUMNS) + " |"]
    lines += ["|---|---|---|" + "---:|" * (len(_COLUMNS) - 3), *(line for one in figures for line in row(one)), ""]
    return "\n".join(lines)


def row(figures: Figures) -> list[str]:
    """The line of one query."""
    all_costs = (figures.direct, figures.cold, figures.warm)
    times = [f"{statistics.median(cost.seconds for cost in costs) * 1e3:,.0f} ms" for costs in all_costs]
    ratios = [str(_ratio(figures.direct, costs)) for costs in (figures.cold, figures.warm)]
    requests = ", ".join(str(costs[-1].requests) for costs in all_costs)
    moved = ", ".join(f"{costs[-1].body_bytes / 1e6:.2f}" for costs in all_costs)
    return ["| " + " | ".join([figures.engine, figures.query, figures.way, *times, *ratios, requests, moved]) + " |"]


def _ratio(ours: Sequence[Cost], theirs: Sequence[Cost]) -> Spread:
    return Spread.of([left.seconds / right.seconds for left, right in zip(ours, theirs, strict=True)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.parquet", description="Parquet files through a gateway.")
    parser.add_argument("--quick", action="store_true", help="printed only")
    parser.add_argument("--turns", type=int, default=3, help="turns of each query (default 3)")
    parser.add_argument("--rows", type=int, default=300_000, help="rows of the table (default 300,000)")
    parser.add_argument("--engine", action="append", default=[], help="only this engine; repeatable")
    parser.add_argument("--way", action="append", choices=list(_WAYS), help="only these settings; repeatable")
    return parser


if __name__ == "__main__":
    sys.exit(main())
