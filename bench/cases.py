"""The contests. Each generator starts the servers of its group, checks bytes and results once, and yields contests.

fastcache and what it is compared with run on one core, the load on another. The origin behind fastcache runs beside the
load: it stands for another machine. So where the origin has work to do (revalidation, misses), it takes time from the
client, and fastcache's rate there is a lower bound; its CPU per request is not affected.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contests import Contender, Contest
from bench.load import LoadError, fetch
from bench.objects import BUCKET, Piece, ranges, request, whole_objects, write_files
from bench.servers import Server, fastcache, nginx, origin
from fastcache.origin.control import OriginControl

KIB = 1024
MIB = 1024 * KIB

_LABELS = {4 * KIB: "4 KiB", 64 * KIB: "64 KiB", MIB: "1 MiB", 16 * MIB: "16 MiB"}
_WORKING_SET = 64 * MIB
_MOST_OBJECTS = 64


@dataclass(frozen=True, slots=True)
class Setup:
    """Where and how long. ``nginx`` is its program or None; ``wanted`` are parts of names, empty for all."""

    directory: Path
    server_core: int
    load_core: int
    connections: int
    seconds: float
    small_misses: int
    nginx: str | None
    wanted: Sequence[str] = ()

    def wants(self, name: str) -> bool:
        """Whether the contest ``name`` was asked for."""
        return not self.wanted or any(part in name for part in self.wanted)


def contests(setup: Setup) -> Iterator[Contest]:
    """All that are wanted, one after the other; the servers of one live until the next is asked for."""
    yield from _hits(setup)
    yield from _revalidated(setup)
    yield from _misses(setup)


def _always(pieces: Sequence[Piece]) -> Callable[[int], Sequence[Piece]]:
    return lambda _: pieces


def _objects_of(size: int) -> list[Piece]:
    return whole_objects(f"whole-{size}", max(1, min(_MOST_OBJECTS, _WORKING_SET // size)), size)


def _sizes(pieces: Sequence[Piece]) -> dict[str, int]:
    """Sizes of the objects the pieces are of."""
    sizes: dict[str, int] = {}
    for piece in pieces:
        sizes[piece.key] = max(piece.interval.end, sizes.get(piece.key, 0))
    return sizes


def _create(controls: Sequence[OriginControl], pieces: Sequence[Piece]) -> None:
    by_size: dict[int, list[str]] = {}
    for key, size in _sizes(pieces).items():
        by_size.setdefault(size, []).append(key)
    for control in controls:
        for size, keys in by_size.items():
            control.synthetic(BUCKET, keys, size)


def _verify(server: Server, pieces: Sequence[Piece], result: bytes | None = None) -> None:
    """Every byte is right, and fastcache says that it answered as ``result``. Raises LoadError."""
    for piece in pieces:
        head, body = fetch(server.address, request(server.address, piece))
        if body != piece.content():
            raise LoadError(f"{server.name}: wrong bytes of {piece.key} {piece.interval}")
        if result is not None and b"\r\nx-cache: " + result not in head.lower():
            raise LoadError(f"{server.name}: {piece.key} was not answered as {result.decode()}: {head!r}")


# ---- hits ----

_HITS = [(f"hit-{label.replace(' ', '')}", f"{label} objects", _objects_of(size)) for size, label in _LABELS.items()]
_HITS.append(("hit-range", "64 KiB ranges of a 16 MiB object", ranges("ranges.bin", 256, 64 * KIB)))


def _hits(setup: Setup) -> Iterator[Contest]:
    wanted = [hit for hit in _HITS if setup.wants(hit[0])]
    if not wanted:
        return
    with contextlib.ExitStack() as stack:
        direct, direct_control = stack.enter_context(origin(setup.server_core, auth=False))
        behind, behind_control = stack.enter_context(origin(setup.load_core, auth=False))
        flags = ("--authorization", "none", "--ttl", "1h")
        cache = stack.enter_context(fastcache(setup.server_core, behind, setup.directory / "hits", *flags))
        static = _nginx(setup, stack, [piece for _, _, pieces in wanted for piece in pieces])
        for name, what, pieces in wanted:
            _create((direct_control, behind_control), pieces)
            _warm(cache, pieces)
            _verify(cache, pieces, b"hit")
            others = [Contender("origin, directly", direct, _always(pieces))]
            if static is not None:
                others.append(Contender("nginx, static files", static, _always(pieces)))
            for other in others:
                _verify(other.server, pieces)
            contenders = [Contender("fastcache, hit (none)", cache, _always(pieces)), *others]
            yield Contest(name, what, contenders, setup.connections, setup.seconds)


def _warm(cache: Server, pieces: Sequence[Piece]) -> None:
    for piece in pieces:
        fetch(cache.address, request(cache.address, piece))
    cache.settle()


def _nginx(setup: Setup, stack: contextlib.ExitStack, pieces: Sequence[Piece]) -> Server | None:
    if setup.nginx is None:
        return None
    files = setup.directory / "files"
    write_files(files, _sizes(pieces))
    return stack.enter_context(nginx(setup.server_core, setup.nginx, files, setup.directory / "nginx"))


def _revalidated(setup: Setup) -> Iterator[Contest]:
    wanted = {size: label for size, label in _LABELS.items() if setup.wants(f"revalidate-{label.replace(' ', '')}")}
    if not wanted:
        return
    with contextlib.ExitStack() as stack:
        direct, direct_control = stack.enter_context(origin(setup.server_core, auth=True))
        behind, behind_control = stack.enter_context(origin(setup.load_core, auth=True))
        cache = stack.enter_context(fastcache(setup.server_core, behind, setup.directory / "revalidated"))
        for size, label in wanted.items():
            pieces = _objects_of(size)
            _create((direct_control, behind_control), pieces)
            _warm(cache, pieces)
            _verify(cache, pieces, b"revalidated")
            _verify(direct, pieces)
            contenders = [
                Contender("fastcache, hit (revalidate)", cache, _always(pieces)),
                Contender("origin, directly", direct, _always(pieces)),
            ]
            name = f"revalidate-{label.replace(' ', '')}"
            yield Contest(name, f"{label} objects, signatures checked", contenders, setup.connections, setup.seconds)


# ---- misses ----


def _misses(setup: Setup) -> Iterator[Contest]:
    wanted = [
        ("miss-64MiB", "64 MiB objects, each read for the first time", 4, 64 * MIB, 4),
        ("miss-4KiB", "4 KiB objects, each read for the first time", setup.small_misses, 4 * KIB, setup.connections),
    ]
    wanted = [miss for miss in wanted if setup.wants(miss[0])]
    if not wanted:
        return
    with contextlib.ExitStack() as stack:
        direct, direct_control = stack.enter_context(origin(setup.server_core, auth=False))
        behind, behind_control = stack.enter_context(origin(setup.load_core, auth=False))
        none = ("--authorization", "none", "--ttl", "1h")
        cold = stack.enter_context(fastcache(setup.server_core, behind, setup.directory / "cold", *none))
        off = stack.enter_context(fastcache(setup.server_core, behind, setup.directory / "off", "--cache", "off"))
        for name, what, count, size, connections in wanted:
            fresh = _fresh(name, count, size, (direct_control, behind_control))
            for server, result in ((cold, b"miss"), (off, b"pass"), (direct, None)):
                _verify(server, fresh(-1)[:1], result)
            contenders = [
                Contender("fastcache, cold miss", cold, fresh),
                Contender("fastcache, cache off", off, fresh),
                Contender("origin, directly", direct, fresh),
            ]
            yield Contest(name, what, contenders, connections, None)


def _fresh(name: str, count: int, size: int, controls: Sequence[OriginControl]) -> Callable[[int], Sequence[Piece]]:
    """Objects of their own for every turn; the contenders of a turn read the same ones."""

    def make(number: int) -> Sequence[Piece]:
        pieces = whole_objects(f"{name}-{number}", count, size)
        _create(controls, pieces)
        return pieces

    return make
