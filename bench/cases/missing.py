"""Misses: what is read for the first time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from bench.cases.setup import NONE, Setup
from bench.contests import Contender, Contest, Pieces
from bench.load import verify
from bench.objects import KIB, MIB, Piece, asked, create, whole_objects
from bench.servers import fastcache, origin
from fastcache.origin.control import OriginControl


def misses(setup: Setup) -> Iterator[Contest]:
    """Cold, with the cache off, and without fastcache."""
    wanted = [
        ("miss-64MiB", "64 MiB objects, each read for the first time", 1 if setup.quick else 4, 64 * MIB, 4),
        ("miss-4KiB", "4 KiB objects, each read for the first time", setup.small_misses, 4 * KIB, setup.connections),
    ]
    wanted = [miss for miss in wanted if setup.wants(miss[0])]
    if not wanted:
        return
    with contextlib.ExitStack() as stack:
        direct, direct_control = stack.enter_context(origin(setup.server_core, auth=False))
        behind, behind_control = stack.enter_context(origin(setup.load_core, auth=False))
        cold = stack.enter_context(fastcache(setup.server_core, behind, setup.directory / "cold", *NONE))
        off = stack.enter_context(fastcache(setup.server_core, behind, setup.directory / "off", "--cache", "off"))
        for name, what, count, size, connections in wanted:
            fresh = fresh_objects(name, count, size, (direct_control, behind_control))
            contenders = [
                Contender("fastcache, cold miss", cold, fresh, "MISS"),
                Contender("fastcache, cache off", off, fresh, "PASS"),
                Contender("origin, directly", direct, fresh),
            ]
            for contender in contenders:
                address = contender.server.address
                verify(address, asked(address, fresh(-1)[:1]), contender.result)
            yield Contest(name, what, contenders, connections, None)


def fresh_objects(name: str, count: int, size: int, controls: Sequence[OriginControl]) -> Pieces:
    """Objects of their own for every turn; the contenders of a turn read the same ones."""

    def make(number: int) -> Sequence[Piece]:
        pieces = whole_objects(f"{name}-{number}", count, size)
        create(controls, pieces)
        return pieces

    return make
