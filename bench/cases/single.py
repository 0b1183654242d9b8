"""What has a target of its own and nothing to be compared with."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from bench.cases.setup import NONE, Setup, cached_server, warm
from bench.findings import Finding
from bench.load import Reading, crowds, run, verify
from bench.objects import KIB, Piece, asked, objects_of, request, whole_objects
from bench.servers import Server
from fastcache.load.connections import fetch

_IDLE = 10_000
_SPARE_DESCRIPTORS = 100
_MULTIPLES = (1, 2, 3, 4, 8)
_FEW_MULTIPLES = (1, 3)
_AROUND = (-1, 0, 1)
_HEADERS = 52
"""Bytes of an IPv4 and a TCP header with timestamps."""


def segment_sizes(setup: Setup) -> Iterator[Finding]:
    """Sizes whose answers, or whose bodies, end at or beside the end of a TCP segment: none may wait for a timer."""
    if not setup.wants("segments"):
        return
    with contextlib.ExitStack() as stack:
        cache, control = cached_server(setup, stack, "segments", *NONE)
        (probe,) = whole_objects("segment-probe", 1, 4 * KIB)
        warm(cache, control, [probe])
        head = fetch(cache.address, request(cache.address, probe))[0].size
        segments = _segments(cache)
        multiples = _FEW_MULTIPLES if setup.quick else _MULTIPLES
        ends = {segment * n + d for segment in segments for n in multiples for d in _AROUND}
        sizes = ends | {end - head for end in ends}
        slowest: tuple[float, int] = (0.0, 0)
        for size in sorted(sizes):
            pieces = whole_objects(f"segments-{size}", 1, size)
            warm(cache, control, pieces)
            verify(cache.address, asked(cache.address, pieces), "HIT")
            slowest = max(slowest, (_median(cache, pieces, setup), size))
        text = f"p50 of the slowest: {slowest[0] * 1e6:,.0f} µs, at {slowest[1]:,} bytes"
        told = " and ".join(f"{segment:,}" for segment in sorted(segments))
        what = f"{len(sizes)} sizes around multiples of segments of {told} bytes, 4 connections"
        yield Finding("segments", what, text)


def _segments(server: Server) -> set[int]:
    """What the loopback device takes at once, and half a small window, which a connection begins with."""
    with socket.create_connection(server.address) as one:
        first = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    return {first, int(Path("/sys/class/net/lo/mtu").read_text()) - _HEADERS}


def _median(server: Server, pieces: list[Piece], setup: Setup) -> float:
    with crowds(server.address, [4]) as load:
        reading = Reading(asked(server.address, pieces), result="HIT")
        sample = run(load, [reading], min(0.1, setup.seconds), spinning=setup.spinning)
    median = sample.latencies.quantile(0.5)
    assert median is not None, "a run without an answer raises"
    return median


def idle(setup: Setup) -> Iterator[Finding]:
    """Memory of connections that are kept alive and do nothing, after one request on each."""
    if not setup.wants("idle"):
        return
    count = min(_IDLE, _allowed_descriptors() - _SPARE_DESCRIPTORS)
    with contextlib.ExitStack() as stack:
        flags = ("--limits-max-connections", str(count + _SPARE_DESCRIPTORS))
        cache, control = cached_server(setup, stack, "idle", *NONE, *flags)
        pieces = objects_of(4 * KIB)
        warm(cache, control, pieces)
        verify(cache.address, asked(cache.address, pieces), "HIT")
        before = cache.resident()
        load = stack.enter_context(crowds(cache.address, [count]))
        requests = asked(cache.address, pieces)
        # As many as connections: each of them asks once before any answer is looked at.
        run(load, [Reading([requests[n % len(requests)] for n in range(count)], once=True, result="HIT")], None)
        cache.settle()
        each_connection = (cache.resident() - before) / count
        yield Finding("idle", f"{count:,} idle connections", f"{each_connection / KIB:,.1f} KiB of memory each")


def _allowed_descriptors() -> int:
    """As many as the system lets us have, which are ours from then on."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
