"""The benchmarks measure what they say, refuse wrong answers, and tell no path of the machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.contests import Contender, Contest, Outcome, Run, Spread
from bench.findings import Finding
from bench.load import LoadError, Reading, Sample, crowds, run, verify
from bench.objects import BUCKET, asked, create, request, whole_objects
from bench.report import document
from bench.servers import Server
from bench.slow_clients import slow_clients
from tests.harness.processes import wait_until
from tests.harness.tools import REPOSITORY

from fastcache._core.latency import Latencies
from fastcache.origin.process import OriginProcess


def bench(directory: Path, *options: str) -> str:
    """What a run prints, checked for what no result may hold."""
    brief = ["--pairs", "1", "--seconds", "0.05", "--connections", "2", "--small-misses", "20"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *brief, *options, "--directory", str(directory)],
        cwd=REPOSITORY,
        # However slow the disk is: what was read once has to be a hit.
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "FASTCACHE_FILL_DETACH_AFTER": "60s"},
        capture_output=True,
        text=True,
        timeout=380,
    )
    assert done.returncode == 0, done.stderr
    assert str(directory) not in done.stdout
    assert str(REPOSITORY) not in done.stdout
    return done.stdout


pytestmark = pytest.mark.timeout(400)
"""Of each contender there are several processes to start."""

RATIO = r"\d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)"
RATIOS = r"(\| " + RATIO + r" ){4}\|"


def test_a_tiny_case_prints_its_ratios(tmp_path: Path) -> None:
    output = tmp_path / "results.md"
    printed = bench(tmp_path, "--case", "range-64KiB", "--no-nginx", "--output", str(output))
    assert re.search(r"\| origin, directly \|.*" + RATIOS, printed)
    assert "nginx not installed: SKIPPED" in printed
    assert output.read_text() in printed


def test_hits_whose_signatures_are_checked_are_compared_with_those_of_everybody(tmp_path: Path) -> None:
    printed = bench(tmp_path, "--case", "verified-64KiB", "--no-nginx")
    assert re.search(r"fastcache, hit \(verify\) \|.*\n\|  \| fastcache, hit \(none\) \|.*" + RATIOS, printed)


def test_nginx_takes_part_with_its_best_setting(tmp_path: Path, require_tool: Callable[..., None]) -> None:
    require_tool("nginx")
    printed = bench(tmp_path, "--case", "range-8MiB", "--case", "hit-64KiB", "--case", "verified-64KiB")
    beside = re.findall(r"\| nginx, files \([a-z, ]+\) \|.*" + RATIOS, printed)
    assert len(beside) == 2 * 3, "each case's row, as it was measured and in the document"
    assert re.search(r"\| nginx, proxy_cache with slices of 1 MiB \|.*" + RATIOS, printed)


def test_requests_beside_others_are_compared_with_the_same_alone(tmp_path: Path) -> None:
    cases = ["--case", "misses-beside-hits", "--case", "beside-engine", "--case", "beside-slow-clients"]
    printed = bench(tmp_path, *cases, "--no-nginx")
    # The server's CPU is that of both kinds, so there is no ratio of it.
    ratios = RATIO + r" \|  \|( " + RATIO + r" \|){2}"
    assert re.search(r"\| misses, alone \|.* " + ratios, printed)
    for others in ("64 connections", "300 slow clients"):
        assert re.search(rf"\| hits, beside {others}.*\n\|  \| hits, alone \|.* " + ratios, printed)


def test_slow_clients_are_there_while_others_read(origin: OriginProcess) -> None:
    address = ("127.0.0.1", origin.port)
    (small,), (large,) = whole_objects("small", 1, 1000), whole_objects("large", 1, 32 << 20)
    create([origin.control], [small, large])
    origin.control.reset()
    with slow_clients(address, request(address, large), 6), crowds(address, [1]) as load:
        assert run(load, [Reading(asked(address, [small] * 50), once=True)], None).requests == 50
        assert 0 < origin.control.body_sent(BUCKET, large.key) < 4 * large.interval.end, "four read, and slowly"


def running(module: str) -> bool:
    """Whether a child of ours runs ``module``."""
    asked = ["pgrep", "--parent", str(os.getpid()), "--full", module]
    return subprocess.run(asked, stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_slow_clients_that_are_sent_away_measure_nothing(origin: OriginProcess) -> None:
    address = ("127.0.0.1", origin.port)
    (large,) = whole_objects("large", 1, 32 << 20)
    create([origin.control], [large])

    def measure() -> None:
        with slow_clients(address, request(address, large), 6):
            assert running("bench.slow_clients")
            assert origin.control.drop_connections() == 6
            wait_until(lambda: not running("bench.slow_clients"), 60, "they are gone")

    with pytest.raises(LoadError, match="sent away"):
        measure()


def test_every_byte_and_how_it_was_answered_is_verified(origin: OriginProcess) -> None:
    address = ("127.0.0.1", origin.port)
    pieces = whole_objects("o", 3, 70_000)
    keys = [piece.key for piece in pieces]
    origin.control.synthetic(BUCKET, keys, 70_000)
    origin.control.reset()
    verify(address, asked(address, pieces))
    assert sorted(entry["key"] for entry in origin.control.log()) == keys
    with pytest.raises(LoadError, match="should be HIT"):
        verify(address, asked(address, pieces), "HIT")
    origin.control.flip(BUCKET, keys[1])
    with pytest.raises(LoadError, match="wrong bytes"):
        verify(address, asked(address, pieces))


def test_an_answer_that_is_an_error_measures_nothing(origin: OriginProcess) -> None:
    origin.control.bucket(BUCKET)
    address = ("127.0.0.1", origin.port)
    with pytest.raises(LoadError, match="404"):
        verify(address, asked(address, whole_objects("missing", 1, 10)))


def sample(requests: int) -> Sample:
    latencies = Latencies()
    latencies.record(1_000_000)
    return Sample(requests, requests * 1000, 1.0, 0.5, latencies, latencies)


def outcome(ours: list[tuple[int, float]], theirs: list[tuple[int, float]]) -> Outcome:
    """Runs of one second: (requests, CPU seconds)."""
    server = Server("x", 1, ("127.0.0.1", 1), True)
    contenders = [Contender(name, server, lambda _: []) for name in ("ours", "theirs")]
    runs = {
        name: [Run(sample(requests), cpu) for requests, cpu in values]
        for name, values in (("ours", ours), ("theirs", theirs))
    }
    return Outcome(Contest("case", "what", contenders, 4, 1.0), runs)


def test_a_ratio_is_taken_within_a_turn_and_its_median_told() -> None:
    measured = outcome([(100, 0.1), (10, 0.1), (300, 0.1)], [(200, 0.1), (10, 0.1), (100, 0.1)])
    assert measured.ratio("theirs", lambda run: run.rate) == Spread(1.0, 0.5, 3.0)
    text = document(["fact"], [measured, Finding("idle", "what", "a figure")])
    assert "| 1.00 (0.50 to 3.00) | 1.00 (0.33 to 2.00) | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |" in text
    assert "| `idle` what | a figure |" in text


def test_a_run_that_used_no_cpu_has_no_ratio() -> None:
    measured = outcome([(100, 0.1)], [(100, 0.0)])
    assert measured.ratio("theirs", lambda run: run.cpu_per_request) is None
