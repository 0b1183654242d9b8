"""The load generator counts what happened, notices what went wrong, and keeps its pace."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess
from tests.upstream import origins

from fastcache._core.expected import ExpectedBytes
from fastcache._core.load import Load, StalledError
from fastcache._core.load_task import Task
from fastcache.load.connections import LoadError, fetch, opener
from fastcache.load.heads import request_head
from fastcache.origin.pattern import expected_pattern
from fastcache.origin.process import OriginProcess, start_origin

GET = b"GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def unsigned_origin() -> Iterator[OriginProcess]:
    with start_origin(auth=False) as process:
        yield process


def reads(
    port: int, keys: list[str], size: int, interval: tuple[int, int] | None = None, generation: int = 1
) -> list[Any]:
    """What a Task takes: each object once, or its range."""
    start, end = interval or (0, size)
    return [
        (
            request_head("boto3", b"127.0.0.1:%d" % port, f"/load/{key}".encode(), interval=interval),
            expected_pattern(key.encode(), generation),
            start,
            end - start,
        )
        for key in keys
    ]


def run(port: int, task: Task, connections: int = 2, **options: Any) -> Task:
    load = Load()
    crowd = load.add(opener(("127.0.0.1", port)), connections)
    load.run({crowd: task}, **options)
    load.close()
    return task


@pytest.mark.parametrize("spinning", [False, True])
@pytest.mark.parametrize("mode", ["discard", "copy", "verify"])
def test_every_request_and_byte_is_counted(unsigned_origin: OriginProcess, mode: str, spinning: bool) -> None:
    control = unsigned_origin.control
    keys = ["a", "b", "c"]
    control.synthetic("load", keys, 70_000)
    control.reset()
    task = run(
        unsigned_origin.port, Task(reads(unsigned_origin.port, keys, 70_000), mode=mode, count=7), spinning=spinning
    )
    assert (task.answers, task.body_bytes, task.statuses, task.failures) == (7, 490_000, {200: 7}, {})
    assert (control.requests(), control.body_sent("load")) == (7, 490_000)
    assert [control.requests(key=key) for key in keys] == [3, 2, 2]
    assert task.latencies.count == task.first_bytes.count == 7


@pytest.mark.parametrize(("size", "interval"), [(9 << 20, None), (9 << 20, (70_001, 8 << 20)), (1, None), (0, None)])
@pytest.mark.parametrize("depth", [1, 8])
def test_bodies_of_any_size_are_verified(
    unsigned_origin: OriginProcess, size: int, interval: tuple[int, int] | None, depth: int
) -> None:
    unsigned_origin.control.synthetic("load", ["big"], size)
    asked = reads(unsigned_origin.port, ["big"], size, interval)
    task = run(unsigned_origin.port, Task(asked, mode="verify", count=17, depth=depth))
    assert (task.answers, task.failures, task.body_bytes) == (17, {}, 17 * asked[0][3])


def test_a_wrong_byte_is_found_and_its_place_told(unsigned_origin: OriginProcess) -> None:
    control = unsigned_origin.control
    data = bytearray(300_000)
    control.put("load", "right", bytes(data))
    data[200_123] = 1
    control.put("load", "wrong", bytes(data))
    expected = ExpectedBytes(bytes(300_000))
    asked = [
        (request_head("curl", b"127.0.0.1:%d" % unsigned_origin.port, b"/load/" + key), expected, 0, 300_000)
        for key in (b"right", b"wrong")
    ]
    task = run(unsigned_origin.port, Task(asked, mode="verify", count=6))
    assert task.failures == {"wrong bytes": 3}
    assert task.wrong == (1, 200_123)
    assert run(unsigned_origin.port, Task(asked, mode="copy", count=6)).wrong is None


def test_errors_are_counted_by_status_and_are_no_latency(unsigned_origin: OriginProcess) -> None:
    unsigned_origin.control.synthetic("load", ["a"], 10)
    task = run(unsigned_origin.port, Task(reads(unsigned_origin.port, ["a", "missing"], 10), count=4))
    assert task.statuses == {200: 2, 404: 2}
    assert (task.latencies.count, task.body_bytes, task.failures) == (2, 20, {})


def test_another_length_than_expected_is_counted(unsigned_origin: OriginProcess) -> None:
    unsigned_origin.control.synthetic("load", ["a"], 10)
    task = run(unsigned_origin.port, Task(reads(unsigned_origin.port, ["a"], 11), mode="verify", count=2))
    assert task.failures == {"a body of another length than expected": 2}


def test_the_body_of_a_head_is_not_waited_for(unsigned_origin: OriginProcess) -> None:
    unsigned_origin.control.synthetic("load", ["a"], 10)
    host = b"127.0.0.1:%d" % unsigned_origin.port
    heads = [(request_head("boto3", host, b"/load/a", method=method), None, 0, None) for method in (b"HEAD", b"GET")]
    task = run(unsigned_origin.port, Task(heads, count=6))
    assert (task.answers, task.body_bytes, task.failures) == (6, 30, {})


def keys_asked(origin: OriginProcess, seed: int | None) -> list[str]:
    origin.control.reset()
    run(origin.port, Task(reads(origin.port, [f"k{n}" for n in range(8)], 10), seed=seed, count=40), connections=1)
    return [entry["key"] for entry in origin.control.log()]


def test_the_order_is_the_seeds(unsigned_origin: OriginProcess) -> None:
    unsigned_origin.control.synthetic("load", [f"k{n}" for n in range(8)], 10)
    assert keys_asked(unsigned_origin, None) == [f"k{n % 8}" for n in range(40)]
    one, again, other = (keys_asked(unsigned_origin, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert set(one) == {f"k{n}" for n in range(8)}


def test_two_crowds_have_tasks_of_their_own(unsigned_origin: OriginProcess) -> None:
    unsigned_origin.control.synthetic("load", ["small", "large"], 3 << 20)
    port = unsigned_origin.port
    load = Load()
    crowds = [load.add(opener(("127.0.0.1", port)), count) for count in (1, 3)]
    large = Task(reads(port, ["large"], 3 << 20), mode="verify", count=5)
    small = Task(reads(port, ["small"], 3 << 20, (5, 100)), mode="verify")
    load.run(dict(zip(crowds, (large, small), strict=True)))
    assert (large.answers, large.failures, small.failures) == (5, {}, {})
    assert small.answers >= 3
    assert small.body_bytes == 95 * small.answers
    # The connections are good for another run.
    again = Task(reads(port, ["small"], 3 << 20), count=3)
    load.run({crowds[1]: again})
    assert again.statuses == {200: 3}


def test_how_the_proxy_answered_is_counted(
    unsigned_origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    unsigned_origin.control.synthetic("load", ["cached"], 5000)
    proxy = start_fastcache(unsigned_origin.endpoint, "--authorization", "none", "--ttl", "1h")
    port = int(proxy.endpoint.rpartition(":")[2])
    task = run(port, Task(reads(port, ["cached"], 5000), mode="verify", count=50), connections=1)
    assert (task.results, task.failures) == ({"MISS": 1, "HIT": 49}, {})
    pipelined = run(port, Task(reads(port, ["cached"], 5000), mode="verify", count=500, depth=16), connections=3)
    assert (pipelined.results, pipelined.failures) == ({"HIT": 500}, {})


# ---- pace ----


def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    with start_origin(auth=False, latency=0.02) as slow:
        slow.control.synthetic("load", ["a"], 10)
        open_loop = run(slow.port, Task(reads(slow.port, ["a"], 10), rate=1000, count=20), connections=1)
        closed = run(slow.port, Task(reads(slow.port, ["a"], 10), count=20), connections=1)
    # The last was due after 19 ms and had to wait for the 19 before it.
    assert open_loop.latencies.most > 0.3
    assert open_loop.latencies.most > 2 * closed.latencies.quantile(0.1)


@pytest.mark.parametrize("spinning", [False, True])
def test_an_open_loop_asks_no_sooner_than_is_due(unsigned_origin: OriginProcess, spinning: bool) -> None:
    unsigned_origin.control.synthetic("load", ["a"], 10)
    asked = reads(unsigned_origin.port, ["a"], 10)
    task = run(unsigned_origin.port, Task(asked, rate=100, count=21), connections=4, spinning=spinning)
    assert task.answers == 21
    assert task.seconds >= 0.2


def test_the_time_bounds_a_run_and_its_last_answers_are_waited_for(unsigned_origin: OriginProcess) -> None:
    unsigned_origin.control.synthetic("load", ["a"], 100_000)
    task = run(unsigned_origin.port, Task(reads(unsigned_origin.port, ["a"], 100_000), mode="verify"), seconds=0.2)
    assert task.answers > 0
    assert task.body_bytes == 100_000 * task.answers
    assert task.seconds >= 0.15


# ---- what servers do wrong ----


async def answered(script: origins.Script, **options: Any) -> Task:
    """The figures of a run against a scripted server."""
    asked = options.pop("asked", [(GET, None, 0, None)])
    bounds = {name: options.pop(name) for name in ("seconds", "stall", "connections") if name in options}
    async with origins.origin(script) as server:
        task = Task(asked, **options)
        return await asyncio.to_thread(run, server.id.port, task, bounds.pop("connections", 1), **bounds)


async def test_a_head_in_pieces_is_put_together() -> None:
    async def script(peer: origins.Peer) -> None:
        await peer.head()
        for piece in (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nConte", b"nt-Length: 5\r\n\r", b"\nab", b"cde"):
            await peer.send(piece)
            await asyncio.sleep(0.02)

    task = await answered(script, asked=[(GET, ExpectedBytes(b"abcde"), 0, 5)], mode="verify", count=1)
    assert (task.answers, task.body_bytes, task.failures) == (1, 5, {})


SERVED = origins.sized(b"abc")


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "the connection ended inside a body"),
        (SERVED + b"x", "more bytes than the answer announced"),
        (b"HTTP/1.1 200 OK\r\n", "the connection ended where an answer was due"),
        (b"", "the connection ended where an answer was due"),
        (b"SSH-2.0\r\n", "no HTTP/1.1 response head"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 20_000, "no HTTP/1.1 response head"),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", "an answer without Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "an answer without Content-Length"),
    ],
)
async def test_a_broken_answer_is_counted_and_the_next_connection_used(answer: bytes, failure: str) -> None:
    async def script(peer: origins.Peer) -> None:
        if peer.number == 0:
            await peer.answer(answer)
            return
        while True:
            await peer.answer(SERVED)

    task = await answered(script, count=4)
    assert task.failures == {failure: 1}
    assert task.answers in (3, 4)  # with bytes too many the answer itself was complete


async def test_connections_that_the_server_ends_are_replaced() -> None:
    async def script(peer: origins.Peer) -> None:
        await peer.answer(SERVED)
        await peer.answer(origins.sized(b"abc", extra=b"Connection: close\r\n"))

    task = await answered(script, count=10, connections=2)
    assert (task.answers, task.failures) == (10, {})


async def test_a_connection_that_was_closed_between_two_runs_is_opened_again() -> None:
    async def script(peer: origins.Peer) -> None:
        await peer.answer(SERVED)

    async with origins.origin(script) as server:
        load = Load()
        crowd = load.add(opener(("127.0.0.1", server.id.port)), 1)
        for _ in range(3):
            task = Task([(GET, None, 0, 3)], count=1)
            await asyncio.to_thread(load.run, {crowd: task})
            await origins.settled(lambda: server.open == 0)
            assert (task.answers, task.failures) == (1, {})


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async def script(peer: origins.Peer) -> None:
        await peer.gone()

    with pytest.raises(StalledError):
        await answered(script, seconds=30, stall=0.2)


async def test_many_requests_are_sent_though_nobody_reads_them_yet() -> None:
    """More than the sockets hold: what is left of a request is sent when there is room."""
    large = b"GET /b/k HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"

    async def script(peer: origins.Peer) -> None:
        await asyncio.sleep(0.1)
        for _ in range(120):
            got = await peer.reader.readexactly(len(large))
            assert got == large
            await peer.send(SERVED)

    task = await answered(script, asked=[(large, ExpectedBytes(b"abc"), 0, 3)], mode="verify", depth=60, count=120)
    assert (task.answers, task.failures) == (120, {})


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        Load().add(opener(("127.0.0.1", 1)), 1)


def test_a_signal_ends_a_run_and_its_figures_are_kept(unsigned_origin: OriginProcess) -> None:
    unsigned_origin.control.synthetic("load", ["a"], 10)
    load = Load()
    crowd = load.add(opener(("127.0.0.1", unsigned_origin.port)), 2)
    task = Task(reads(unsigned_origin.port, ["a"], 10))

    class StopError(Exception):
        pass

    def stop(number: int, frame: object) -> None:
        raise StopError

    unsigned_origin.control.reset()

    def signal_when_it_runs() -> None:
        wait_until(lambda: unsigned_origin.control.requests() > 10, 30, "the origin is asked")
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    signalling = threading.Thread(target=signal_when_it_runs)
    try:
        began = time.monotonic()
        signalling.start()
        with pytest.raises(StopError):
            load.run({crowd: task}, seconds=60)
        assert time.monotonic() - began < 50
    finally:
        signalling.join()
        signal.signal(signal.SIGUSR1, before)
    assert task.answers > 0
    assert task.failures == {}
    again = Task(reads(unsigned_origin.port, ["a"], 10), mode="verify", count=4)
    load.run({crowd: again})
    assert (again.answers, again.failures) == (4, {})


# ---- what callers do wrong ----


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"asked": []}, "nothing"),
        ({"mode": "taste"}, "mode"),
        ({"depth": 0}, "depth"),
        ({"depth": 65}, "depth"),
        ({"rate": -1}, "rate"),
        ({"count": 0}, "count"),
        ({"asked": [(b"GET / HTTP/1.1\r\n", None, 0, None)]}, "empty line"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Task(**{"asked": [(GET, None, 0, None)], **options})


def test_a_run_needs_a_bound_and_a_task_runs_once(unsigned_origin: OriginProcess) -> None:
    load = Load()
    crowd = load.add(opener(("127.0.0.1", unsigned_origin.port)), 1)
    with pytest.raises(ValueError, match="bounds"):
        load.run({crowd: Task([(GET, None, 0, None)])})
    with pytest.raises(ValueError, match="no crowd 7"):
        load.run({7: Task([(GET, None, 0, None)], count=1)})
    task = Task([(GET, None, 0, None)], count=1)
    load.run({crowd: task})
    with pytest.raises(ValueError, match="once"):
        load.run({crowd: task})
    load.close()
    with pytest.raises(RuntimeError, match="closed"):
        load.run({crowd: Task([(GET, None, 0, None)], count=1)})


def test_one_answer_is_fetched_whole(unsigned_origin: OriginProcess) -> None:
    unsigned_origin.control.put("load", "a", b"abc")
    answer, data = fetch(("127.0.0.1", unsigned_origin.port), request_head("curl", b"127.0.0.1", b"/load/a"))
    assert (answer.status, answer.length, data[answer.size :]) == (200, 3, b"abc")


async def test_an_answer_that_ends_early_is_not_fetched() -> None:
    async def script(peer: origins.Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc")

    async with origins.origin(script) as server:
        with pytest.raises(LoadError, match="ended inside"):
            await asyncio.to_thread(fetch, ("127.0.0.1", server.id.port), GET)
