"""Hits that the origin is asked about each time (``authorization: revalidate``)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.cases.setup import Setup, always, cached_server, label, told, warm
from bench.contests import Contender, Contest
from bench.load import read_once, verify
from bench.nginx import STATIC, static_files
from bench.objects import KIB, MIB, Piece, asked, create, objects_of, write_files
from bench.servers import Server, fastcache, origin

_SIZES = (4 * KIB, MIB)
_FAST = "revalidate-4KiB-fast"
_ENGINE = ("--hit-branch", "off")
"""Every request is the engine's: what it costs without compiled code."""


def revalidated(setup: Setup) -> Iterator[Contest]:
    """With and without the hit branch, against our own origin read directly; signatures are checked there."""
    wanted = [size for size in _SIZES if setup.wants(f"revalidate-{label(size)}")]
    if wanted:
        yield from _verifying(setup, wanted)
    if setup.nginx is not None and setup.wants(_FAST):
        yield from _fast(setup, setup.nginx)


def _verifying(setup: Setup, wanted: list[int]) -> Iterator[Contest]:
    with contextlib.ExitStack() as stack:
        direct, direct_control = stack.enter_context(origin(setup.server_core, auth=True))
        cache, control = cached_server(setup, stack, "revalidated", auth=True)
        engine, engine_control = cached_server(setup, stack, "revalidated-engine", *_ENGINE, auth=True)
        for size in wanted:
            pieces = objects_of(size)
            create([direct_control], pieces)
            for server, behind in ((cache, control), (engine, engine_control)):
                warm(server, behind, pieces)
                verify(server.address, asked(server.address, pieces), "REVALIDATED")
            verify(direct.address, asked(direct.address, pieces))
            contenders = [*_ours(cache, engine, pieces), Contender("origin, directly", direct, always(pieces))]
            name = f"revalidate-{label(size)}"
            yield Contest(
                name, f"{told(size)} objects, signatures checked", contenders, setup.connections, setup.seconds
            )


def _fast(setup: Setup, program: str) -> Iterator[Contest]:
    """nginx with files stands for an origin that is never the limit."""
    pieces = objects_of(4 * KIB)
    files = setup.directory / "origin-files"
    write_files(files, pieces)
    with contextlib.ExitStack() as stack:
        sites = static_files(setup.load_core, program, files, setup.directory / "nginx-origin")
        behind = stack.enter_context(sites)[next(iter(STATIC))]
        cache, engine = (
            stack.enter_context(fastcache(setup.server_core, behind, setup.directory / name, *flags))
            for name, flags in (("fast", ()), ("fast-engine", _ENGINE))
        )
        for server in (cache, engine):
            read_once(server.address, asked(server.address, pieces))
            server.settle()
            verify(server.address, asked(server.address, pieces), "REVALIDATED")
        what = "4 KiB objects, nginx as the origin, no signatures checked"
        yield Contest(_FAST, what, _ours(cache, engine, pieces), setup.connections, setup.seconds)


def _ours(cache: Server, engine: Server, pieces: list[Piece]) -> list[Contender]:
    return [
        Contender("fastcache, hit (revalidate)", cache, always(pieces), "REVALIDATED"),
        Contender("fastcache, engine alone", engine, always(pieces), "REVALIDATED"),
    ]
