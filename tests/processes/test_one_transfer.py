"""P-17 over workers: a byte that several workers' clients want at once is fetched by one of them."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.front.conftest import MIB, Front, _shared_proxy, content
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawConnection
from tests.processes.conftest import kill, replaced

from fastcache.origin.process import OriginProcess

__all__ = ["_shared_proxy"]

WORKERS = 4
READERS = 48
"""Connections of which each of four workers has some, as good as always."""
SIZE = 6 * MIB


@pytest.fixture(scope="module", params=["none", "revalidate"])
def proxy_flags(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Four workers. How fast this machine and a thousand threads are at the moment is not what is tested."""
    flags = ("--workers", str(WORKERS), "--authorization", request.param, "--fill-follow-wait", "30s")
    flags += ("--fill-detach-after", "60s", "--limits-min-client-rate", "0", "--limits-max-requests-in-flight", "8000")
    return flags + (("--ttl", "1h") if request.param == "none" else ())


@pytest.fixture
def four(_shared_proxy: FastcacheProcess, open_origin: OriginProcess) -> Iterator[Front]:
    """Four workers behind an origin that is slow enough for every reader to come while a transfer is under way."""
    open_origin.control.settings(latency=0.2, bandwidth_connection=12 * MIB)
    yield Front(open_origin, _shared_proxy)
    open_origin.control.settings(latency=0.0, bandwidth_connection=0)


def read(front: Front, client: RawConnection, key: str, start: int, end: int, size: int) -> None:
    """Ask for an interval, the whole object if it is all of it, and compare every byte."""
    fields = [] if (start, end) == (0, size) else [b"Range: bytes=%d-%d" % (start, end - 1)]
    client.send(front.request(key, *fields))
    response = client.read_response()
    assert response.status == (206 if fields else 200), response
    assert response.body == content(key, start, end)


def herd(
    front: Front,
    ask: Callable[[RawConnection, int], None],
    readers: int = READERS,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """All at once, each over a connection of its own, which are open before; ``meanwhile`` is done as they ask."""
    ready = threading.Barrier(readers)

    def one(number: int) -> None:
        with front.connect(timeout=60.0) as client:
            ready.wait(60)
            ask(client, number)

    with ThreadPoolExecutor(readers) as pool:
        reads = [pool.submit(one, number) for number in range(readers)]
        meanwhile()
        for read_ in reads:
            read_.result()


def moved(front: Front) -> int:
    return front.origin.control.body_sent("bkt")


def test_whole_objects(four: Front) -> None:
    four.origin.control.synthetic("bkt", "whole", SIZE)
    before = four.proxy.metric("fastcache_followers_total")

    def followed() -> None:
        """However late the readers come, the transfer has not ended before one of them follows it."""
        four.until(lambda: four.proxy.metric("fastcache_followers_total") > before, "a reader follows")
        four.origin.control.settings(bandwidth_connection=12 * MIB)

    four.origin.control.settings(bandwidth_connection=MIB // 4)
    herd(four, lambda client, _: read(four, client, "whole", 0, SIZE, SIZE), meanwhile=followed)
    assert moved(four) == SIZE


@pytest.mark.slow
def test_a_thousand_readers_of_a_whole_object(four: Front) -> None:
    size = MIB + MIB // 4  # a thousand threads of one process take their time with more
    four.origin.control.synthetic("bkt", "thousand", size)
    herd(four, lambda client, _: read(four, client, "thousand", 0, size, size), readers=1000)
    assert moved(four) == size


@pytest.mark.slow
def test_a_thousand_objects(four: Front) -> None:
    keys = [f"one-of-{number}" for number in range(1000)]
    four.origin.control.synthetic("bkt", keys, 4096)
    four.origin.control.settings(latency=0.005)

    def ask(client: RawConnection, number: int) -> None:
        for turn in range(len(keys)):
            read(four, client, keys[(turn + number % 8) % len(keys)], 0, 4096, 4096)

    herd(four, ask)
    assert moved(four) == 4096 * len(keys)


def test_objects_that_are_stored_at_their_end(four: Front) -> None:
    keys = [f"small-{number}" for number in range(20)]
    four.origin.control.synthetic("bkt", keys, 100_000)

    def ask(client: RawConnection, number: int) -> None:
        for turn in range(len(keys)):
            read(four, client, keys[(turn + number // 8) % len(keys)], 0, 100_000, 100_000)

    herd(four, ask)
    assert moved(four) == 100_000 * len(keys)


def test_ranges_in_one_another(four: Front) -> None:
    """Who comes while the whole is under way takes a part of it."""
    four.origin.control.synthetic("bkt", "contained", SIZE)
    chosen = random.Random(3)
    parts = [sorted(chosen.sample(range(SIZE), 2)) for _ in range(READERS)]

    whole = Stream(four, "contained", SIZE)
    herd(four, lambda client, number: read(four, client, "contained", *parts[number], SIZE))
    whole.read(SIZE)
    assert moved(four) == SIZE


def test_overlapping_ranges(four: Front) -> None:
    """Requests without a signature are cut to what nobody else is fetching, once the object is known."""
    four.origin.control.synthetic("bkt", "overlapping", SIZE)
    with four.connect(timeout=60.0) as client:
        read(four, client, "overlapping", 0, 1, SIZE)
    # Each half over the next one, so that nobody lacks two pieces that are near enough to be asked for as one.
    step = SIZE // 8
    parts = [(1 + number * step, min(SIZE, 1 + (number + 2) * step)) for number in range(8)]
    random.Random(5).shuffle(parts)
    herd(four, lambda client, number: read(four, client, "overlapping", *parts[number % 8], SIZE))
    assert moved(four) == SIZE
    before = moved(four)
    with four.connect(timeout=60.0) as client:
        for start, end in parts:
            read(four, client, "overlapping", start, end, SIZE)
    assert moved(four) == before, "what was fetched is stored"


def test_objects_that_cannot_be_kept_are_fetched_for_each(four: Front) -> None:
    """Nobody waits for an answer that cannot be followed."""
    four.origin.control.synthetic("bkt", "volatile", 1000, headers={"Cache-Control": "no-store"})
    herd(four, lambda client, _: read(four, client, "volatile", 0, 1000, 1000), readers=16)


class Stream:
    """A client that has read the beginning of an answer."""

    def __init__(self, front: Front, key: str, size: int) -> None:
        self.key, self.size, self.at = key, size, 0
        self.client = front.connect(timeout=60.0)
        self.client.send(front.request(key))
        self.head = self.client.read_head()
        assert self.head.status == 200, self.head

    def read(self, count: int) -> None:
        count = min(count, self.size - self.at)
        piece = self.client.read_exactly(count)
        assert piece == content(self.key, self.at, self.at + count)
        self.at += count


def owners(front: Front) -> dict[int, int]:
    """Which worker has which client's port."""
    found = {}
    for pid in front.proxy.workers().values():
        sockets = {entry.readlink().name for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in sockets:
                found[int(fields[2].rpartition(":")[2], 16)] = pid
    return found


def has_ended(pid: int) -> bool:
    """Whether nothing of a process is left but what its parent has to be told, so that its connections are closed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def owner_of(front: Front, stream: Stream, among: dict[int, int]) -> int:
    return among[stream.client.socket.getsockname()[1]]


def test_a_transfer_goes_on_for_readers_in_other_workers(four: Front) -> None:
    """Those of the worker that fetches have all gone away, and more is to come than is fetched for nobody."""
    size = 16 * MIB
    four.origin.control.settings(bandwidth_connection=6 * MIB)
    four.origin.control.synthetic("bkt", "left", size)
    first = Stream(four, "left", size)
    with ThreadPoolExecutor(READERS // 4) as pool:
        streams = list(pool.map(lambda _: Stream(four, "left", size), range(READERS // 4)))
    among = owners(four)
    fetching = owner_of(four, first, among)
    others = [stream for stream in streams if owner_of(four, stream, among) != fetching]
    for stream in streams:
        if stream not in others:
            stream.client.close()
    first.client.close()
    assert others
    with ThreadPoolExecutor(len(others)) as pool:
        list(pool.map(lambda stream: stream.read(size), others))
    assert moved(four) == size


def test_a_worker_that_dies_in_the_middle_costs_its_own_clients_alone(four: Front) -> None:
    """The others read on what it had written, and one of them has the rest fetched, once: who is slow, and comes to its
    beginning when it has been stored, finds it."""
    size, held = 16 * MIB, 12 * MIB
    four.origin.control.settings(bandwidth_connection=8 * MIB)
    four.origin.control.synthetic("bkt", "dies", size)
    four.origin.control.fault("stall", after=held, key="dies")
    first = Stream(four, "dies", size)
    first.read(MIB)
    with ThreadPoolExecutor(READERS) as pool:
        streams = list(pool.map(lambda _: Stream(four, "dies", size), range(READERS)))
        list(pool.map(lambda stream: stream.read(MIB), streams))
    four.until(lambda: moved(four) == held, "most of it has come, and no more does")
    among = owners(four)
    victim = owner_of(four, first, among)
    slot = next(slot for slot, pid in four.proxy.workers().items() if pid == victim)
    others = [stream for stream in streams if owner_of(four, stream, among) != victim]
    slow = list({owner_of(four, stream, among): stream for stream in others}.values())
    assert len(slow) == WORKERS - 1
    for stream in slow:  # so that not much more of its answer is on its way than it has read
        stream.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    kill(victim)
    four.until(lambda: has_ended(victim), "what it was about to receive is refused")
    four.origin.control.settings(bandwidth_connection=0)
    for together in ([stream for stream in others if stream not in slow], slow):
        with ThreadPoolExecutor(len(together)) as pool:
            list(pool.map(lambda stream: stream.read(size), together))
    replaced(four, slot, victim, seconds=20.0)
    with four.connect(timeout=60.0) as client:
        read(four, client, "dies", 0, size, size)
    whole, rest = bodies(four, "dies")
    assert (whole["range"], whole["complete"]) == ("", False)
    assert rest["range"] == f"bytes={size - rest['body_sent']}-{size - 1}"


def bodies(front: Front, key: str) -> list[dict[str, Any]]:
    """The requests for an object that the origin sent bytes of it to."""
    return [entry for entry in front.origin.control.log(10_000) if entry["key"] == key and entry["body_sent"]]
