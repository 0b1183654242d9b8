"""Processes that die are replaced, and nothing but what they were doing is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.front.conftest import MIB, Front, content
from tests.harness import processes
from tests.harness.raw import IncompleteResponseError
from tests.processes.conftest import (
    StartFront,
    connections,
    descendants,
    is_alive,
    kill,
    log_of,
    nursery_of,
    replaced,
    until_logged,
)


def test_health_tells_of_every_process(two: Front) -> None:
    told = two.proxy.health()
    assert told["status"] == "ok"
    assert [(one["role"], one["state"], one.get("slot")) for one in told["processes"]] == [
        ("keeper", "ok", None),
        ("worker", "ok", 0),
        ("worker", "ok", 1),
    ]
    assert {one["pid"] for one in told["processes"]} < set(descendants(two.proxy.pid))
    assert all(0 <= one["loop_lag_seconds"] < 60 for one in told["processes"])
    assert two.proxy.metric("fastcache_workers") == 2


def test_a_killed_worker_is_replaced_and_costs_its_own_connections_alone(two: Front) -> None:
    two.origin.control.synthetic("bkt", "o", 1000)
    with connections(two) as clients:
        for client in clients:
            client.send(two.request("o"))
            assert client.read_response().body == content("o", 0, 1000)
        answered = two.proxy.metric("fastcache_requests_total")
        victim = two.proxy.workers()[1]
        kill(victim)
        replaced(two, 1, victim)
        survivors = 0
        for client in clients:
            try:
                client.send(two.request("o"))
                assert client.read_response().body == content("o", 0, 1000)
                survivors += 1
            except (IncompleteResponseError, ConnectionError):
                continue
        assert 0 < survivors < len(clients)
    with connections(two) as clients:
        for client in clients:
            client.send(two.request("o"))
            assert client.read_response().body == content("o", 0, 1000)
    two.until(
        lambda: two.proxy.metric("fastcache_requests_total") >= answered + survivors + len(clients),
        "what the dead one counted is kept",
    )
    assert two.proxy.metric("fastcache_process_deaths_total", role="worker") == 1
    assert "was killed by SIGKILL" in log_of(two)


def test_what_a_worker_stored_before_it_died_is_not_asked_for_again(two: Front) -> None:
    keys = [f"o{n}" for n in range(8)]
    two.origin.control.synthetic("bkt", keys, 3 * MIB)
    with connections(two, 8) as clients:
        for key, client in zip(keys, clients, strict=True):
            client.send(two.request(key))
            assert client.read_response().body == content(key, 0, 3 * MIB)
    two.until_idle()
    two.until(lambda: two.proxy.metric("fastcache_store_commit_bytes_total") == 8 * 3 * MIB, "all is stored")
    for slot, pid in two.proxy.workers().items():
        kill(pid)
        replaced(two, slot, pid)
    sent = two.origin.control.body_sent("bkt", keys[0])
    for key in keys:
        with two.connect() as client:
            client.send(two.request(key))
            assert client.read_response().body == content(key, 0, 3 * MIB)
    assert two.origin.control.body_sent("bkt", keys[0]) == sent == 3 * MIB


@pytest.mark.parametrize("role", ["keeper", "nursery"])
def test_the_other_processes_are_replaced_too(two: Front, role: str) -> None:
    if role == "keeper":
        former = two.proxy.family("keeper")[0]["pid"]
    else:
        former = nursery_of(two)
    kill(former)
    if role == "keeper":
        two.until(lambda: two.proxy.family("keeper")[0]["pid"] != former, "there is another keeper")
    else:
        until_logged(two, "the nursery is gone")
    workers = two.proxy.workers()
    kill(workers[0])
    replaced(two, 0, workers[0])
    two.origin.control.synthetic("bkt", "o", 1000)
    with connections(two) as clients:
        for client in clients:
            client.send(two.request("o"))
            assert client.read_response().body == content("o", 0, 1000)


def delays(front: Front) -> list[float]:
    """For how long worker 1 was held back, each time, as the log tells."""
    told = [line.partition("next start in ")[2] for line in log_of(front).splitlines()]
    return [float(text.split()[0]) for text in told if text]


def test_one_that_dies_again_and_again_is_held_back_longer_and_longer(start_front: StartFront) -> None:
    front = start_front("--workers", "2")
    victim = front.proxy.workers()[1]
    others = set(descendants(front.proxy.pid)) - {victim}

    def killed_three_times_in_a_row() -> bool:
        """One that this test was late to kill has lived for a while, and the row begins anew."""
        for pid in set(descendants(front.proxy.pid)) - others:
            with contextlib.suppress(ProcessLookupError):
                kill(pid)
        *_, first, second, third = [1.0] * 3 + delays(front)
        return 0 < 4 * first == 2 * second == third

    front.until(killed_three_times_in_a_row, "each is held back for twice as long as the one before", 60.0)
    assert 0 in front.proxy.workers()
    front.until(lambda: 1 in front.proxy.workers(), "it is started again all the same")


def test_a_worker_that_cannot_begin_is_told_like_a_mistake_in_the_settings(
    start_front: StartFront, tmp_path: Path
) -> None:
    with pytest.raises(processes.ProcessError, match=r"access log .* cannot be opened"):
        start_front("--workers", "2", "--access-log", "all", "--access-log-file", str(tmp_path / "missing" / "log"))


def test_a_second_supervisor_on_the_directory_is_refused(two: Front, start_front: StartFront) -> None:
    with pytest.raises(processes.ProcessError, match="in use by another process"):
        start_front(cache_directory=two.proxy.cache_directory)


def test_when_the_supervisor_is_killed_workers_finish_what_they_serve_and_end(start_front: StartFront) -> None:
    front = start_front("--workers", "2", "--authorization", "none", "--ttl", "1h", "--timeouts-drain", "100s")
    size = 8 * MIB
    front.origin.control.synthetic("bkt", "long", size)
    front.origin.control.settings(bandwidth_connection=MIB // 8)
    family = descendants(front.proxy.pid)
    assert len(family) >= 4
    with front.connect() as client:
        client.send(front.request("long"))
        head = client.read_head()
        kill(front.proxy.pid)
        with pytest.raises(processes.ProcessError, match="in use by another process"):
            start_front(cache_directory=front.proxy.cache_directory)
        front.origin.control.settings(bandwidth_connection=0)
        assert client.read_exactly(size, head) == content("long", 0, size)
    front.until(lambda: not any(map(is_alive, family)), "all are gone")
    assert "the supervisor is gone" in log_of(front)
    again = start_front(cache_directory=front.proxy.cache_directory)
    assert again.proxy.health()["status"] == "ok"


def test_sigusr1_opens_the_access_logs_of_all_workers_again(start_front: StartFront, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    front = start_front("--workers", "2", "--access-log", "all", "--access-log-file", str(log))
    front.origin.control.synthetic("bkt", "o", 10)

    def ask_everybody() -> None:
        with connections(front) as clients:
            for client in clients:
                client.send(front.request("o"))
                assert client.read_response().body == content("o", 0, 10)

    ask_everybody()
    front.until(lambda: log.read_text().count("\n") == 24, "all lines are written")
    log.rename(tmp_path / "access.log.1")
    front.proxy.signal(signal.SIGUSR1)
    front.until(log.exists, "the log is opened again")
    for pid in front.proxy.workers().values():
        front.until(lambda pid=pid: str(log) in open_files(pid), "by each worker")  # type: ignore[misc]
    ask_everybody()
    front.until(lambda: log.read_text().count("\n") == 24, "all further lines are in the new file")
    assert (tmp_path / "access.log.1").read_text().count("\n") == 24


def open_files(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except FileNotFoundError:
            continue
    return found


def test_a_service_manager_is_told_of_each_stage(start_front: StartFront, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        # Ten datagrams wait for us, and what comes then is lost: that is more than we are ever away for.
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
        front = start_front(environment=environment)
        told = [manager.recv(1000)]
        while told.count(b"WATCHDOG=1") < 2:
            told.append(manager.recv(1000))
        assert told[0] == b"READY=1"
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        front.proxy.signal(signal.SIGHUP)
        reloading, usec = told_next(manager).split(b"\n")
        assert reloading == b"RELOADING=1"
        assert (
            before <= int(usec.removeprefix(b"MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        )
        assert told_next(manager) == b"READY=1"
        front.proxy.signal(signal.SIGTERM)
        assert told_next(manager) == b"STOPPING=1"


def told_next(manager: socket.socket) -> bytes:
    while (told := manager.recv(1000)) == b"WATCHDOG=1":
        pass
    return told


def test_nothing_is_told_to_a_manager_that_is_not_there(start_front: StartFront, tmp_path: Path) -> None:
    front = start_front(environment={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert front.proxy.health()["status"] == "ok"
    assert "the service manager cannot be told 'READY=1'" in log_of(front)


def test_a_worker_asked_to_end_by_itself_drains_and_is_replaced(two: Front) -> None:
    two.origin.control.synthetic("bkt", "long", 8 * MIB)
    two.origin.control.settings(bandwidth_connection=MIB // 2)
    with two.connect() as client:
        client.send(two.request("long"))
        head = client.read_head()
        before = two.proxy.workers()
        for pid in before.values():
            kill(pid, signal.SIGTERM)
        for slot, pid in before.items():
            replaced(two, slot, pid)
        two.origin.control.settings(bandwidth_connection=0)
        assert client.read_exactly(8 * MIB, head) == content("long", 0, 8 * MIB)
    two.until(lambda: len(two.proxy.health()["processes"]) == 3, "the former ones are gone")
    assert two.proxy.metric("fastcache_process_deaths_total") == 0


def test_all_cpus_that_may_be_used_get_a_worker(start_front: StartFront) -> None:
    cpus = len(os.sched_getaffinity(0))
    assert len(start_front("--workers", "auto").proxy.workers()) == cpus
    told = subprocess.run(
        [sys.executable, "-m", "fastcache", "check", "-e", "http://origin.test", "--workers", "129"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 2
    assert "write 1 to 128, or auto" in told.stderr


def test_health_says_so_when_no_worker_is_left(start_front: StartFront) -> None:
    front = start_front("--workers", "1")
    with processes.standing_still(nursery_of(front)):  # so that there is no other before it is let go on
        kill(front.proxy.worker)
        front.until(lambda: front.proxy.health()["status"] == "failing", "the worker's death is known")
        assert "no worker accepts connections" in front.proxy.health()["reasons"]
    front.until(lambda: front.proxy.health()["status"] == "ok", "it recovers", 30.0)
