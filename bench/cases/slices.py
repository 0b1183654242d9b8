"""Ranges that are put together from several extents, against nginx's files and its cache of slices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from bench.cases.setup import NONE, Setup, always, warm
from bench.contests import Contender, Contest, best_of
from bench.load import LoadError, read_once, verify
from bench.nginx import slice_cache, static_files
from bench.objects import MIB, asked, ranges, write_files
from bench.servers import fastcache, origin

_KEY = "ranges-8MiB.bin"
_EXTENT = 2 * MIB
_RANGE = 8 * MIB
_COUNT = 8


def assembled(setup: Setup) -> Iterator[Contest]:
    """8 MiB ranges of an object of 64 MiB that was read, and so stored, in ranges of 2 MiB: four extents each."""
    if not setup.wants("range-8MiB"):
        return
    pieces = ranges(_KEY, _COUNT, _RANGE)
    with contextlib.ExitStack() as stack:
        behind, control = stack.enter_context(origin(setup.load_core, auth=False))
        directory = setup.directory / "assembled"
        cache = stack.enter_context(fastcache(setup.server_core, behind, directory, *NONE))
        parts = ranges(_KEY, _COUNT * _RANGE // _EXTENT, _EXTENT)
        warm(cache, control, parts)
        stored = len(list(directory.rglob("*.ext")))
        if stored < len(parts):
            raise LoadError(f"{len(parts)} ranges made {stored} extents")
        verify(cache.address, asked(cache.address, pieces), "HIT")
        contest = Contest("range-8MiB", "8 MiB ranges of a 64 MiB object, four extents each", [], 8, setup.seconds)
        contest = replace(contest, spinning=setup.spinning)
        contenders = [Contender("fastcache, hit (none)", cache, always(pieces), "HIT")]
        if setup.nginx is not None:
            files = setup.directory / "ranges"
            write_files(files, pieces)
            static = stack.enter_context(
                static_files(setup.server_core, setup.nginx, files, setup.directory / "nginx-ranges")
            )
            found = [Contender(f"nginx, files ({name})", server, always(pieces)) for name, server in static.items()]
            contenders.append(best_of(replace(contest, contenders=found), setup.probe))
            sliced = stack.enter_context(
                slice_cache(setup.server_core, setup.nginx, behind.address, setup.directory / "nginx-slices")
            )
            read_once(sliced.address, asked(sliced.address, pieces))
            contenders.append(Contender("nginx, proxy_cache with slices of 1 MiB", sliced, always(pieces)))
        for other in contenders[1:]:
            verify(other.server.address, asked(other.server.address, pieces))
        yield replace(contest, contenders=contenders)
