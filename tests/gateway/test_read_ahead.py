"""A reader that goes on finds what follows: fetched once, in time, and never the bytes of another generation."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path

import pytest
from tests.gateway.conftest import MODES, PATIENT, Gate, StartGate, upstream_environment
from tests.gateway.objects import KEY, Remote, Remotes
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess

from fastcache.origin.process import OriginProcess

MIB = 1024 * 1024
KIB = 1024
STEP = 256 * KIB


@pytest.fixture
def gate(start_gate: StartGate, origin: OriginProcess) -> Gate:
    return start_gate("own", "verify-sign-ahead")


@pytest.fixture
def remote(gate: Gate) -> Iterator[Remotes]:
    """``remote(size)``: a new object behind a gateway that reads ahead.

    Its scans end with the test. What was fetched ahead of those that rest is counted as wasted after a while, which
    would be in the middle of another test.
    """
    made: list[Remote] = []

    def make(size: int) -> Remote:
        made.append(Remote.make(gate, size))
        return made[-1]

    yield make
    for r in made:
        r.control.clear_faults()
        r.gate.raw("PUT", r.target, body=b"the end")
        r.get((0, 1))


def scan(r: Remote, end: int, *, start: int = 0, step: int = STEP, generation: int = 1) -> None:
    for at in range(start, end, step):
        r.check((at, min(at + step, r.size)), generation)


def transfers(r: Remote) -> float:
    """How many have come to their end."""
    return r.gate.proxy.metric("fastcache_fills_total", outcome="complete")


def settle_after(r: Remote, number: float) -> None:
    """What is fetched ahead is asked for behind an answer: wait for so many transfers, and until they are stored."""
    wait_until(lambda: transfers(r) >= number, 20, "it was fetched")
    r.settle()


def is_held(r: Remote, name: str) -> bool:
    """Whether there is a file of this name, or the worker still has it open."""
    for opened in Path(f"/proc/{r.gate.proxy.worker}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while we look
            if fnmatch(os.readlink(opened), f"*/{name}*"):
                return True
    return any(r.gate.proxy.cache_directory.rglob(name))


def counted(r: Remote, what: str) -> int:
    return int(r.gate.proxy.metric(f"fastcache_read_ahead_{what}_bytes_total"))


def test_two_reads_that_follow_each_other_bring_what_comes_next(remote: Remotes) -> None:
    r = remote(20 * MIB)
    before = transfers(r)
    scan(r, 2 * STEP)
    settle_after(r, before + 3)
    assert r.asked == [(0, STEP), (STEP, 2 * STEP), (2 * STEP, 4 * STEP)]
    r.control.reset()
    answer = r.check((2 * STEP, 3 * STEP))
    assert answer.get(b"x-cache") == b"HIT"
    settle_after(r, before + 4)
    assert r.asked == [(4 * STEP, 7 * STEP)], "half of the window is read: twice as much from here on"


@pytest.mark.parametrize("step", [64 * KIB, STEP, 3 * MIB + 1])
def test_a_scan_to_the_end_moves_every_byte_once(remote: Remotes, step: int) -> None:
    r = remote(20 * MIB + 7)
    used, wasted = counted(r, "used"), counted(r, "wasted")
    scan(r, r.size, step=step)
    r.settle()
    spans = r.asked
    assert (spans[0], spans[-1]) == ((0, step), (spans[-1][0], r.size))  # type: ignore[index]
    assert [pair for pair in itertools.pairwise(spans) if pair[0][1] != pair[1][0]] == []  # type: ignore[index]
    assert r.moved == r.size
    assert len(spans) <= 20, "the windows did not grow"
    assert max(end - start for start, end in filter(None, spans)) <= 16 * MIB
    assert counted(r, "used") - used <= r.size - 2 * step
    assert counted(r, "used") > used
    assert counted(r, "wasted") == wasted


def test_a_reader_that_catches_up_joins_what_is_on_its_way(remote: Remotes) -> None:
    r = remote(6 * MIB)
    r.control.settings(bandwidth_connection=4 * MIB, latency=0.02)
    scan(r, r.size)
    r.control.settings(bandwidth_connection=0, latency=0)
    r.settle()
    assert r.moved == r.size


def test_reads_here_and_there_bring_nothing_else(remote: Remotes) -> None:
    r = remote(20 * MIB)
    for at in (0, 9, 3, 12, 6, 15, 1, 18):
        r.check((at * MIB, at * MIB + STEP))
    r.settle()
    assert r.moved == 8 * STEP


def test_parts_side_by_side_bring_nothing_else(remote: Remotes) -> None:
    """A parallel download asks for its parts before those in front of them have come."""
    r = remote(20 * MIB)
    r.control.settings(bandwidth_connection=64 * KIB)
    with ThreadPoolExecutor(8) as pool:
        parts = [pool.submit(r.check, (at * MIB, (at + 1) * MIB)) for at in range(8)]
        wait_until(lambda: len(r.asked) == 8, 20, "all are asked for before one of them has come")
        r.control.settings(bandwidth_connection=0)
        for part in parts:
            part.result()
    r.settle()
    assert r.asked == [(at * MIB, (at + 1) * MIB) for at in range(8)]


def test_whole_objects_and_parts_of_them_that_must_be_fresh_bring_nothing_else(remote: Remotes) -> None:
    r = remote(4 * MIB)
    for at in range(4):
        assert r.get((at * STEP, (at + 1) * STEP), **{"Cache-Control": "no-cache"}).status == 206
    r.check()
    r.settle()
    assert r.moved == r.size


def test_under_the_clients_own_signature_nothing_is_fetched_ahead(start_gate: StartGate, origin: OriginProcess) -> None:
    r = Remote.make(start_gate("own", "verify-passthrough"), 20 * MIB)
    scan(r, 2 * MIB)
    r.settle()
    assert r.moved == 2 * MIB


def test_a_write_ends_what_is_being_fetched_and_nothing_old_is_left(remote: Remotes) -> None:
    r = remote(40 * MIB)
    scan(r, 8 * MIB, step=2 * MIB)
    r.settle()
    r.control.settings(bandwidth_connection=2 * MIB)
    scan(r, 16 * MIB, start=8 * MIB, step=2 * MIB)
    before = r.moved
    assert r.gate.raw("PUT", r.target, body=b"another content").status == 200
    r.control.settings(bandwidth_connection=0)
    r.settle()
    assert r.moved - before < 16 * MIB, "it was fetched to its end all the same"
    assert r.get().body == b"another content"
    assert r.get((1, 5)).body == b"noth"


def test_a_scan_of_an_object_that_is_overwritten_goes_on_with_the_new_one(remote: Remotes) -> None:
    r = remote(20 * MIB)
    wasted, before = counted(r, "wasted"), transfers(r)
    scan(r, 2 * STEP)
    settle_after(r, before + 3)
    r.control.flip(r.bucket, KEY)
    assert r.get((0, STEP), **{"Cache-Control": "no-cache"}).body == r.content((0, STEP), 2)
    scan(r, r.size, start=STEP, generation=2)
    assert counted(r, "wasted") - wasted == 2 * STEP, "what was fetched of the old one"


def test_what_was_evicted_before_its_reader_came_is_counted_and_asked_for_again(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    own = (origin.access_key, origin.secret_key)
    flags = (*PATIENT, *MODES["none-sign"], "--read-ahead", "1MiB", "--cache-size", "24MiB")
    proxy = start_fastcache(origin.endpoint, *flags, environment=upstream_environment(*own))
    gate = Gate("own", "none-sign", origin.endpoint, proxy, *own, origin.control.body_sent, origin.control, own)
    r, others = Remote.make(gate, 20 * MIB), Remote.make(gate, 60 * MIB)
    scan(r, 2 * STEP)
    settle_after(r, 3)
    assert r.moved == 4 * STEP
    fetched_ahead = f"*-{2 * STEP}-{4 * STEP}.ext"
    assert is_held(r, fetched_ahead)
    for at in range(0, 60, 4):
        others.check((at * MIB, (at + 3) * MIB))
        others.settle()
    wait_until(lambda: not is_held(r, fetched_ahead), 20, "it was evicted")
    r.control.reset()
    r.check((2 * STEP, 3 * STEP))
    r.settle()
    assert (2 * STEP, 3 * STEP) in r.asked
    assert counted(r, "wasted") == STEP


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 412},
        {"kind": "status", "status": 403, "code": "AccessDenied"},
        {"kind": "cut-body", "after": 300 * KIB},
        {"kind": "cut"},
        {"kind": "ignore-range"},
        {"kind": "etag", "value": '"another"'},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_what_cannot_be_fetched_ahead_is_asked_for_by_its_reader(remote: Remotes, fault: dict[str, object]) -> None:
    r = remote(8 * MIB)
    r.control.fault(key=KEY, range=f"bytes={2 * STEP}-{4 * STEP - 1}", **fault)  # type: ignore[arg-type]
    scan(r, r.size)
    r.settle()
    assert r.moved <= 2 * r.size
    r.check()
