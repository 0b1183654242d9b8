"""``python -m bench``: measure whole processes and write ``bench/RESULTS.md``."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from bench.cases import cases
from bench.cases.setup import Setup
from bench.contests import Outcome, hold
from bench.findings import Finding
from bench.load import LoadError
from bench.machine import describe, describe_congestion, describe_filesystem, describe_load
from bench.nginx import nginx_program
from bench.report import APART, RESULTS, document, rows, section_of, with_section
from bench.servers import on_core

_QUICK = {"pairs": 3, "seconds": 0.2, "small_misses": 400}


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.quick:
        parser.set_defaults(**_QUICK)
        options = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))
    program = None if options.no_nginx else nginx_program()
    facts = describe(program)
    if len(cores) < 2:
        facts.append("only one core: server and load share it")
    facts.append(f"load average before: {describe_load()}")
    print("\n".join(facts), flush=True)
    results: list[Outcome | Finding] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fastcache-bench-", dir=options.directory) as directory:
        Path(directory).chmod(0o755)  # nginx may run as another user
        setup = Setup(
            Path(directory), cores[0], cores[-1], options.connections, options.seconds, options.small_misses, program,
            options.case, options.quick,
        )  # fmt: skip
        facts.append(describe_filesystem(setup.directory))
        congestion = True
        with on_core(setup.load_core):
            for case in cases(setup):
                if isinstance(case, Finding):
                    results.append(case)
                else:
                    congestion = congestion and all(contender.server.congestion for contender in case.contenders)
                    try:
                        results.append(hold(case, options.pairs))
                    except LoadError as error:  # the other cases are worth their figures all the same
                        failed.append(f"{case.name}: {error}")
                        continue
                print("\n".join(rows(results[-1])), flush=True)
    if not results and not failed:
        parser.error(f"no case is named like {', '.join(options.case)}")
    facts += [f"load average after: {describe_load()}", describe_congestion(congestion)]
    facts.append(f"{options.pairs} turns of {options.seconds:g} s each for hits")
    text = document(facts, results)
    print(text)
    if failed:
        print("not measured, so that nothing is written:", *failed, sep="\n", file=sys.stderr)
        return 1
    output = options.output or (None if options.case or options.quick else RESULTS)
    if output is not None:
        before = output.read_text() if output.exists() else ""
        for heading in APART:
            text = with_section(text, heading, section_of(before, heading))
        output.write_text(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Compare fastcache with what it stands before."
    )
    parser.add_argument("--case", action="append", default=[], help="only cases whose name contains this; repeatable")
    parser.add_argument("--quick", action="store_true", help="all cases in less than two minutes, printed only")
    parser.add_argument("--pairs", type=_positive, default=5, help="turns of each server (default 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a turn of hits (default 1)")
    parser.add_argument("--connections", type=_positive, default=32, help="connections of the load (default 32)")
    parser.add_argument("--small-misses", type=_positive, default=2000, help="objects of a turn of small misses")
    parser.add_argument("--no-nginx", action="store_true", help="leave nginx out even if it is installed")
    parser.add_argument("--directory", type=Path, help="where caches and files are put; default: the system's")
    parser.add_argument(
        "--output", type=Path, help="file for the results; default RESULTS.md, none with --case and --quick"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
