"""User instructions and system calls of a hit: exact where times are not, so that a change of some percent shows.

Both tools watch a fastcache process while it answers N and then 2N hits of 4 KiB; the difference, divided by N, is what
a hit costs, without what the start, the connections and the first fill cost. ``python -m bench.instructions`` prints
them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cases.setup import NONE, verifying, warm
from bench.load import Reading, crowds, run
from bench.objects import KIB, asked, objects_of
from bench.servers import Server, ServerError, descendants, fastcache, origin

REQUESTS = 40_000
CONNECTIONS = 32
_READY = 120.0
"""Seconds that a start may take under a tool."""
_TOTAL = re.compile(r"^(?:summary|totals): (\d+)$", re.MULTILINE)
_WRITTEN = 20.0
"""Seconds after the end of a process until its tool has written its file."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one hit: user instructions, and system calls by name."""

    instructions: float
    calls: Mapping[str, float]

    def __str__(self) -> str:
        named = ", ".join(f"{name} {count:.2f}" for name, count in self.calls.items() if count >= 0.005)
        total = sum(self.calls.values())
        return f"{self.instructions:,.0f} user instructions, {total:.2f} system calls ({named}) for a hit of 4 KiB"


def measure(directory: Path, requests: int = REQUESTS, source: Path | None = None, flags: Sequence[str] = NONE) -> Cost:
    """The cost of a hit of the fastcache whose ``src`` is ``source``, or of ours; both tools must be there."""
    return Cost(instructions(directory, requests, source, flags), calls(directory, requests, source, flags))


# ---- callgrind ----


def instructions(directory: Path, requests: int, source: Path | None = None, flags: Sequence[str] = NONE) -> float:
    """User instructions of a hit."""
    out = directory / "callgrind"
    out.mkdir()
    tool = ("valgrind", "-q", f"--log-file={directory}/valgrind.%p", "--tool=callgrind", "--trace-children=yes")
    tool += (f"--callgrind-out-file={out}/out.%p",)
    with _warm_server(directory / "under-callgrind", tool, source, flags, ("bench.alone",)) as server:
        _hits(server, 2 * len(objects_of(4 * KIB)))  # the connections, the leases, and what is made at a first use
        totals = []
        for count in (requests, 2 * requests):
            _dump(server)
            before = total(out)
            _hits(server, count)
            _dump(server)
            totals.append(total(out) - before)
    return (totals[1] - totals[0]) / requests


def _dump(server: Server) -> None:
    """Let callgrind write what each process counted since the last time."""
    for pid in (server.pid, *descendants(server.pid)):
        subprocess.run(["callgrind_control", "--dump", str(pid)], check=True, capture_output=True, timeout=60)


def total(out: Path) -> int:
    """Instructions in all files that callgrind wrote so far."""
    found = [_TOTAL.search(path.read_text()) for path in out.iterdir()]
    return sum(int(match[1]) for match in found if match is not None)


# ---- strace ----


def calls(directory: Path, requests: int, source: Path | None = None, flags: Sequence[str] = NONE) -> dict[str, float]:
    """System calls of a hit, the most frequent first."""
    once = _traced(directory / "once", requests, source, flags)
    twice = _traced(directory / "twice", 2 * requests, source, flags)
    costs = {name: (twice.get(name, 0) - once.get(name, 0)) / requests for name in {*once, *twice}}
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def _traced(directory: Path, requests: int, source: Path | None, flags: Sequence[str]) -> dict[str, int]:
    """System calls of a whole life, by name."""
    directory.mkdir()
    out = directory / "strace"
    # -D: strace is not between us and the process, so that the process takes our signals.
    tool = ("strace", "-D", "-f", "-c", "-U", "calls,name", "-o", str(out))
    with _warm_server(directory, tool, source, flags) as server:
        _hits(server, requests)
    deadline = time.monotonic() + _WRITTEN
    while not (out.exists() and " total\n" in out.read_text()):
        if time.monotonic() > deadline:
            raise ServerError("strace wrote no summary")
        time.sleep(0.02)
    lines = re.findall(r"^ *(\d+) +(\w+)$", out.read_text(), re.MULTILINE)
    return {name: int(count) for count, name in lines if name != "total"}


# ---- both ----


@contextlib.contextmanager
def _warm_server(
    directory: Path,
    tool: Sequence[str],
    source: Path | None,
    flags: Sequence[str],
    module: Sequence[str] = ("fastcache", "serve"),
) -> Iterator[Server]:
    """fastcache under a tool, with objects that it has read once."""
    core, *_, other = sorted(os.sched_getaffinity(0)) * 2
    with contextlib.ExitStack() as stack:
        behind, control = stack.enter_context(origin(other, auth=False))
        environment = {"PYTHONHASHSEED": "0"}  # the order of sets is one thing less that varies
        if source is not None:
            environment["PYTHONPATH"] = str(source)
        server = stack.enter_context(
            fastcache(core, behind, directory, *flags, under=tool, environment=environment, ready=_READY, module=module)
        )
        warm(server, control, objects_of(4 * KIB))
        yield server


def _hits(server: Server, count: int) -> None:
    """``count`` hits over connections that are all busy, so that as many of them are taken at once in every run."""
    requests = asked(server.address, objects_of(4 * KIB))
    with crowds(server.address, [CONNECTIONS]) as load:
        run(load, [Reading([requests[n % len(requests)] for n in range(count)], once=True, result="HIT")], None)


def main(arguments: list[str] | None = None) -> int:
    """Print the costs; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description="What a hit of 4 KiB costs.")
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"N; 3N are sent (default {REQUESTS})")
    parser.add_argument("--verified", action="store_true", help="of one whose signature is checked here")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fastcache-bench-") as directory:
        flags = verifying(Path(directory)) if options.verified else NONE
        cost = measure(Path(directory), options.requests, flags=flags)
    print(json.dumps(asdict(cost)) if options.json else cost)
    return 0


if __name__ == "__main__":
    sys.exit(main())
