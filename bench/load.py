"""The load on one server: the compiled generator, with what a benchmark refuses to measure.

One request is under way on each connection. Bodies are discarded in the kernel: a client that copies them measures
itself from 64 KiB on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.congestion import WANTED, is_allowed
from bench.objects import Asked
from fastcache._core.latency import Latencies
from fastcache._core.load import Load
from fastcache._core.load_task import Task
from fastcache.load.connections import LoadError, opener

STALL = 20.0
"""Seconds without a byte after which a server is taken to hang."""
_ONCE = 4
"""Connections of what is not measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a run moved. ``busy`` is the share of its time that the client had something to do: near 1, it was the
    limit."""

    requests: int
    body_bytes: int
    seconds: float
    busy: float
    latencies: Latencies
    first_bytes: Latencies


@dataclass(frozen=True, slots=True)
class Reading:
    """What the connections of one crowd ask in a run. ``once``: each request once, else over and over at random.

    ``result`` is what X-Cache must say in every answer; None where it says nothing or does not matter.
    """

    asked: Sequence[Asked]
    once: bool = False
    result: str | None = None
    verified: bool = False

    def task(self) -> Task:
        return Task(
            self.asked,
            mode="verify" if self.verified else "discard",
            count=len(self.asked) if self.once else None,
            seed=None if self.once else 1,
        )


@contextlib.contextmanager
def crowds(address: tuple[str, int], connections: Sequence[int]) -> Iterator[Load]:
    """A generator with a crowd for each of ``connections``, numbered from 0."""
    load = Load()
    try:
        congestion = WANTED if is_allowed() else None
        for count in connections:
            load.add(opener(address, congestion=congestion), count)
        yield load
    finally:
        load.close()


def run(load: Load, readings: Sequence[Reading], seconds: float | None, *, spinning: bool = False) -> Sample:
    """Let each crowd do its reading; what the first one moved. Raises LoadError for any answer that is not right."""
    tasks = [reading.task() for reading in readings]
    idle = load.run(dict(enumerate(tasks)), seconds=seconds, spinning=spinning, stall=STALL)
    for task, reading in zip(tasks, readings, strict=True):
        check(task, reading.result)
    first = tasks[0]
    return Sample(
        first.answers,
        first.body_bytes,
        first.seconds,
        max(0.0, 1.0 - idle / max(task.seconds for task in tasks)),
        first.latencies,
        first.first_bytes,
    )


def check(task: Task, result: str | None) -> None:
    """Raises LoadError unless every answer was a success, complete, and of the kind the case claims."""
    if task.failures or set(task.statuses) - {200, 206}:
        raise LoadError(f"unexpected answers: {task.statuses} {task.failures} {task.wrong or ''}")
    if not task.answers:
        raise LoadError("no answer at all")
    if result is not None and task.results != {result: task.answers}:
        raise LoadError(f"{task.answers} answers should be {result}, X-Cache says {task.results}")


def verify(address: tuple[str, int], asked: Sequence[Asked], result: str | None = None) -> None:
    """Ask for each once and compare every byte. Raises LoadError."""
    with crowds(address, [_ONCE]) as load:
        run(load, [Reading(asked, once=True, result=result, verified=True)], None)


def read_once(address: tuple[str, int], asked: Sequence[Asked]) -> None:
    """Ask for each once, whatever the cache says about it."""
    with crowds(address, [_ONCE]) as load:
        run(load, [Reading(asked, once=True)], None)
