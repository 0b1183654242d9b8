"""Hits without a question to the origin, against files of nginx: whole objects, ranges, few and many connections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bench.cases.setup import NONE, Setup, always, cached_server, label, told, warm
from bench.contests import Contender, Contest, best_of
from bench.load import verify
from bench.nginx import static_files
from bench.objects import KIB, MIB, Piece, asked, create, objects_of, ranges, wholes, write_files
from bench.servers import Server, origin

_SIZES = (4 * KIB, 64 * KIB, MIB, 8 * MIB, 64 * MIB)
_FEW_CONNECTIONS = (4, 16, 64)


@dataclass(frozen=True, slots=True)
class _Hit:
    name: str
    what: str
    pieces: Sequence[Piece]
    connections: int


def hits(setup: Setup) -> Iterator[Contest]:
    """fastcache against nginx at its best setting; where there is no nginx, against our own origin read directly."""
    wanted = [hit for hit in _all(setup) if setup.wants(hit.name)]
    if not wanted:
        return
    with contextlib.ExitStack() as stack:
        cache, control = cached_server(setup, stack, "hits", *NONE)
        others = compared_with(setup, stack, "hits", [piece for hit in wanted for piece in hit.pieces])
        for hit in wanted:
            warm(cache, control, wholes(hit.pieces))
            verify(cache.address, asked(cache.address, hit.pieces), "HIT")
            contenders = [Contender(name, server, always(hit.pieces)) for name, server in others.items()]
            contest = Contest(hit.name, hit.what, contenders, hit.connections, setup.seconds, setup.spinning)
            best = best_of(contest, setup.probe)
            verify(best.server.address, asked(best.server.address, hit.pieces))
            ours = Contender("fastcache, hit (none)", cache, always(hit.pieces), "HIT")
            yield replace(contest, contenders=[ours, best])


def _all(setup: Setup) -> Iterator[_Hit]:
    for size in _SIZES:
        if not (setup.quick and size > 8 * MIB):
            what = f"{told(size)} objects"
            yield _Hit(f"hit-{label(size)}", what, objects_of(size), setup.connections)
    for connections in _FEW_CONNECTIONS:
        what = "4 KiB objects"
        yield _Hit(f"hit-4KiB-at-{connections}", what, objects_of(4 * KIB), connections)
    pieces = ranges("ranges-64KiB.bin", 1024, 64 * KIB)
    yield _Hit("range-64KiB", "64 KiB ranges of a 64 MiB object", pieces, setup.connections)


def compared_with(setup: Setup, stack: contextlib.ExitStack, name: str, pieces: Sequence[Piece]) -> dict[str, Server]:
    """What fastcache is compared with, by what it is called in the results; ``name`` is the group of cases'."""
    if setup.nginx is None:
        direct, control = stack.enter_context(origin(setup.server_core, auth=False))
        create([control], pieces)
        return {"origin, directly": direct}
    files = setup.directory / f"{name}-files"
    write_files(files, pieces)
    directory = setup.directory / f"{name}-nginx"
    servers = stack.enter_context(static_files(setup.server_core, setup.nginx, files, directory))
    return {f"nginx, files ({variant})": server for variant, server in servers.items()}
