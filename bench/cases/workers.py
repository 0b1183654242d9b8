"""What a hit costs when there are several workers. They share a core here: the CPU of a request must be the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.cases.setup import NONE, Setup, always, cached_server, warm
from bench.contests import Contender, Contest
from bench.load import LoadError, Reading, crowds, run, verify
from bench.objects import KIB, asked, objects_of
from bench.servers import Server

_COUNTS = (1, 2, 4)
_ROUNDS = 20
_PASSES = 10
"""Passes of so many rounds, until one finds every object proven in every worker."""


def several_workers(setup: Setup) -> Iterator[Contest]:
    """One worker against two and four, hits of 4 KiB over connections that are spread over them."""
    if not setup.wants("workers"):
        return
    pieces = objects_of(4 * KIB)
    with contextlib.ExitStack() as stack:
        contenders = []
        for count in _COUNTS:
            cache, control = cached_server(setup, stack, f"workers-{count}", *NONE, "--workers", str(count))
            warm(cache, control, pieces)
            _warm_each_worker(cache, setup.connections)
            verify(cache.address, asked(cache.address, pieces), "HIT")
            contenders.append(Contender(f"{count} workers", cache, always(pieces), "HIT"))
        yield Contest(
            "workers", "4 KiB objects, on one core", contenders, setup.connections, setup.seconds, setup.spinning
        )


def _warm_each_worker(cache: Server, connections: int) -> None:
    """Each has to have asked the origin about each object once. Which worker is asked for which is left to chance."""
    requests = asked(cache.address, objects_of(4 * KIB)) * _ROUNDS
    with crowds(cache.address, [connections]) as load:
        for _ in range(_PASSES - 1):
            with contextlib.suppress(LoadError):
                run(load, [Reading(requests, once=True, result="HIT")], None)
                return
        run(load, [Reading(requests, once=True, result="HIT")], None)
