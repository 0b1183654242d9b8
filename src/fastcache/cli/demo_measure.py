"""What a read of the demo cost: time, what the origin sent for it, and how the proxy answered."""

from __future__ import annotations

import http.client
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from fastcache.cli.demo_processes import DemoError
from fastcache.errors import FastcacheError
from fastcache.origin.control import OriginControl

Outcome = TypeVar("Outcome")

SETTLE_TIMEOUT = 20.0
"""Seconds that the proxy may take to finish storing what was read."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One read. ``results`` counts the answers to GET requests by the value of their ``X-Cache`` header."""

    seconds: float
    received: int
    """Body bytes the proxy sent to the client."""
    origin_bytes: int
    """Object bytes the origin sent to the proxy."""
    origin_requests: int
    results: Counter[str]

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.seconds + other.seconds,
            self.received + other.received,
            self.origin_bytes + other.origin_bytes,
            self.origin_requests + other.origin_requests,
            self.results + other.results,
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    sent: int
    results: Counter[str]
    busy: float
    """Transfers that are not stored yet."""
    origin_bytes: int
    origin_requests: int


class Meter:
    """Reads the counters of the origin and of the proxy around a read."""

    def __init__(self, control: OriginControl, admin_url: str) -> None:
        self._control = control
        self._admin = urlsplit(admin_url)

    def measure(self, run: Callable[[], Outcome]) -> tuple[Cost, Outcome]:
        """What ``run`` costs and returns; waits, outside the measured time, for the counters to stand still.

        Raises DemoError.
        """
        before = self._settled()
        began = time.perf_counter()
        outcome = run()
        seconds = time.perf_counter() - began
        after = self._settled()
        cost = Cost(
            seconds,
            after.sent - before.sent,
            after.origin_bytes - before.origin_bytes,
            after.origin_requests - before.origin_requests,
            after.results - before.results,
        )
        return cost, outcome

    def _settled(self) -> _Reading:
        deadline = time.monotonic() + SETTLE_TIMEOUT
        last = self._read()
        while time.monotonic() < deadline:
            time.sleep(0.02)
            reading = self._read()
            if reading == last and not reading.busy:
                return reading
            last = reading
        raise DemoError(f"the proxy was still storing what was read {SETTLE_TIMEOUT:g} s after the read")

    def _read(self) -> _Reading:
        try:
            stats = self._control.stats(last=0)
            text = self._metrics()
        except (OSError, http.client.HTTPException, FastcacheError) as error:
            raise DemoError(f"the counters could not be read: {error}") from error
        sent, busy, results = 0.0, 0.0, Counter[str]()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                match sample.name:
                    case "fastcache_sent_bytes_total":
                        sent += sample.value
                    case "fastcache_fills_active":
                        busy += sample.value
                    case "fastcache_requests_total" if sample.labels["method"] == "GET":
                        results[sample.labels["result"]] += int(sample.value)
        origin_bytes = sum(int(item["bytes"]) for item in stats["body_by_object"])
        return _Reading(int(sent), results, busy, origin_bytes, int(stats["requests"]))

    def _metrics(self) -> str:
        connection = http.client.HTTPConnection(self._admin.hostname or "", self._admin.port, timeout=10)
        try:
            connection.request("GET", "/metrics")
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise DemoError(f"/metrics answered {response.status}")
        return body.decode("utf-8")
