"""What one kind of request costs another in the same worker: each figure relative to that kind alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.cases.missing import fresh_objects
from bench.cases.setup import ASK, NONE, Setup, always, cached_server, warm
from bench.contests import Beside, Contender, Contest, Pieces
from bench.load import verify
from bench.objects import KIB, MIB, Piece, asked, objects_of, request, whole_objects
from bench.servers import Server
from bench.slow_clients import slow_clients
from fastcache.origin.control import OriginControl

_ENGINE_CONNECTIONS = 8
_BUSY_CONNECTIONS = 64
_FRESH = 400
"""Misses of a run."""
_COLD_OBJECTS = 8
_SLOW_CLIENTS = 300
_SMALL_FILES = MIB
"""Cache files below this stay in memory when the others are dropped."""


@dataclass(frozen=True, slots=True)
class _Group:
    """One fastcache, warm with small objects, and the pieces of its requests."""

    setup: Setup
    cache: Server
    control: OriginControl
    directory: Path
    hot: Sequence[Piece]
    asking: Sequence[Piece]


def beside(setup: Setup) -> Iterator[Contest]:
    """All pairs that have a target."""
    makers = {
        "beside-cold": _hits_beside_a_cold_stream,
        "beside-engine": _hits_beside_the_engine,
        "revalidations-beside-hits": _revalidations_beside_hits,
        "misses-beside-hits": _misses_beside_hits,
        "beside-slow-clients": _hits_beside_slow_clients,
    }
    wanted = [name for name in makers if setup.wants(name)]
    if not wanted:
        return
    hot = objects_of(4 * KIB)
    asking = [replace(piece, more=ASK) for piece in hot]
    with contextlib.ExitStack() as stack:
        cache, control = cached_server(setup, stack, "beside", *NONE)
        warm(cache, control, hot)
        verify(cache.address, asked(cache.address, hot), "HIT")
        verify(cache.address, asked(cache.address, asking), "REVALIDATED")
        group = _Group(setup, cache, control, setup.directory / "beside", hot, asking)
        for name in wanted:
            yield makers[name](name, group)


def _pair(
    group: _Group, of: str, pieces: Pieces, alone: Pieces, result: str, other: str, at: Beside
) -> list[Contender]:
    return [
        Contender(f"{of}, beside {other}", group.cache, pieces, result, at),
        Contender(f"{of}, alone", group.cache, alone, result),
    ]


def _hits_beside_a_cold_stream(name: str, group: _Group) -> Contest:
    setup = group.setup
    objects = whole_objects("cold", 2 if setup.quick else _COLD_OBJECTS, 64 * MIB)
    warm(group.cache, group.control, objects)

    def dropped(_: int) -> Sequence[Piece]:
        _drop_pages(group.directory)
        return objects

    stream = Beside(dropped, 1, "HIT", once=True)
    hits = always(group.hot)
    contenders = _pair(
        group, "hits", hits, hits, "HIT", "one connection that reads 64 MiB objects from the disk", stream
    )
    what = "4 KiB hits, and cached objects that are not in memory"
    return Contest(name, what, contenders, setup.connections, setup.seconds, setup.spinning)


def _drop_pages(directory: Path) -> None:
    """Let the kernel forget the pages of the large files, so that reading them is reading the disk."""
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size >= _SMALL_FILES:
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)  # a page that is not written yet is not dropped
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def _hits_beside_the_engine(name: str, group: _Group) -> Contest:
    busy = Beside(always(group.asking), _BUSY_CONNECTIONS, "REVALIDATED")
    hits = always(group.hot)
    other = f"{_BUSY_CONNECTIONS} connections of revalidations"
    contenders = _pair(group, "hits", hits, hits, "HIT", other, busy)
    return Contest(name, "4 KiB hits, and requests in the engine", contenders, 4, group.setup.seconds)


def _revalidations_beside_hits(name: str, group: _Group) -> Contest:
    asking = always(group.asking)
    other = f"{group.setup.connections} connections of hits"
    saturating = Beside(always(group.hot), group.setup.connections, "HIT")
    contenders = _pair(group, "revalidations", asking, asking, "REVALIDATED", other, saturating)
    return Contest(name, "4 KiB revalidated, and hits", contenders, _ENGINE_CONNECTIONS, group.setup.seconds)


def _misses_beside_hits(name: str, group: _Group) -> Contest:
    count = min(_FRESH, group.setup.small_misses)
    together, alone = (
        fresh_objects(f"{name}-{kind}", count, 4 * KIB, [group.control]) for kind in ("together", "alone")
    )
    other = f"{group.setup.connections} connections of hits"
    saturating = Beside(always(group.hot), group.setup.connections, "HIT")
    contenders = _pair(group, "misses", together, alone, "MISS", other, saturating)
    what = "first bytes of 4 KiB misses, and hits"
    return Contest(name, what, contenders, _ENGINE_CONNECTIONS, None, first_bytes=True)


def _hits_beside_slow_clients(name: str, group: _Group) -> Contest:
    setup, address = group.setup, group.cache.address
    (large,) = objects = whole_objects("slowly", 1, 64 * MIB)
    warm(group.cache, group.control, objects)
    verify(address, asked(address, objects), "HIT")  # and leased by it: the hit branch has the slow ones
    slow = partial(slow_clients, address, request(address, large), _SLOW_CLIENTS)
    hits = always(group.hot)
    contenders = [
        Contender(f"hits, beside {_SLOW_CLIENTS} slow clients", group.cache, hits, "HIT", company=slow),
        Contender("hits, alone", group.cache, hits, "HIT"),
    ]
    return Contest(name, "4 KiB hits, and clients that drip", contenders, setup.connections, setup.seconds)
