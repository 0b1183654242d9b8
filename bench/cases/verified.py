"""Hits whose signatures are checked here (``authorization: verify``), against those of everybody and against nginx."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from bench.cases.hits import compared_with
from bench.cases.setup import NONE, Setup, always, cached_server, label, told, verifying, warm
from bench.contests import Contender, Contest, best_of
from bench.load import verify
from bench.objects import KIB, MIB, asked, objects_of

_SIZES = (4 * KIB, 64 * KIB, MIB)


def verified(setup: Setup) -> Iterator[Contest]:
    """The same requests, signed as boto3 signs them, for all: nobody else looks at the signatures."""
    wanted = [size for size in _SIZES if setup.wants(f"verified-{label(size)}")]
    if not wanted:
        return
    with contextlib.ExitStack() as stack:
        checking, control = cached_server(setup, stack, "verified", *verifying(setup.directory))
        trusting, other_control = cached_server(setup, stack, "trusting", *NONE)
        others = compared_with(setup, stack, "verified", [piece for size in wanted for piece in objects_of(size)])
        for size in wanted:
            pieces = objects_of(size)
            warm(checking, control, pieces)
            warm(trusting, other_control, pieces)
            for server in (checking, trusting):
                verify(server.address, asked(server.address, pieces), "HIT")  # and leased by it
            contest = Contest(
                f"verified-{label(size)}",
                f"{told(size)} objects, signatures checked here",
                [Contender(name, server, always(pieces)) for name, server in others.items()],
                setup.connections,
                setup.seconds,
                setup.spinning,
            )
            best = best_of(contest, setup.probe)
            ours = Contender("fastcache, hit (verify)", checking, always(pieces), "HIT")
            everybodys = Contender("fastcache, hit (none)", trusting, always(pieces), "HIT")
            yield replace(contest, contenders=[ours, everybodys, best])
