"""What is compared with what, measured in turns, and the ratios of neighbours.

Other work on the machine and its clock change in minutes what a single run shows. So contenders take turns (A B A B), a
ratio is always taken between runs that follow each other, and what is told is the median of the ratios with the least
and the greatest.
"""

from __future__ import annotations

import contextlib
import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.load import Load, Sample
from bench.objects import Piece, request
from bench.servers import Server


@dataclass(frozen=True, slots=True)
class Contender:
    """A server, and the pieces that run ``number`` reads from it; called before the run, so it may make them."""

    name: str
    server: Server
    pieces: Callable[[int], Sequence[Piece]]


@dataclass(frozen=True, slots=True)
class Contest:
    """The first contender is compared with each of the others.

    ``seconds`` bounds a run, whose pieces are then read over and over; None: a run reads each piece once.
    """

    name: str
    what: str
    contenders: Sequence[Contender]
    connections: int
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """One contender's turn. ``cpu`` is CPU seconds of the server, with what it did behind its answers."""

    sample: Sample
    cpu: float

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
        """How much of its core the client used; near 1 it was the limit, and only the server's CPU compares."""
        return self.sample.load_cpu / self.sample.seconds


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
        """The first contender's value divided by that of ``name`` in the same turn; None when a run used no tick of
        CPU, so that there is nothing to divide by."""
        first = self.runs[self.contest.contenders[0].name]
        pairs = [(of(ours), of(theirs)) for ours, theirs in zip(first, self.runs[name], strict=True)]
        if any(theirs <= 0 for _, theirs in pairs):
            return None
        return Spread.of([ours / theirs for ours, theirs in pairs])


def hold(contest: Contest, pairs: int) -> Outcome:
    """Measure ``pairs`` turns after one that is not counted. Raises LoadError or ServerError."""
    outcome = Outcome(contest, {contender.name: [] for contender in contest.contenders})
    with contextlib.ExitStack() as stack:
        loads = [
            stack.enter_context(Load(contender.server.address, contest.connections)) for contender in contest.contenders
        ]
        for number in range(pairs + 1):
            for contender, load in zip(contest.contenders, loads, strict=True):
                run = _turn(contest, contender, load, number)
                if number:
                    outcome.runs[contender.name].append(run)
    return outcome


def _turn(contest: Contest, contender: Contender, load: Load, number: int) -> Run:
    server = contender.server
    asked = [request(server.address, piece) for piece in contender.pieces(number)]
    before = server.settle()
    sample = load.run(asked) if contest.seconds is None else load.run(itertools.cycle(asked), contest.seconds)
    return Run(sample, server.settle() - before)
