"""``python -m bench.index_memory``: what the processes take that know a directory of a million extents.

The extents are made by reading pieces of objects through one worker. Then, for each number of workers and each bound, a
proxy is started on the same directory and each of its workers is asked for each object, which makes it learn all that
the directory has of it, as far as it may.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load import Reading, crowds, run
from bench.machine import describe, describe_load
from bench.objects import KIB, MIB, Piece, asked, create
from bench.report import MEMORY, RESULTS, with_section
from bench.servers import Server, fastcache, free_port, origin, private_bytes
from fastcache.model import Interval

_EXTENTS = re.compile(r"^fastcache_memory_extents (\S+)$", re.MULTILINE)
_APART = 64 * KIB
_LENGTH = 4 * KIB
_FLAGS = ("--authorization", "none", "--ttl", "24h", "--cache-size", "200GiB")
_BOUNDS = ("1GiB", "64GiB")
"""The default, and one that is never reached."""
_CONNECTIONS = 4
"""For each worker: it is asked by one of them at least."""


@dataclass(frozen=True, slots=True)
class Known:
    """One proxy after it was asked for everything. Bytes are of memory that a process has for itself."""

    workers: int
    bound: str
    each: Sequence[int]
    keeper: int
    extents: int
    """How many all workers together knew."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write the section of RESULTS.md; the exit status."""
    options = _parser().parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    facts = [*describe(None), f"load average before: {describe_load()}"]
    keys = [f"index/{number:06d}.bin" for number in range(options.objects)]
    with contextlib.ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="fastcache-bench-", dir=options.directory))
        )
        behind, control = stack.enter_context(origin(cores[-1], auth=False))
        create([control], [Piece(key, Interval(0, options.extents * _APART), True) for key in keys])
        _make(cores[0], behind, directory, keys, options.extents)
        results = [
            _measured(cores[0], behind, directory, keys, workers, bound)
            for workers in options.workers
            for bound in _BOUNDS
        ]
    facts.append(f"load average after: {describe_load()}")
    text = section(facts, options.objects, options.extents, results)
    print(text)
    if not options.quick:
        RESULTS.write_text(with_section(RESULTS.read_text(), MEMORY, text))
    return 0


def _piece(key: str, number: int) -> Piece:
    return Piece(key, Interval(number * _APART, number * _APART + _LENGTH), False)


def _make(core: int, behind: Server, directory: Path, keys: Sequence[str], extents: int) -> None:
    with fastcache(core, behind, directory, *_FLAGS, "--workers", "1") as cache:
        for number in range(extents):
            with crowds(cache.address, [16]) as load:
                run(load, [Reading(asked(cache.address, [_piece(key, number) for key in keys]), once=True)], None)
        cache.settle()


def _measured(core: int, behind: Server, directory: Path, keys: Sequence[str], workers: int, bound: str) -> Known:
    admin = free_port()
    flags = (*_FLAGS, "--workers", str(workers), "--index-memory", bound, "--admin-port", str(admin))
    connections = _CONNECTIONS * workers
    with fastcache(core, behind, directory, *flags) as cache:
        with crowds(cache.address, [1] * connections) as load:
            pieces = asked(cache.address, [_piece(key, 0) for key in keys])
            run(load, [Reading(pieces, once=True)] * connections, None)
        extents = _extents(admin)
        of_role: dict[str, list[int]] = {}
        for process in json.loads(_told(admin, "/health"))["processes"]:
            of_role.setdefault(process["role"], []).append(private_bytes(process["pid"]))
        return Known(workers, bound, sorted(of_role["worker"]), of_role["keeper"][0], extents)


def _extents(admin: int) -> int:
    """How many are known, as soon as there are no more of them after a while."""
    last = -1
    while True:
        found = _EXTENTS.search(_told(admin, "/metrics"))
        assert found is not None, "a cache says how many extents it knows"
        if (now := int(float(found[1]))) == last:
            return now
        last = now
        time.sleep(1.0)


def _told(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def section(facts: Sequence[str], objects: int, extents: int, results: Sequence[Known]) -> str:
    """As it stands in RESULTS.md."""
    lines = [
        MEMORY,
        "",
        "Made by `python -m bench.index_memory`: private memory of processes on a cache directory of "
        f"{objects * extents:,} extents ({objects:,} objects, {extents} extents of 4 KiB each), after each worker was "
        "asked for each object.",
        "",
        *(f"- {fact}" for fact in facts),
        "",
        "| workers | `index-memory` | a worker, MiB | all workers, MiB | keeper, MiB | extents known to all workers |",
        "|---|---|---|---|---|---|",
    ]
    for one in results:
        low, high, total = (size / MIB for size in (one.each[0], one.each[-1], sum(one.each)))
        lines.append(
            f"| {one.workers} | {one.bound} | {low:,.0f} to {high:,.0f} | {total:,.0f} | {one.keeper / MIB:,.0f} "
            f"| {one.extents:,} |"
        )
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.index_memory", description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--extents", type=int, default=100, help="of each object")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--directory", type=Path, help="where the cache directory is made; 8 GiB are enough")
    parser.add_argument("--quick", action="store_true", help="measure, and leave RESULTS.md as it is")
    return parser


if __name__ == "__main__":
    sys.exit(main())
