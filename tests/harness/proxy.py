"""fastcache as its users run it: a process, its ready line, its metrics, and its end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from tests.harness import processes
from tests.harness.processes import ProcessError

from fastcache.lifecycle.overview import _PATIENCE as LEFT_OUT_AFTER

_READY = re.compile(r"^listening on (https?://\S+) \(admin (https?://[^\s)]+)\)$", re.MULTILINE)

Sample = tuple[str, dict[str, str], float]
"""Name, labels and value."""

TOLD_WITHIN = 60.0
"""Seconds in which a process that the machine did not let run for a while has told what it is asked."""


class FastcacheProcess:
    """``python -m fastcache serve`` in front of ``endpoint``, on free ports of the loopback address.

    ``arguments`` are appended to the command line, ``environment`` is added to ours. The constructor returns when the
    ready line has been printed; ``stop`` ends it as an operator does and asserts that it went well.
    """

    def __init__(
        self,
        endpoint: str,
        cache_directory: Path,
        log_directory: Path,
        *,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        ready_within: float = 60.0,
    ) -> None:
        log_directory.mkdir(parents=True, exist_ok=True)
        self.cache_directory = cache_directory
        self.stdout = log_directory / "fastcache.stdout"
        self.stderr = log_directory / "fastcache.stderr"
        self.command = [
            *(sys.executable, "-m", "fastcache", "serve", "-e", endpoint, "-p", "0", "--admin-port", "0"),
            # Most tests count what one worker asks the origin for; one that is about several says so.
            *("--workers", "1", "--cache-dir", str(cache_directory), *arguments),
        ]
        self.process: subprocess.Popen[bytes] = processes.start(
            self.command, stdout=self.stdout, stderr=self.stderr, environment={**os.environ, **(environment or {})}
        )
        try:
            self.endpoint, self.admin = self._wait_for_ready_line(ready_within)
        except BaseException:
            self.kill()
            raise

    def _wait_for_ready_line(self, seconds: float) -> tuple[str, str]:
        found: list[re.Match[str]] = []

        def ready() -> bool:
            if self.process.poll() is not None:
                raise ProcessError(f"fastcache exited with {self.process.returncode} before it was ready")
            found.extend(_READY.finditer(self.stdout.read_text()))
            return bool(found)

        try:
            processes.wait_until(ready, seconds, "fastcache printed its ready line")
        except ProcessError as error:
            raise ProcessError(f"{error}\n{self.logs()}") from error
        return found[0][1], found[0][2]

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self.process.pid

    def health(self) -> dict[str, Any]:
        """The body of ``/health`` now, whatever its status."""
        try:
            with urllib.request.urlopen(f"{self.admin}/health", timeout=20) as response:
                told = json.load(response)
        except urllib.error.HTTPError as error:
            told = json.load(error)
        assert isinstance(told, dict)
        return told

    def family(self, role: str | None = None) -> list[dict[str, Any]]:
        """What ``/health`` says of each process, or of those of one role, as soon as all of them answer."""
        told: list[dict[str, Any]] = []

        def all_answer() -> bool:
            told[:] = self.health()["processes"]
            return all(one["state"] != "does not answer" for one in told)

        processes.wait_until(all_answer, TOLD_WITHIN, "every process answers")
        return [one for one in told if role in (None, one["role"])]

    def workers(self) -> dict[int, int]:
        """The process ids of the workers that accept connections, by slot."""
        return {one["slot"]: one["pid"] for one in self.family("worker") if one["state"] == "ok"}

    @property
    def worker(self) -> int:
        """The process id of the first worker."""
        return self.workers()[0]

    def logs(self) -> str:
        """Its command, and the end of what it printed."""
        return (
            f"--- command\n{' '.join(self.command)}\n"
            f"--- stdout\n{processes.tail(self.stdout)}\n"
            f"--- stderr\n{processes.tail(self.stderr, 200)}"
        )

    def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics`` now, named as Prometheus writes it: ``name`` or ``name{a="b",c="d"}`` sorted."""
        return {_rendered(name, labels): value for name, labels, value in self.samples()}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples ``name`` that carry at least ``labels``; 0 when there is none."""
        return total(self.samples(), name, labels)

    def wait_until_stored(self) -> None:
        """What passed is in files: no fill runs, and nothing is being committed."""
        processes.wait_until(lambda: self.metric("fastcache_fills_active") == 0, 60, "all is stored")

    def samples(self) -> Iterator[Sample]:
        """What all processes tell. One that takes long is left out of the gauges, which then tell too little: they are
        asked for again."""
        told: list[str] = []

        def all_told() -> bool:
            asked = time.monotonic()
            with urllib.request.urlopen(f"{self.admin}/metrics", timeout=20) as response:
                told[:] = [response.read().decode()]
            return time.monotonic() - asked < LEFT_OUT_AFTER

        processes.wait_until(all_told, TOLD_WITHIN, "every process tells its gauges")
        for family in text_string_to_metric_families(told[0]):
            for sample in family.samples:
                yield sample.name, dict(sample.labels), sample.value

    def signal(self, number: int) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL for the supervisor and everything it started: a crash of all of them at once."""
        processes.kill_group(self.process)

    def stop(self, within: float = 30.0) -> None:
        """SIGTERM, then assert: exit code 0, no process left behind, no traceback and no handle left in the log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessError(f"fastcache was still there {within:g} s after SIGTERM\n{self.logs()}") from None
        orphans = processes.group_members(self.process)
        self.kill()
        assert code == 0, f"fastcache exited with {code}\n{self.logs()}"
        assert not orphans, f"processes {orphans} outlived fastcache's supervisor\n{self.logs()}"
        told = self.stderr.read_text(errors="replace")
        assert "Traceback (most recent call last)" not in told, self.logs()
        assert "still held at the end" not in told, self.logs()


def total(samples: Iterable[Sample], name: str, labels: Mapping[str, str]) -> float:
    """The sum of those ``samples`` called ``name`` that carry at least ``labels``."""
    return sum(value for sample, has, value in samples if sample == name and labels.items() <= has.items())


class SharedProxies:
    """One proxy for each endpoint and set of flags, for tests that have buckets of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[tuple[str, ...], FastcacheProcess] = {}

    def get(self, endpoint: str, *flags: str, environment: Mapping[str, str] | None = None) -> FastcacheProcess:
        """The proxy with these flags and variables, started when it is first asked for."""
        which = (endpoint, *flags, *(f"{name}={value}" for name, value in sorted((environment or {}).items())))
        if which not in self._running:
            place = self._directory / str(len(self._running))
            self._running[which] = FastcacheProcess(
                endpoint, place / "cache", place / "log", arguments=flags, environment=environment
            )
        return self._running[which]

    def stop(self) -> None:
        try:
            for proxy in self._running.values():
                proxy.stop()
        finally:
            for proxy in self._running.values():
                proxy.kill()


def _rendered(name: str, labels: Mapping[str, str]) -> str:
    if not labels:
        return name
    return name + "{" + ",".join(f'{key}="{labels[key]}"' for key in sorted(labels)) + "}"
