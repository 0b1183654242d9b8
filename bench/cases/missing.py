"""Misses: what is read for the first time, from an origin with and without TLS."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cases.setup import NONE, Setup
from bench.contests import Contender, Contest, Pieces
from bench.load import verify
from bench.nginx import slice_cache
from bench.objects import KIB, MIB, Piece, asked, create, whole_objects
from bench.servers import fastcache, origin
from fastcache.origin.control import OriginControl

_SLICED = "nginx, proxy_cache with slices of 1 MiB"


def misses(setup: Setup) -> Iterator[Contest]:
    """Cold, with the cache off, without fastcache, and in a cache of nginx's."""
    yield from _plain(setup)
    yield from _tls(setup)


def _plain(setup: Setup) -> Iterator[Contest]:
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
            if setup.nginx is not None:
                where = setup.directory / f"nginx-{name}"
                sliced = stack.enter_context(slice_cache(setup.server_core, setup.nginx, behind.address, where))
                contenders.append(Contender(_SLICED, sliced, fresh))
            yield _contest(name, what, contenders, fresh, connections)


def _tls(setup: Setup) -> Iterator[Contest]:
    """The same for an origin behind TLS, which nobody verifies here: what verifying costs, it costs once."""
    name, what = "miss-64MiB-tls", "64 MiB objects, each read for the first time from an origin behind TLS"
    if not setup.wants(name) or shutil.which("openssl") is None:
        return
    with contextlib.ExitStack() as stack:
        certificate, key = make_certificate(setup.directory)
        flags = ("--tls-certificate", str(certificate), "--tls-key", str(key))
        behind, control = stack.enter_context(origin(setup.load_core, *flags, auth=False))
        fresh = fresh_objects(name, 1 if setup.quick else 4, 64 * MIB, (control,))
        trusting = (*NONE, "--ca-file", str(certificate))
        where = setup.directory / "cold-tls"
        cold = stack.enter_context(fastcache(setup.server_core, behind, where, *trusting, scheme="https"))
        contenders = [Contender("fastcache, cold miss", cold, fresh, "MISS")]
        if setup.nginx is not None:
            where = setup.directory / "nginx-tls"
            sliced = slice_cache(setup.server_core, setup.nginx, behind.address, where, scheme="https")
            contenders.append(Contender(_SLICED, stack.enter_context(sliced), fresh))
        yield _contest(name, what, contenders, fresh, 4)


def _contest(name: str, what: str, contenders: list[Contender], fresh: Pieces, connections: int) -> Contest:
    for contender in contenders:
        address = contender.server.address
        verify(address, asked(address, fresh(-1)[:1]), contender.result)
    return Contest(name, what, contenders, connections, None)


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that stands for its own authority, and its key."""
    certificate, key = directory / "origin.pem", directory / "origin.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=origin", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def fresh_objects(name: str, count: int, size: int, controls: Sequence[OriginControl]) -> Pieces:
    """Objects of their own for every turn; the contenders of a turn read the same ones."""

    def make(number: int) -> Sequence[Piece]:
        pieces = whole_objects(f"{name}-{number}", count, size)
        create(controls, pieces)
        return pieces

    return make
