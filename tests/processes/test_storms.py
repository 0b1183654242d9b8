"""Workers killed under load, a stop in the middle of long transfers, and what all workers say of a changing object."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from tests.front.conftest import MIB, Front, content
from tests.harness.raw import RawConnection, exchange
from tests.processes.conftest import StartFront, connections, kill, replaced, wait
from tests.processes.reading import Reading


def kill_storm(front: Front, kills: int) -> Reading:
    keys = [f"k{n}" for n in range(8)]
    front.origin.control.synthetic("bkt", keys, 300_000)
    with Reading(front, keys, 300_000, may_break=True) as reading:
        for number in range(kills):
            wait(1.0)
            slot = number % 2
            victim = front.proxy.workers()[slot]
            kill(victim)
            replaced(front, slot, victim)
    return reading


def check_kills(front: Front, reading: Reading, kills: int) -> None:
    assert reading.failures == []
    assert reading.cut <= kills * len(reading.keys), "each kill costs no more than the connections there are"
    assert reading.answers > 20 * kills
    assert front.proxy.metric("fastcache_process_deaths_total", role="worker") == kills
    assert front.proxy.metric("fastcache_store_corrupt_files_total") == 0


def test_a_worker_killed_each_second_costs_its_connections_and_nothing_else(two: Front) -> None:
    check_kills(two, kill_storm(two, 4), 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_killed_each_second_for_two_minutes(two: Front) -> None:
    check_kills(two, kill_storm(two, 120), 120)


def test_a_stop_lets_transfers_of_all_workers_finish(two: Front) -> None:
    size = 4 * MIB
    keys = [f"long{n}" for n in range(8)]
    two.origin.control.synthetic("bkt", keys, size)
    two.origin.control.settings(bandwidth_connection=2 * MIB)
    with connections(two, len(keys)) as clients:
        heads = []
        for key, client in zip(keys, clients, strict=True):
            client.send(two.request(key))
            heads.append(client.read_head())
        two.proxy.signal(signal.SIGTERM)
        with ThreadPoolExecutor(len(keys)) as pool:
            bodies = list(pool.map(lambda pair: pair[0].read_exactly(size, pair[1]), zip(clients, heads, strict=True)))
    assert bodies == [content(key, 0, size) for key in keys]
    two.proxy.stop(within=20)


class History:
    """What has been seen of an object whose content is its generation: nothing older may be seen afterwards."""

    def __init__(self, front: Front) -> None:
        self.front = front
        self.violations: list[str] = []
        self.reads = 0
        self.writes = 0
        self._lock = threading.Lock()
        self._seen = 0
        self._stop = threading.Event()

    def run(self, write: Callable[[int], None], seconds: float, least: int, readers: int = 8) -> None:
        """For so many ``seconds``, and on a slow machine until there were ``least`` reads and a fifth as many writes,
        which is a minute more at most."""
        with ThreadPoolExecutor(readers) as pool:
            reading = [pool.submit(self._read) for _ in range(readers)]
            end = time.monotonic() + seconds
            try:
                while (now := time.monotonic()) < end or (now < end + 60 and not self._had(least)):
                    self.writes += 1
                    write(self.writes)
            finally:
                self._stop.set()
            for one in reading:
                one.result()

    def _had(self, least: int) -> bool:
        return self.reads > least and self.writes > least // 5

    def acknowledged(self, generation: int) -> None:
        with self._lock:
            self._seen = max(self._seen, generation)

    def _read(self) -> None:
        while not self._stop.is_set():
            with self.front.connect() as client:
                for _ in range(20):
                    self._read_once(client)

    def _read_once(self, client: RawConnection) -> None:
        with self._lock:
            before = self._seen
        client.send(self.front.request("o"))
        response = client.read_response()
        assert response.status == 200, response
        generation = int(response.body)
        with self._lock:
            self.reads += 1
            if generation < before:
                self.violations.append(f"{generation} after {before}: {response.get(b'x-cache')!r}")
            self._seen = max(self._seen, generation)


def put(front: Front, endpoint: str, generation: int) -> None:
    body = b"%d" % generation
    host = urlsplit(endpoint).netloc.encode()
    response = exchange(endpoint, front.request("o", method=b"PUT", body=body, host=host), method=b"PUT")
    assert response.status == 200, response


def through_one_worker(front: Front, seconds: float, least: int) -> History:
    history = History(front)
    put(front, front.proxy.endpoint, 0)

    def write(generation: int) -> None:
        put(front, front.proxy.endpoint, generation)
        history.acknowledged(generation)
        wait(0.02)

    history.run(write, seconds, least)
    return history


def behind_the_caches_back(front: Front, seconds: float, least: int) -> History:
    history = History(front)
    put(front, front.origin.endpoint, 0)

    def write(generation: int) -> None:
        put(front, front.origin.endpoint, generation)
        wait(0.05)

    history.run(write, seconds, least)
    return history


def test_after_a_write_through_one_worker_none_serves_what_was_there_before(two: Front) -> None:
    history = through_one_worker(two, 4.0, 100)
    assert history.violations == []
    assert history.reads > 100
    assert history.writes > 20


@pytest.fixture
def short(start_front: StartFront) -> Front:
    """Proofs that run out soon, in each worker at another moment."""
    return start_front("--workers", "2", "--authorization", "none", "--ttl", "300ms", "--head-ttl", "300ms")


def test_what_one_worker_has_seen_replaced_no_other_serves_any_more(short: Front) -> None:
    history = behind_the_caches_back(short, 6.0, 100)
    assert history.violations == []
    assert history.reads > 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_long_history_through_the_workers(two: Front) -> None:
    history = through_one_worker(two, 180.0, 10_000)
    assert history.violations == []
    assert history.reads > 10_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_long_history_behind_their_back(short: Front) -> None:
    history = behind_the_caches_back(short, 180.0, 10_000)
    assert history.violations == []
    assert history.reads > 10_000
