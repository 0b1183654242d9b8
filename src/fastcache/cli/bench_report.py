"""What `fastcache bench` found: as figures for programs, and as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table

from fastcache._core.latency import Latencies
from fastcache._core.load_task import Task

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_GOOD = {200, 206, 304}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. Times are seconds; ``client_busy`` is the share of the time that the client had something to do; None
    when the run was interrupted."""

    requests: int
    seconds: float
    requests_per_second: float
    body_bytes: int
    bytes_per_second: float
    latency: dict[str, float]
    first_byte: dict[str, float]
    statuses: dict[int, int]
    x_cache: dict[str, int]
    failures: dict[str, int]
    client_busy: float | None

    @property
    def good(self) -> bool:
        """Whether every answer was what was asked for."""
        return self.requests > 0 and not self.failures and set(self.statuses) <= _GOOD

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def figures(task: Task, idle: float | None) -> Figures:
    """Those of a task that had its run; ``idle`` is what the run returned, if it did."""
    seconds = task.seconds
    return Figures(
        requests=task.answers,
        seconds=seconds,
        requests_per_second=task.answers / seconds if seconds else 0.0,
        body_bytes=task.body_bytes,
        bytes_per_second=task.body_bytes / seconds if seconds else 0.0,
        latency=_quantiles(task.latencies),
        first_byte=_quantiles(task.first_bytes),
        statuses=task.statuses,
        x_cache=task.results,
        failures=task.failures,
        client_busy=max(0.0, 1.0 - idle / seconds) if seconds and idle is not None else None,
    )


def _quantiles(latencies: Latencies) -> dict[str, float]:
    if latencies.most is None:
        return {}
    found = {name: latencies.quantile(q) for name, q in _QUANTILES.items()}
    return {**{name: value for name, value in found.items() if value is not None}, "max": latencies.most}


def print_table(console: Console, found: Figures) -> None:
    """Readable on 80 columns."""
    table = Table(show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_row("requests", f"{found.requests:,} in {found.seconds:.2f} s")
    table.add_row("requests/s", f"{found.requests_per_second:,.0f}")
    table.add_row("body bytes", f"{found.body_bytes:,}")
    table.add_row("GB/s", f"{found.bytes_per_second / 1e9:.3f}")
    table.add_section()
    for name, value in found.latency.items():
        table.add_row(f"latency {name}", _time(value))
    for name in ("p50", "p99"):
        if name in found.first_byte:
            table.add_row(f"first byte {name}", _time(found.first_byte[name]))
    table.add_section()
    for status, count in found.statuses.items():
        table.add_row(f"status {status}", f"{count:,}")
    for result, count in found.x_cache.items():
        table.add_row(f"X-Cache {result}", f"{count:,}")
    for failure, count in found.failures.items():
        table.add_row(failure, f"{count:,}", style="red")
    if found.client_busy is not None:
        table.add_row("client busy", f"{found.client_busy:.0%}")
    console.print(table)


def _time(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:,.1f} µs"
    return f"{seconds * 1e3:,.2f} ms" if seconds < 1 else f"{seconds:,.2f} s"
