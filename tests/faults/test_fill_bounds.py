"""What bounds a fill (DESIGN section 2): its memory, its lead, its readers' patience, and what it does when alone."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.faults.conftest import MIB, MODES, NONE, Start, assert_right, wait_until_stored
from tests.harness.processes import wait_until
from tests.harness.raw import RawConnection
from tests.reads.conftest import Reader, content


def resident_bytes(r: Reader) -> int:
    """Anonymous memory: pages of the cache's files belong to the kernel."""
    for line in Path(f"/proc/{r.proxy.worker}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def begun(r: Reader, key: str) -> RawConnection:
    """A reader that asked and takes nothing yet."""
    connection = RawConnection(r.proxy.endpoint, timeout=60)
    connection.send(r.request(key))
    return connection


@MODES
def test_a_stalled_reader_alone_stops_its_transfer_at_the_lead(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode, "--fill-lead", "8MiB", "--fill-window", "1MiB", "--cache-size", "10GiB")
    size = 64 * MIB
    r.origin.control.synthetic("bkt", "o", size)
    with begun(r, "o") as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)  # or it takes 32 MiB by itself
        head = connection.read_head()
        taken = connection.read_exactly(MIB, head)
        sent: list[int] = []

        def settled() -> bool:
            time.sleep(0.3)
            sent.append(r.body_bytes("o"))
            return len(sent) > 2 and sent[-1] == sent[-2]

        wait_until(settled, 30, "the transfer has stopped")
        # Ahead of what the client's kernel took: the lead, and what sockets hold on the way.
        assert sent[-1] < 56 * MIB
        assert r.proxy.metric("fastcache_window_bytes") <= 4 * MIB
        rest = connection.read_exactly(size - MIB, head)
        assert taken + rest == content("o", 0, size)
    assert r.body_bytes("o") == size
    wait_until_stored(r)
    assert_right(r, "o", size)


@MODES
def test_a_stalled_reader_does_not_hold_up_a_fast_one_and_still_gets_every_byte(
    reader: Start, mode: tuple[str, ...]
) -> None:
    """It falls out of the window and goes on from extents that are committed while the fill runs."""
    r = reader(*mode, "--fill-window", "1MiB")
    size = 32 * MIB
    r.origin.control.synthetic("bkt", "o", size)
    r.origin.control.settings(bandwidth_connection=64 * MIB)
    with begun(r, "o") as stalled:
        head = stalled.read_head()
        first = stalled.read_exactly(65_536, head)
        fast = r.get("o")  # to its end, although the other one reads nothing
        assert fast.body == content("o", 0, size)
        assert first + stalled.read_exactly(size - 65_536, head) == fast.body
    assert r.body_bytes("o") == size, "one transfer for both"


def test_an_abandoned_fill_lingers_for_its_bytes_and_keeps_its_prefix(reader: Start) -> None:
    r = reader(*NONE, "--fill-linger-bytes", "4MiB", "--fill-linger", "20s", "--fill-lead", "4MiB")
    size = 200 * MIB
    r.origin.control.synthetic("bkt", "o", size)
    r.origin.control.settings(bandwidth_connection=40 * MIB)
    with begun(r, "o") as connection:
        head = connection.read_head()
        connection.read_exactly(8 * MIB, head)
    wait_until_stored(r)
    sent = r.body_bytes("o")
    assert 8 * MIB <= sent < 60 * MIB
    r.origin.control.reset()
    r.origin.control.settings(bandwidth_connection=0)
    assert r.get("o", f"bytes=0-{8 * MIB - 1}").body == content("o", 0, 8 * MIB)
    assert r.body_bytes("o") == 0, "the prefix that had arrived was thrown away"


def test_an_abandoned_fill_ends_after_its_time(reader: Start) -> None:
    r = reader(*NONE, "--fill-linger-bytes", "256MiB", "--fill-linger", "500ms")
    r.origin.control.synthetic("bkt", "o", 400 * MIB)
    r.origin.control.settings(bandwidth_connection=10 * MIB)
    with begun(r, "o") as connection:
        connection.read_exactly(MIB, connection.read_head())
    wait_until_stored(r)
    assert r.body_bytes("o") < 100 * MIB


@pytest.mark.parametrize("readers", [50])
@pytest.mark.memory
def test_the_window_budget_holds_for_fifty_fills_at_once(reader: Start, readers: int) -> None:
    r = reader(*NONE, "--fill-window", "4MiB", "--fill-window-budget", "32MiB", "--cache-size", "20GiB")
    keys = [f"o{number}-" for number in range(readers)]
    size = 6 * MIB
    r.origin.control.synthetic("bkt", keys, size)
    r.get(keys[0], "bytes=0-9")
    before = resident_bytes(r)
    most = 0.0
    with ThreadPoolExecutor(readers) as pool:
        futures = [pool.submit(r.get, key) for key in keys]
        while not all(future.done() for future in futures):
            most = max(most, r.proxy.metric("fastcache_window_bytes"))
            time.sleep(0.02)
        for key, future in zip(keys, futures, strict=True):
            assert future.result().body == content(key, 0, size)
    # Each fill may keep 512 KiB whatever the others do, and reads pieces of at most that size.
    assert most <= 32 * MIB + readers * MIB
    assert resident_bytes(r) - before < 32 * MIB + readers * 2 * MIB
    wait_until_stored(r)
    wait_until(lambda: r.proxy.metric("fastcache_window_bytes") == 0, 20, "no reader holds anything")


@pytest.mark.memory
def test_fifty_stalled_readers_hold_no_more_memory_than_the_budget(reader: Start) -> None:
    r = reader(*NONE, "--fill-window", "4MiB", "--fill-window-budget", "32MiB", "--fill-lead", "8MiB")
    keys = [f"s{number}-" for number in range(50)]
    r.origin.control.synthetic("bkt", keys, 32 * MIB)
    r.get(keys[0], "bytes=0-9")
    before = resident_bytes(r)
    connections = [begun(r, key) for key in keys]
    try:
        for key, connection in zip(keys, connections, strict=True):
            head = connection.read_head()
            assert connection.read_exactly(1000, head) == content(key, 0, 1000)
        time.sleep(1.0)
        assert r.proxy.metric("fastcache_fills_active") > 10, "nothing was stalled"
        assert r.proxy.metric("fastcache_window_bytes") <= 82 * MIB
        assert resident_bytes(r) - before < 132 * MIB
    finally:
        for connection in connections:
            connection.reset()
    wait_until_stored(r)
    wait_until(lambda: r.proxy.metric("fastcache_window_bytes") == 0, 20, "no reader holds anything")


def test_fills_without_a_disk_share_the_pace_of_the_slowest_reader_who_keeps_up(reader: Start) -> None:
    """``cache`` is on, but nothing can be stored: the answer still streams, bounded, and both readers get it."""
    r = reader(*NONE, "--fill-window", "1MiB")
    size = 24 * MIB
    r.origin.control.synthetic("bkt", "o", size)
    r.origin.control.settings(bandwidth_connection=24 * MIB)
    for path in (r.proxy.cache_directory, *r.proxy.cache_directory.rglob("*")):
        path.chmod(0o500)
    away = r.proxy.cache_directory.with_name("away")
    r.proxy.cache_directory.rename(away)
    (away / "fills").rmdir()
    (away / "fills").write_bytes(b"a file where the directory was")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(r.get, "o")
        time.sleep(0.2)
        second = pool.submit(r.get, "o")
        assert first.result().body == content("o", 0, size)
        assert second.result().body == content("o", 0, size)
    assert r.proxy.metric("fastcache_window_bytes") <= 2 * MIB
