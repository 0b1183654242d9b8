"""Where and how long, and what the groups of cases share."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.contests import Pieces
from bench.load import read_once
from bench.objects import KIB, MIB, Piece, asked, create
from bench.servers import Server, fastcache, origin
from fastcache.origin.control import OriginControl
from fastcache.origin.identity import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY

NONE = ("--authorization", "none", "--ttl", "1h")
"""Hits without a question to the origin."""
TRUSTED_KEY = f"""\
- access_key: {DEFAULT_ACCESS_KEY}
  secret_key: {DEFAULT_SECRET_KEY}
  allow: [{{actions: [read], resources: ["*"]}}]
"""
"""A keys file: that of the benchmarks' requests."""
ASK = ((b"Cache-Control", b"no-cache"),)
"""With these fields the origin is asked all the same."""


@dataclass(frozen=True, slots=True)
class Setup:
    """``nginx`` is its program or None; ``wanted`` are parts of names, empty for all. ``quick`` leaves out what is
    large. ``probe``: seconds of the short runs that find nginx's best setting."""

    directory: Path
    server_core: int
    load_core: int
    connections: int
    seconds: float
    small_misses: int
    nginx: str | None
    wanted: Sequence[str] = ()
    quick: bool = False

    @property
    def probe(self) -> float:
        return min(0.3, self.seconds)

    @property
    def spinning(self) -> bool:
        """Whether the client may keep its core busy all the time."""
        return self.server_core != self.load_core

    def wants(self, name: str) -> bool:
        """Whether the case ``name`` was asked for."""
        return not self.wanted or any(part in name for part in self.wanted)


def verifying(directory: Path) -> tuple[str, ...]:
    """Flags for hits whose signatures are checked here, by a keys file in ``directory``."""
    path = directory / "keys.yaml"
    path.touch(mode=0o600)
    path.write_text(TRUSTED_KEY)
    return ("--authorization", "verify", "--ttl", "1h", "--keys", str(path))


def told(size: int) -> str:
    """``4 KiB``, ``64 MiB``."""
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


def label(size: int) -> str:
    """The same as a part of a name."""
    return told(size).replace(" ", "")


def always(pieces: Sequence[Piece]) -> Pieces:
    """The same in every run."""
    return lambda _: pieces


def cached_server(
    setup: Setup, stack: contextlib.ExitStack, name: str, *flags: str, auth: bool = False
) -> tuple[Server, OriginControl]:
    """fastcache on the server's core, and the control of an origin of its own on the load's."""
    behind, control = stack.enter_context(origin(setup.load_core, auth=auth))
    return stack.enter_context(fastcache(setup.server_core, behind, setup.directory / name, *flags)), control


def warm(cache: Server, control: OriginControl, pieces: Sequence[Piece]) -> None:
    """Make the objects and read them, so that the cache has them."""
    create([control], pieces)
    read_once(cache.address, asked(cache.address, pieces))
    cache.settle()
