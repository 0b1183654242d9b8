"""Hits that the origin is asked about each time (``authorization: revalidate``)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.cases.setup import Setup, always, cached_server, label, told, warm
from bench.contests import Contender, Contest
from bench.load import verify
from bench.objects import KIB, MIB, asked, create, objects_of
from bench.servers import origin

_SIZES = (4 * KIB, MIB)


def revalidated(setup: Setup) -> Iterator[Contest]:
    """Against our own origin read directly; signatures are checked there."""
    wanted = [size for size in _SIZES if setup.wants(f"revalidate-{label(size)}")]
    if not wanted:
        return
    with contextlib.ExitStack() as stack:
        direct, direct_control = stack.enter_context(origin(setup.server_core, auth=True))
        cache, control = cached_server(setup, stack, "revalidated", auth=True)
        for size in wanted:
            pieces = objects_of(size)
            create([direct_control], pieces)
            warm(cache, control, pieces)
            verify(cache.address, asked(cache.address, pieces), "REVALIDATED")
            verify(direct.address, asked(direct.address, pieces))
            contenders = [
                Contender("fastcache, hit (revalidate)", cache, always(pieces), "REVALIDATED"),
                Contender("origin, directly", direct, always(pieces)),
            ]
            name = f"revalidate-{label(size)}"
            yield Contest(
                name, f"{told(size)} objects, signatures checked", contenders, setup.connections, setup.seconds
            )
