"""The benchmarks measure what they say, refuse wrong answers, and tell no path of the machine."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.contests import Contender, Contest, Outcome, Run, Spread
from bench.load import Load, LoadError, Sample, fetch
from bench.objects import BUCKET, request, whole_objects
from bench.report import document
from bench.servers import Server
from tests.harness.tools import REPOSITORY

from fastcache.origin.process import OriginProcess


def test_a_tiny_case_prints_its_ratios_and_no_path(tmp_path: Path) -> None:
    output = tmp_path / "results.md"
    options = ["--case", "hit-4KiB", "--pairs", "1", "--seconds", "0.05", "--connections", "2", "--no-nginx"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *options, "--directory", str(tmp_path), "--output", str(output)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| origin, directly \|.* \| \d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\) \|", done.stdout)
    assert "nginx not installed: SKIPPED" in done.stdout
    assert output.read_text() in done.stdout
    assert str(tmp_path) not in done.stdout
    assert str(REPOSITORY) not in done.stdout


def test_the_load_counts_every_request_and_byte(origin: OriginProcess) -> None:
    address = ("127.0.0.1", origin.port)
    pieces = whole_objects("o", 3, 70_000)
    origin.control.synthetic(BUCKET, [piece.key for piece in pieces], 70_000)
    origin.control.reset()
    with Load(address, 2) as load:
        sample = load.run([request(address, piece) for piece in pieces])
    assert (sample.requests, sample.body_bytes) == (3, 210_000)
    assert (origin.control.requests(), origin.control.body_sent(BUCKET)) == (3, 210_000)
    head, body = fetch(address, request(address, pieces[0]))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == pieces[0].content()


def test_an_answer_that_is_an_error_measures_nothing(origin: OriginProcess) -> None:
    origin.control.bucket(BUCKET)
    address = ("127.0.0.1", origin.port)
    (missing,) = whole_objects("missing", 1, 10)
    with Load(address, 1) as load, pytest.raises(LoadError, match="404"):
        load.run([request(address, missing)])


@pytest.fixture
def answering() -> Iterator[Callable[[list[bytes]], tuple[str, int]]]:
    """``answering(pieces)``: an address whose first connection gets these pieces, each in a segment, and its end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(pieces: list[bytes]) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.recv(1000)
                for piece in pieces:
                    connection.sendall(piece)
                    threading.Event().wait(0.02)

        def start(pieces: list[bytes]) -> tuple[str, int]:
            threading.Thread(target=answer, args=(pieces,), daemon=True).start()
            address: tuple[str, int] = listener.getsockname()
            return address

        yield start


def test_a_head_in_pieces_is_put_together(answering: Callable[[list[bytes]], tuple[str, int]]) -> None:
    address = answering([b"HTTP/1.1 200 OK\r\nConte", b"nt-Length: 5\r\n\r", b"\nab", b"cde"])
    with Load(address, 1) as load:
        sample = load.run([b"GET / HTTP/1.1\r\n\r\n"])
    assert (sample.requests, sample.body_bytes) == (1, 5)


@pytest.mark.parametrize(
    ("pieces", "complaint"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"], "inside a body"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"], "more bytes"),
        ([b"HTTP/1.1 200 OK\r\n"], "where an answer was due"),
        ([b"HTTP/1.1 200 OK\r\n\r\n"], "unexpected answer"),
    ],
)
def test_an_answer_of_another_length_measures_nothing(
    answering: Callable[[list[bytes]], tuple[str, int]], pieces: list[bytes], complaint: str
) -> None:
    with Load(answering(pieces), 1) as load, pytest.raises(LoadError, match=complaint):
        load.run([b"GET / HTTP/1.1\r\n\r\n"])


def outcome(ours: list[tuple[int, float]], theirs: list[tuple[int, float]]) -> Outcome:
    """Runs of one second: (requests, CPU seconds)."""
    server = Server("x", 1, ("127.0.0.1", 1), True)
    contenders = [Contender(name, server, lambda _: []) for name in ("ours", "theirs")]
    runs = {
        name: [Run(Sample(requests, requests * 1000, 1.0, 0.5), cpu) for requests, cpu in values]
        for name, values in (("ours", ours), ("theirs", theirs))
    }
    return Outcome(Contest("case", "what", contenders, 4, 1.0), runs)


def test_a_ratio_is_taken_within_a_turn_and_its_median_told() -> None:
    measured = outcome([(100, 0.1), (10, 0.1), (300, 0.1)], [(200, 0.1), (10, 0.1), (100, 0.1)])
    assert measured.ratio("theirs", lambda run: run.rate) == Spread(1.0, 0.5, 3.0)
    assert "| 1.00 (0.50 to 3.00) | 1.00 (0.33 to 2.00) |" in document(["fact"], [measured])


def test_a_run_without_a_tick_of_cpu_has_no_ratio() -> None:
    measured = outcome([(100, 0.1)], [(100, 0.0)])
    assert measured.ratio("theirs", lambda run: run.cpu_per_request) is None
