"""The long form of fuzzing: ``python -m tests.fuzz --seconds 60 [TARGET ...]``, all targets one after another.

atheris (libFuzzer) is led by the coverage of the Python modules and, where the core was compiled with clang by
tools/fuzz, of the compiled ones too. The corpus grows in ``build/fuzz/corpus``; an input that fails is written to
``build/fuzz/findings`` and ends its target. A finding becomes a regression test beside the code it concerns.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

BUILD = Path(__file__).resolve().parents[2] / "build" / "fuzz"


def _fuzz(name: str, arguments: list[str]) -> None:
    """One target in this process; libFuzzer ends it."""
    import atheris

    with atheris.instrument_imports(include=["fastcache"]):
        from tests.fuzz.target import MAX_INPUT
        from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    corpus, findings = BUILD / "corpus" / name, BUILD / "findings" / f"{name}-"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.parent.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    dictionary = BUILD / f"{name}.dict"
    quoted = ("".join(f"\\x{octet:02x}" for octet in token) for token in target.tokens)
    dictionary.write_text("".join(f'"{token}"\n' for token in quoted))
    options = [f"-max_len={MAX_INPUT}", f"-dict={dictionary}", f"-artifact_prefix={findings}", "-timeout=10"]
    atheris.Setup([sys.argv[0], *options, *arguments, str(corpus)], target.run)
    atheris.Fuzz()


def main() -> int:
    """Each target in a process of its own; the number of targets that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help="all of them when none is named")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer's generator (default %(default)s)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    limits = [f"-max_total_time={given.seconds}", f"-seed={given.seed}", "-print_final_stats=1"]
    if given.inside:
        _fuzz(given.targets[0], limits)
    from tests.fuzz.targets import TARGETS

    unknown = sorted(set(given.targets) - set(TARGETS))
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(TARGETS)}")
    failed = []
    for name in given.targets or TARGETS:
        print(f"==== {name}, {given.seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--inside", f"--seconds={given.seconds}", f"--seed={given.seed}"]
        if subprocess.run([*command, name], check=False).returncode != 0:
            failed.append(name)
    print(f"fuzz: {len(failed)} of {len(given.targets or TARGETS)} targets failed: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
