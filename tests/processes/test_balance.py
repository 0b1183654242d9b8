"""Few connections are spread evenly, which the kernel alone does not do."""

from __future__ import annotations

import contextlib

import pytest
from tests.front.conftest import Front, content
from tests.processes.conftest import StartFront, connections, kill, replaced

from fastcache._core import shared
from fastcache._core.balance import Balance
from fastcache._core.shared import Cell, SharedMemory


def open_connections(front: Front) -> list[int]:
    return [one["connections"] for one in front.proxy.family("worker")]


@pytest.mark.parametrize("count", [10, 100])
def test_the_busiest_of_four_workers_has_little_more_than_the_mean(start_front: StartFront, count: int) -> None:
    front = start_front("--workers", "4", "--authorization", "none")
    front.origin.control.synthetic("bkt", "o", 100)
    with connections(front, count) as clients:
        for client in clients:
            client.send(front.request("o"))
            assert client.read_response().body == content("o", 0, 100)
        front.until(lambda: sum(open_connections(front)) == count, "all are counted")
        assert max(open_connections(front)) <= 1.3 * count / 4
    front.until(lambda: sum(open_connections(front)) == 0, "all are gone")
    for what in ("opened", "closed"):
        front.until(
            lambda what=what: front.proxy.metric(f"fastcache_client_connections_{what}_total") == count,  # type: ignore[misc]
            f"all are counted as {what}",
        )


def test_it_stays_even_when_a_worker_dies_in_between(start_front: StartFront) -> None:
    front = start_front("--workers", "2", "--authorization", "none")
    front.origin.control.synthetic("bkt", "o", 100)
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            for _ in range(10):
                client = stack.enter_context(front.connect())
                client.send(front.request("o"))
                assert client.read_response().body == content("o", 0, 100)
            front.until(lambda: sorted(open_connections(front)) == [5, 5], "each has its half")
        front.until(lambda: sum(open_connections(front)) == 0, "all are gone")
        victim = front.proxy.workers()[0]
        kill(victim)
        replaced(front, 0, victim)


def test_loads_count_what_is_on_its_way_and_only_places_that_accept() -> None:
    memory = SharedMemory(shared.create(4, 8))
    one, two = Balance(memory, 2, 0), Balance(memory, 3, 1)
    assert [one.load(place) for place in range(4)] == [-1, -1, -1, -1]
    one.open()
    two.open()
    memory.set(2, Cell.CONNECTIONS, 5)
    memory.add(3, Cell.HANDED)
    memory.add(3, Cell.HANDED)
    memory.set(3, Cell.TAKEN, 1)
    assert [one.load(place) for place in range(4)] == [-1, -1, 5, 1]
    one.take_back(3)
    assert one.load(3) == 0
    one.take_back(3)
    assert one.load(3) == 0, "never less than none"
    two.shut()
    assert one.load(3) == -1
    for place in (-1, 4):
        with pytest.raises(IndexError):
            one.load(place)
