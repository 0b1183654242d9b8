"""Fails when a hit takes more user instructions than before: the commit it branched from is built and measured beside.

``python -m bench.gate``, or ``make bench-gate BASE=commit``. Instructions are the same on every machine of a kind, so
that the result does not depend on what else runs there; system calls are told and not judged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.instructions import REQUESTS, Cost, measure

REPOSITORY = Path(__file__).resolve().parents[1]
ALLOWED = 0.03
"""How many more instructions are taken for noise, as a share."""
_MAIN = ("origin/main", "main")


class GateError(Exception):
    """There is nothing to compare with."""


def git(*arguments: str) -> str:
    """What git prints about this repository. Raises GateError with what it complains of."""
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GateError(done.stderr.strip())
    return done.stdout.strip()


def branched_from() -> str:
    """The commit where this branch left main; on main itself the one before. Raises GateError."""
    head = git("rev-parse", "HEAD")
    for main in _MAIN:
        with contextlib.suppress(GateError):
            base = git("merge-base", "HEAD", main)
            return git("rev-parse", "HEAD~1") if base == head else base
    raise GateError(f"none of {', '.join(_MAIN)} is known here; name a commit: BASE=...")


@contextlib.contextmanager
def built(commit: str, directory: Path) -> Iterator[Path]:
    """The ``src`` of ``commit``, checked out below ``directory`` with its modules compiled."""
    tree = directory / "base"
    git("worktree", "add", "--detach", str(tree), commit)
    try:
        build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j", str(os.cpu_count() or 1)]
        done = subprocess.run(build, cwd=tree, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise GateError(f"{commit} cannot be built:\n{done.stderr[-2000:]}")
        yield tree / "src"
    finally:
        git("worktree", "remove", "--force", str(tree))


def verdict(base: Cost, head: Cost) -> str | None:
    """What is wrong with ``head``, or None."""
    more = head.instructions / base.instructions - 1
    if more <= ALLOWED:
        return None
    return f"a hit takes {more:+.1%} user instructions, and {ALLOWED:+.0%} is allowed"


def main(arguments: list[str] | None = None) -> int:
    """Measure both and compare; 1 when it got dearer."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description="Did a hit get dearer?")
    parser.add_argument("--base", help="commit to compare with; default: where this branch left main")
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"N of bench.instructions (default {REQUESTS})")
    options = parser.parse_args(arguments)
    try:
        commit = git("rev-parse", "--verify", f"{options.base}^{{commit}}") if options.base else branched_from()
        with tempfile.TemporaryDirectory(prefix="fastcache-gate-") as name:
            directory = Path(name)
            with built(commit, directory) as source:
                base = _measured(f"before ({commit[:12]})", directory / "of-base", options.requests, source)
            head = _measured("now", directory / "of-head", options.requests, REPOSITORY / "src")
    except GateError as error:
        print(f"bench-gate: {error}", file=sys.stderr)
        return 2
    wrong = verdict(base, head)
    print(f"bench-gate: {wrong or 'no dearer than before'}")
    return 1 if wrong else 0


def _measured(name: str, directory: Path, requests: int, source: Path) -> Cost:
    directory.mkdir()
    cost = measure(directory, requests, source)
    print(f"{name}: {cost}", flush=True)
    return cost


if __name__ == "__main__":
    sys.exit(main())
