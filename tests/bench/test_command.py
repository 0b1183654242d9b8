"""``fastcache bench`` against the project's own origin, directly and through a real fastcache."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess

from fastcache.cli.main import main
from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess

KEYS = ["a", "with space/b"]


@pytest.fixture
def bench(origin: OriginProcess, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``bench("arguments", ...)``: the result of the command, with the origin's credentials in the environment."""
    origin.control.synthetic("bucket", KEYS, 1_000_000)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", origin.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", origin.secret_key)
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["bench", *arguments])

    return run


def urls(endpoint: str) -> list[str]:
    return [f"{endpoint}/bucket/{key.replace(' ', '%20')}" for key in KEYS]


@pytest.mark.parametrize("client", ["boto3", "crt", "curl"])
def test_the_table_tells_what_a_verified_run_moved(
    bench: Callable[..., Any], origin: OriginProcess, client: str
) -> None:
    options = ["-n", "20", "-c", "3", "--mode", "verify", "--against", "pattern", "--client", client]
    result = bench(*urls(origin.endpoint), *options)
    assert result.exit_code == 0, result.output
    for text in ("requests/s", "20,000,000", "latency p99.9", "status 200", "first byte p50"):
        assert text in result.output


def test_ranges_through_the_cache_as_figures_for_programs(
    bench: Callable[..., Any], origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    proxy = start_fastcache(origin.endpoint)
    ranges = ["--range-size", "64KiB", "-n", "60", "--mode", "verify", "--against", "pattern", "--json"]
    result = bench(*urls(proxy.endpoint), *ranges, "--warm")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["requests"], found["statuses"], found["failures"]) == (60, {"206": 60}, {})
    assert found["x_cache"] == {"REVALIDATED": 60}
    assert found["body_bytes"] <= 60 * 65536
    assert 0 < found["latency"]["p50"] <= found["latency"]["p99"] <= found["latency"]["max"]
    assert found["requests_per_second"] == pytest.approx(60 / found["seconds"])


def test_a_wrong_byte_is_an_error_and_its_place_told(
    bench: Callable[..., Any], origin: OriginProcess, tmp_path: Path
) -> None:
    data = bytearray(pattern(b"a", 1, 0, 1_000_000))
    file = tmp_path / "a"
    file.write_bytes(data)
    options = [urls(origin.endpoint)[0], "-n", "4", "--mode", "verify", "--against", str(file)]
    assert bench(*options).exit_code == 0
    data[700_123] ^= 1
    file.write_bytes(data)
    result = bench(*options)
    assert result.exit_code == 1
    assert "wrong bytes" in result.output
    assert "the first wrong byte: offset 700,123 in answer to\nGET /bucket/a HTTP/1.1" in result.output
    assert "Signature" not in result.output


def test_the_time_bounds_it_and_the_rate_is_kept(bench: Callable[..., Any], origin: OriginProcess) -> None:
    result = bench(*urls(origin.endpoint), "-d", "300ms", "--rate", "50", "--json")
    assert result.exit_code == 0, result.output
    assert 1 <= json.loads(result.stdout)["requests"] <= 16


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["http://127.0.0.1:1/bucket/key"], 1, "Connection refused"),
        (["https://127.0.0.1:1/bucket/key"], 1, "is not like http://host:port/bucket/key"),
        (["http://127.0.0.1:1"], 1, "is not like"),
        (["http://127.0.0.1:1/b/k", "http://127.0.0.1:2/b/k"], 1, "the same server"),
        (["http://127.0.0.1:1/b/k", "-d", "11m"], 1, "600 s at most"),
        (["http://127.0.0.1:1/b/k", "--mode", "verify"], 2, "go together"),
        (["http://127.0.0.1:1/b/k", "--against", "pattern"], 2, "go together"),
        (["http://127.0.0.1:1/b/k", "--range-size", "64K"], 2, "is not a size"),
        ([], 2, "Missing argument"),
    ],
)
def test_what_cannot_be_measured_is_told(
    bench: Callable[..., Any], arguments: list[str], status: int, complaint: str
) -> None:
    result = bench(*arguments)
    assert (result.exit_code, complaint in result.output) == (status, True), result.output


def test_an_object_that_is_not_there_or_not_allowed_is_told(bench: Callable[..., Any], origin: OriginProcess) -> None:
    missing = bench(f"{origin.endpoint}/bucket/missing")
    assert (missing.exit_code, "HEAD /bucket/missing was answered with status 404" in missing.output) == (1, True)
    refused = bench(*urls(origin.endpoint), "--anonymous")
    assert (refused.exit_code, "status 403" in refused.output) == (1, True)


def test_half_a_credential_is_none(
    bench: Callable[..., Any], origin: OriginProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    result = bench(*urls(origin.endpoint))
    assert (result.exit_code, "go together" in result.output) == (1, True)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started in the background of a shell ignores SIGINT, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_what_was_measured_until_an_interrupt_is_told(bench: Callable[..., Any], origin: OriginProcess) -> None:
    command = [sys.executable, "-m", "fastcache", "bench", *urls(origin.endpoint), "-d", "600s", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ), text=True) as process:
        try:
            wait_until(lambda: origin.control.requests("GET") >= 10, 60, "it measures", step=0.05)
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    found = json.loads(printed)
    assert found["requests"] >= 1
    assert found["client_busy"] is None
