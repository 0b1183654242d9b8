"""What is compared with what, measured in turns, and the ratios of neighbours.

Other work on the machine and its clock change in minutes what a single run shows. So contenders take turns (A B A B), a
ratio is always taken between runs that follow each other, and what is told is the median of the ratios with the least
and the greatest.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from bench.load import Load, Reading, Sample, crowds, run
from bench.objects import Asked, Piece, asked
from bench.servers import Server
from fastcache._core.latency import Latencies

Pieces = Callable[[int], Sequence[Piece]]
"""What run ``number`` reads; called before the run, so it may make them."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What other connections read from the same server meanwhile. ``once``: the run ends when all is read."""

    pieces: Pieces
    connections: int
    result: str | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Contender:
    """A server and what is read from it. ``result`` is what its X-Cache must say, in every answer.

    ``company`` are clients of another kind than the generator's, who are there during its turns and only then.
    """

    name: str
    server: Server
    pieces: Pieces
    result: str | None = None
    beside: Beside | None = None
    company: Callable[[], AbstractContextManager[None]] | None = None

    @property
    def alone(self) -> bool:
        """Whether the server has nothing else to do, so that its CPU is that of what is read here."""
        return self.beside is None and self.company is None


@dataclass(frozen=True, slots=True)
class Contest:
    """The first contender is compared with each of the others.

    ``seconds`` bounds a run, whose pieces are then read over and over; None: a run reads each piece once. Latencies are
    of whole answers, or of their ``first_bytes``. ``spinning``: the client never sleeps, see ``_core.load``; only where
    nothing else needs its core.
    """

    name: str
    what: str
    contenders: Sequence[Contender]
    connections: int
    seconds: float | None
    spinning: bool = False
    first_bytes: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One contender's turn. ``cpu`` is CPU seconds of the server, with what it did behind its answers."""

    sample: Sample
    cpu: float
    first_bytes: bool = False

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.sample.requests / self.sample.seconds

    @property
    def bytes_per_second(self) -> float:
        return self.sample.body_bytes / self.sample.seconds

    @property
    def cpu_per_request(self) -> float:
        """CPU seconds of the server."""
        return self.cpu / self.sample.requests

    @property
    def cpu_per_gb(self) -> float:
        """CPU seconds of the server for 10⁹ body bytes."""
        return self.cpu / (self.sample.body_bytes / 1e9)

    @property
    def server_share(self) -> float:
        """How much of its core the server used."""
        return self.cpu / self.sample.seconds

    @property
    def load_share(self) -> float:
        """How much of its time the client was busy; near 1 it was the limit, and only the server's CPU compares."""
        return self.sample.busy

    @property
    def p50(self) -> float:
        """Seconds."""
        return _quantile(self._latencies, 0.5)

    @property
    def p99(self) -> float:
        """Seconds."""
        return _quantile(self._latencies, 0.99)

    @property
    def _latencies(self) -> Latencies:
        return self.sample.first_bytes if self.first_bytes else self.sample.latencies


def _quantile(latencies: Latencies, q: float) -> float:
    value = latencies.quantile(q)
    assert value is not None, "a run without an answer raises"
    return value


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


@dataclass(slots=True)
class Outcome:
    """All runs of a contest, by contender and in the order of the turns."""

    contest: Contest
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def median(self, name: str, of: Callable[[Run], float]) -> float:
        """The median over the runs of ``name``."""
        return statistics.median(of(run) for run in self.runs[name])

    def ratio(self, name: str, of: Callable[[Run], float]) -> Spread | None:
        """The first contender's value divided by that of ``name`` in the same turn; None when a run used no CPU that
        the kernel saw, so that there is nothing to divide by."""
        first = self.runs[self.contest.contenders[0].name]
        pairs = [(of(ours), of(theirs)) for ours, theirs in zip(first, self.runs[name], strict=True)]
        if any(theirs <= 0 for _, theirs in pairs):
            return None
        return Spread.of([ours / theirs for ours, theirs in pairs])


def hold(contest: Contest, pairs: int) -> Outcome:
    """Measure ``pairs`` turns after one that is not counted. Raises LoadError or ServerError."""
    outcome = Outcome(contest, {contender.name: [] for contender in contest.contenders})
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(_load(contest, contender)) for contender in contest.contenders]
        for number in range(pairs + 1):
            for contender, load in zip(contest.contenders, loads, strict=True):
                measured = turn(contest, contender, load, number)
                if number:
                    outcome.runs[contender.name].append(measured)
    return outcome


def _load(contest: Contest, contender: Contender) -> AbstractContextManager[Load]:
    beside = [contender.beside.connections] if contender.beside else []
    return crowds(contender.server.address, [contest.connections, *beside])


def turn(contest: Contest, contender: Contender, load: Load, number: int) -> Run:
    """One run of one contender."""
    server = contender.server

    def of(pieces: Pieces) -> list[Asked]:
        return asked(server.address, pieces(number))

    readings = [Reading(of(contender.pieces), once=contest.seconds is None, result=contender.result)]
    beside = contender.beside
    if beside is not None:
        readings.append(Reading(of(beside.pieces), once=beside.once, result=beside.result))
    server.settle()
    with contextlib.nullcontext() if contender.company is None else contender.company():
        before = server.cpu()
        sample = run(load, readings, contest.seconds, spinning=contest.spinning)
    return Run(sample, server.settle() - before, contest.first_bytes)


def best_of(contest: Contest, seconds: float) -> Contender:
    """The contender that needs the least CPU for a request, found by one short run of each."""
    if len(contest.contenders) == 1:
        return contest.contenders[0]
    brief = replace(contest, seconds=seconds)
    needed = {}
    for contender in contest.contenders:
        with _load(brief, contender) as load:
            needed[contender.name] = turn(brief, contender, load, 0).cpu_per_request
    return min(contest.contenders, key=lambda contender: needed[contender.name])
