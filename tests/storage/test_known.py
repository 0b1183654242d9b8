"""What is known of objects in memory stays within its bound, whether objects are many or have many extents."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.storage.conftest import Bench, MakeBench, oid, pattern

from fastcache.model import Interval
from fastcache.storage.entry import Extent
from fastcache.storage.eviction import MOST_LEFT, EvictionQueues, Unqueued
from fastcache.storage.known import EXTENT_BYTES, OBJECT_BYTES

LIMIT = 20 * OBJECT_BYTES
EACH, GAP = 40, 2000
"""Extents of an object, and from the beginning of one to that of the next."""
SIZE = EACH * GAP
OBJECT = OBJECT_BYTES + EACH * EXTENT_BYTES


async def store_extents(bench: Bench, key: str) -> None:
    for n in range(EACH):
        await bench.fill(key, SIZE, Interval(n * GAP, n * GAP + 1000))


async def read_extents(bench: Bench, key: str) -> None:
    for n in range(EACH):
        part = Interval(n * GAP, n * GAP + 1000)
        assert await bench.read(key, part) == pattern(key, SIZE)[part.start : part.end]


def known(bench: Bench) -> int:
    return bench.store._known.size


async def test_few_objects_of_many_extents_are_bounded_like_many_objects(make_bench: MakeBench) -> None:
    bench = await make_bench(index_memory=LIMIT)
    keys = [f"k{n}" for n in range(12)]
    for key in keys:
        await store_extents(bench, key)
        assert known(bench) <= LIMIT + OBJECT
    await bench.settled()
    stats = bench.store.stats()
    assert stats.extents_in_memory <= 6 * EACH
    assert stats.objects_on_disk_only >= 6
    for key in keys:
        await read_extents(bench, key)
        assert known(bench) <= LIMIT + OBJECT


async def test_an_object_larger_than_the_bound_is_known_until_the_next_one_is_asked_for(make_bench: MakeBench) -> None:
    bench = await make_bench(index_memory=OBJECT_BYTES)
    await store_extents(bench, "large")
    assert bench.store.stats().extents_in_memory == EACH
    await bench.settled()
    await bench.fill("small", 100)
    await bench.fill("smaller", 100)
    assert bench.store.stats().extents_in_memory <= 2
    await read_extents(bench, "large")


async def test_an_object_that_is_forgotten_proves_nothing_to_who_still_has_it(make_bench: MakeBench) -> None:
    """A request that answers while others bring new objects would lease it, and no write would find that lease."""
    bench = await make_bench(index_memory=3 * OBJECT_BYTES)
    entry = await bench.fill("k", 100)
    assert entry.validation is not None
    for n in range(10):
        await bench.fill(f"other-{n}", 100)
    assert bench.store.peek(oid("k")) is None
    assert entry.validation is None
    assert bench.store.pin(entry, Interval(0, 100)) is None


async def test_extents_that_are_gone_are_not_counted_as_known(make_bench: MakeBench) -> None:
    bench = await make_bench()
    await store_extents(bench, "k")
    await bench.fill("k", SIZE)  # covers them all
    await bench.settled()
    assert bench.store.stats().extents_in_memory == 1
    await bench.fill("k", SIZE, generation=1)
    await bench.settled()
    assert bench.store.stats().extents_in_memory == 1
    await bench.store.unpublish(oid("k"))
    await bench.reopen()
    assert bench.store.stats().extents_in_memory == 0


async def test_what_a_file_says_of_its_blocks_is_known_only_while_it_is_open(make_bench: MakeBench) -> None:
    bench = await make_bench(idle_descriptors=20)
    await store_extents(bench, "k")
    await read_extents(bench, "k")
    await bench.settled()
    entry = await bench.store.lookup(oid("k"))
    told = [extent for extent in entry.extents if extent.header is not None]
    assert [extent for extent in told if extent.fd < 0] == []
    assert 0 < len(told) <= 20
    await read_extents(bench, "k")


def extent(number: int) -> Extent:
    return Extent(bytes(32), b"tag", number, number + 1, whole=False, size=4096)


@pytest.mark.parametrize("make", [EvictionQueues, Unqueued])
def test_a_queue_lets_go_of_what_was_taken_out(make: type[EvictionQueues]) -> None:
    """A host with room enough never evicts, and so nobody comes across them."""
    queues = make()
    extents = [extent(number) for number in range(4 * MOST_LEFT)]
    for one in extents[::2]:
        queues.add(one)
    for one in extents[1::2]:
        queues.add_known(one)
    assert queues.extents == 4 * MOST_LEFT
    stays = extents[-10:]
    for one in extents[:-10]:
        queues.remove(one)
        queues.remove(one)  # what is not there any more is not taken out again
    assert queues.extents == len(stays)
    assert len(queues) <= MOST_LEFT + len(stays)
    if make is EvictionQueues:
        picked = [one for _ in range(4 * MOST_LEFT) for one in queues.pick(4096, 1)]
        assert set(picked) == set(stays)
        assert queues.extents == len(queues) == 0


GROWTH = """
import asyncio, gc, sys
from pathlib import Path
from fastcache._core.extent_codec import decode_head, encode_head
from fastcache._core.fences import Fences
from fastcache.clock import SystemClock
from fastcache.storage.entry import Extent
from fastcache.storage.store import Store, StoreSettings
from tests.storage.conftest import oid, record

FIELDS = dict(date="Sat, 28 Nov 2026 01:00:00 GMT", encryption="AES256", ranges="bytes", custom="something of the user",
              storage="STANDARD", version="kfjgheirugheiruhg")

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

async def main(directory, objects, extents):
    store = await Store.open(StoreSettings(Path(directory), 1 << 30), Fences(), SystemClock())
    fences, before = store._fences, resident()
    for n in range(objects):
        key = oid(f"a/name/of/some/length/part-{n:08d}")
        head = decode_head(encode_head(record(f"{n:032d}", 1 << 30, **FIELDS)))
        store.publish_head(key, head, fences.token(key), n + 1)
        entry = store._entries[key.digest]
        entry.disk_head = entry.head
        for start in range(0, extents * 8192, 8192):
            one = Extent(key.digest, head.generation.tag, start, start + 4096, whole=False, size=0)
            store._disk.adopt(entry, one, known=True)
    print(resident() - before, store._known.size)
    await store.close()

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.mark.parametrize(("objects", "extents"), [(5000, 1), (50, 1000)])
@pytest.mark.memory
def test_the_estimate_is_what_a_process_grows_by(tmp_path: object, objects: int, extents: int) -> None:
    command = [sys.executable, "-c", GROWTH, f"{tmp_path}/cache", str(objects), str(extents)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    grown, estimated = map(int, done.stdout.split())
    assert 0.5 * estimated <= grown <= 1.25 * estimated
