"""Several stores on one directory, as in several processes: nobody serves what another replaced, all find what one
stored, the keeper counts and evicts."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.storage.conftest import MIB, Bench, disk_use, eventually, oid, pattern, record, stored_files

from fastcache._core import shared
from fastcache._core.generations import Generations
from fastcache._core.shared import Cell, SharedMemory
from fastcache.model import Interval
from fastcache.storage import directory, recovery
from fastcache.storage.keeping import Keeping
from fastcache.storage.known import OBJECT_BYTES
from fastcache.storage.metrics import StoreCounter
from fastcache.storage.reports import LONGEST, Report, Reports, parse
from fastcache.storage.settings import StoreSettings
from fastcache.storage.shared_store import SharedStore
from fastcache.storage.sharing import KEEPER, Share

BIG = 3 * MIB
SMALL = 10_000


class Host:
    """A directory, its shared memory, and a store for each place: the keeper in the first."""

    def __init__(self, path: Path, capacity: int, **more: float) -> None:
        self.settings = StoreSettings(path, capacity, io_threads=2, **more)  # type: ignore[arg-type]
        self.held = directory.acquire(path)
        self.fd = shared.create(5, 8)
        self.memory = SharedMemory(self.fd)
        self.reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in self.reports:
            end.setblocking(False)
        self.stores: list[Bench] = []

    def _held(self) -> directory.CacheDirectory:
        return directory.CacheDirectory(self.held.path, os.dup(self.held.fd), os.dup(self.held.lock_fd), "")

    def _bench(self, place: int) -> tuple[Bench, SharedMemory]:
        bench = Bench(self.settings)
        memory = SharedMemory(self.fd)  # a mapping of its own, as in another process
        bench.fences = memory.fences()
        memory.set(place, Cell.INCARNATION, 100 + place)
        return bench, memory

    def worker(self, place: int) -> Bench:
        bench, memory = self._bench(place)
        reports = Reports(self.reports[0], memory, place)
        generations = Generations(memory)
        bench.sent = iter(generations.next_sent, None)  # type: ignore[assignment]
        share = Share(memory, place, 100 + place, reports, generations)
        bench.store = SharedStore(self.settings, self._held(), bench.fences, bench.clock, bench.metrics, share, reports)
        self.stores.append(bench)
        return bench

    def keeper(self) -> Bench:
        bench, memory = self._bench(KEEPER)
        share = Share(memory, KEEPER, 100, None)
        bench.store = Keeping(
            self.settings, self._held(), bench.fences, bench.clock, bench.metrics, share, self.reports[1]
        )
        self.stores.append(bench)
        return bench

    def answered_for(self, place: int) -> int:
        return self.memory.get(place, Cell.BYTES)

    async def close(self) -> None:
        for bench in self.stores:
            await bench.store.close()
        self.held.release()
        os.close(self.fd)
        for end in self.reports:
            end.close()


@pytest.fixture
async def make_host(tmp_path: Path) -> AsyncIterator[Callable[..., Host]]:
    hosts: list[Host] = []

    def make(capacity: int = 64 * MIB, **more: float) -> Host:
        hosts.append(Host(tmp_path / "store", capacity, **more))
        return hosts[-1]

    yield make
    for host in hosts:
        await host.close()


@pytest.mark.parametrize("size", [SMALL, BIG])
async def test_what_one_stored_another_serves_after_a_proof(make_host: Callable[..., Host], size: int) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    assert (await two.store.lookup(oid("k"))).head is None
    await one.fill("k", size)
    entry = await two.store.lookup(oid("k"))
    assert entry.head is not None
    assert entry.validation is None, "what was read from the disk must be proved here too"
    assert await two.read("k", Interval(0, size)) == pattern("k", size)


async def test_what_one_adds_to_an_object_another_finds_before_it_asks_the_origin(
    make_host: Callable[..., Host],
) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    await one.fill("k", BIG, Interval(0, MIB))
    await two.fill("k", BIG, Interval(MIB, 2 * MIB))
    assert await one.read("k", Interval(0, 2 * MIB)) == pattern("k", BIG)[: 2 * MIB]
    assert await two.read("k", Interval(0, 2 * MIB)) == pattern("k", BIG)[: 2 * MIB]


async def test_what_another_stores_while_one_finds_nothing_is_looked_for_again(
    make_host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That nothing is there is seen without the lock: what comes in between is a change not yet seen."""
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    files = one.store._disk.files
    look, seen, stored = files.is_absent, threading.Event(), threading.Event()

    def slowly(digest: bytes) -> bool:
        absent = look(digest)
        seen.set()
        assert stored.wait(20)
        return absent

    monkeypatch.setattr(files, "is_absent", slowly)
    looking = asyncio.create_task(one.store.lookup(oid("k")))
    assert await asyncio.to_thread(seen.wait, 20)
    await two.fill("k", SMALL)
    await two.settled()
    stored.set()
    entry = await looking
    assert await one.store.refresh_if_changed(entry)
    assert not one.store.missing(entry, Interval(0, SMALL))


async def test_a_range_is_of_the_generation_that_was_the_head_when_it_was_asked_for(
    make_host: Callable[..., Host],
) -> None:
    """A look at the disk in between may bring another one, whose bytes must not go out under the former's head."""
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    former = record("k", BIG)
    assert one.store.publish_head(oid("k"), former, one.fences.token(oid("k")), next(one.sent))
    entry = await one.store.lookup(oid("k"))
    await two.fill("k", BIG, generation=1)
    assert entry.head == former
    assert await one.store.open_range(entry, Interval(0, 100)) is None
    assert await one.read("k", Interval(0, 100)) == pattern("k", BIG, 1)[:100]


async def test_a_raised_fence_counts_in_every_store(make_host: Callable[..., Host]) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    await one.fill("k", SMALL)
    await two.fill("k", SMALL)
    proof = two.store.peek(oid("k")).validation
    assert proof is not None
    assert two.fences.is_current(oid("k"), proof.token)
    one.fences.raise_object(oid("k"))
    assert not two.fences.is_current(oid("k"), proof.token)
    assert not two.store.publish_head(oid("k"), record("k", SMALL, 1), proof.token, next(two.sent))


async def test_what_one_learns_outdates_what_the_others_have_proved(make_host: Callable[..., Host]) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    target = oid("k")
    tokens = {bench: bench.fences.token(target) for bench in (one, two)}
    assert two.store.publish_head(target, record("k", 10), tokens[two], 1)
    assert one.store.publish_head(target, record("k", 10), tokens[one], 2) == tokens[one], (
        "they agree: nothing is raised"
    )
    asked, parallel = one.fences.token(target), one.fences.token(target)
    renewed = one.store.publish_head(target, record("k", 10, 1), asked, 3)
    assert renewed is not None
    assert renewed != asked
    assert one.fences.is_current(target, renewed)
    assert not two.fences.is_current(target, tokens[two])
    assert one.store.publish_head(target, record("k", 10, 1), parallel, 4) == renewed, "what was under way beside it"
    writer = one.store.begin_fill(target, record("k", 10, 1), parallel, 4, Interval(0, 10))
    assert writer is not None
    await writer.discard()


async def test_an_answer_that_another_overtook_leaves_nothing_proved(
    make_host: Callable[..., Host],
) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    target = oid("k")
    token = two.fences.token(target)
    assert two.store.publish_head(target, record("k", 10), token, 2)
    assert not one.store.publish_head(target, record("k", 10, 1), token, 1)
    assert not two.fences.is_current(target, token)
    # The other way round: the later request's answer is refused because the earlier one's outdated its token.
    token = one.fences.token(target)
    renewed = two.store.publish_head(target, record("k", 10, 2), two.fences.token(target), 3)
    assert renewed is not None
    assert not one.store.publish_head(target, record("k", 10, 3), token, 4)
    assert not two.fences.is_current(target, renewed)


async def test_one_that_was_replaced_takes_the_other_generation_from_the_disk(make_host: Callable[..., Host]) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    for bench in (one, two):
        await bench.fill("k", SMALL)
        await bench.fill("long", BIG)
    one.fences.raise_object(oid("k"))
    one.fences.raise_object(oid("long"))
    await one.fill("k", SMALL, generation=1)
    await one.fill("long", BIG, generation=1)
    for key, size in (("k", SMALL), ("long", BIG)):
        entry = await two.store.lookup(oid(key))
        assert entry.head is not None
        assert entry.head.generation == record(key, size, 1).generation
        assert entry.validation is None
        assert await two.read(key, Interval(0, size)) == pattern(key, size, 1)
    await two.settled()
    assert two.metrics.counts[StoreCounter.CORRUPT_FILES] == 0


async def test_an_older_generation_in_memory_does_not_unlink_a_newer_file(make_host: Callable[..., Host]) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    await two.fill("k", SMALL)
    await one.store.lookup(oid("k"))
    one.fences.raise_object(oid("k"))
    await one.fill("k", SMALL, generation=1)
    two.store.drop(oid("k"))  # of the generation that it knows
    await two.settled()
    assert await one.read("k", Interval(0, SMALL)) == pattern("k", SMALL, 1)
    third = host.worker(3)
    assert await third.read("k", Interval(0, SMALL)) in (pattern("k", SMALL, 1), None)


async def test_the_keeper_counts_each_file_once_and_workers_what_it_does_not_know_yet(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    for number in range(5):
        await one.fill(f"a{number}", SMALL)
        await two.fill(f"b{number}", MIB + 17)
    await two.read("a0", Interval(0, SMALL))
    await eventually(lambda: host.memory.total(Cell.BYTES) == disk_use(tmp_path / "store"))
    assert host.answered_for(1) > 0 < host.answered_for(2)
    host.keeper()
    await eventually(lambda: host.answered_for(1) == host.answered_for(2) == 0)
    await eventually(lambda: host.answered_for(KEEPER) == disk_use(tmp_path / "store"))
    await one.fill("more", BIG)
    await eventually(lambda: host.answered_for(1) == 0)
    await eventually(lambda: host.answered_for(KEEPER) == disk_use(tmp_path / "store"))


async def test_the_keeper_keeps_the_capacity_for_all(make_host: Callable[..., Host], tmp_path: Path) -> None:
    host = make_host(capacity=8 * MIB)
    host.keeper()
    one, two = host.worker(1), host.worker(2)
    for number in range(12):
        for bench in (one, two):
            await bench.fill(f"{number}-{id(bench)}", MIB)
            assert disk_use(tmp_path / "store") <= 8 * MIB
    await eventually(lambda: disk_use(tmp_path / "store") <= 8 * MIB)
    for bench in (one, two):
        assert bench.metrics.counts[StoreCounter.STORED_FILES] >= 12
        assert bench.metrics.counts[StoreCounter.CORRUPT_FILES] == 0


async def test_what_workers_use_is_not_the_first_that_the_keeper_forgets_and_evicts(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host(capacity=16 * MIB, index_memory=6 * OBJECT_BYTES)
    keeper = host.keeper()
    one, two = host.worker(1), host.worker(2)
    await one.fill("used", MIB)
    (used,) = stored_files(tmp_path / "store")
    for number in range(40):
        assert await one.read("used", Interval(0, MIB)) is not None, f"evicted after {number} others"
        (extent,) = (await one.store.lookup(oid("used"))).extents
        one.store._reports.used([extent])
        await two.fill(f"other-{number}", MIB)
        await eventually(lambda: host.answered_for(2) == 0)
        assert keeper.store.stats().objects_in_memory <= 7
    assert used.exists()
    assert len(stored_files(tmp_path / "store")) < 20
    assert keeper.store.stats().objects_on_disk_only > 0


async def test_a_reader_keeps_what_was_evicted_and_its_bytes_count_until_it_is_done(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host(capacity=8 * MIB)
    host.keeper()
    one, two = host.worker(1), host.worker(2)
    await one.fill("read", 2 * MIB)
    entry = await one.store.lookup(oid("read"))
    reader = await one.store.open_range(entry, Interval(0, 2 * MIB))
    assert reader is not None
    number = 0
    files = stored_files(tmp_path / "store")
    while any(path.exists() for path in files):
        await two.fill(f"other-{number}", MIB)
        await asyncio.sleep(0.06)
        number += 1
        assert number < 50, "it is never evicted"
    await eventually(lambda: host.answered_for(1) >= 2 * MIB)
    sent = b"".join(os.pread(piece.fd, piece.length, piece.offset_in_file) for piece in reader.pieces)
    assert sent == pattern("read", 2 * MIB)
    reader.close()
    await eventually(lambda: host.answered_for(1) == 0)


async def test_descriptors_of_evicted_files_are_closed_by_who_does_not_read_them(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host(capacity=8 * MIB)
    host.keeper()
    one, two = host.worker(1), host.worker(2)
    await one.fill("idle", MIB)
    await one.read("idle", Interval(0, MIB))
    assert one.store.stats().idle_descriptors == 1
    for number in range(16):
        await two.fill(f"other-{number}", MIB)
    await eventually(lambda: one.store.stats().idle_descriptors == 0)
    await eventually(lambda: host.answered_for(1) == 0)


async def test_a_void_marker_of_one_is_heeded_by_another_and_not_removed_without_a_proof(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    one, two = host.worker(1), host.worker(2)
    await two.fill("k", SMALL)
    one.fences.raise_object(oid("k"))
    await one.store.unpublish(oid("k"))
    assert [path.suffix for path in stored_files(tmp_path / "store")] == [".obj", ".void"]
    entry = await two.store.lookup(oid("k"))
    assert entry.voided
    await two.settled()
    assert [path.suffix for path in stored_files(tmp_path / "store")] == [".obj", ".void"]
    assert two.store.validate(oid("k"), two.fences.token(oid("k")), next(two.sent), two.clock.boot())
    await two.settled()
    assert [path.suffix for path in stored_files(tmp_path / "store")] == [".obj"]


async def test_what_a_dead_process_had_in_progress_is_removed_and_nothing_else(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    keeper = host.keeper()
    fills = tmp_path / "store" / "fills"
    for name in ("101-1.part", "101-2.part.head", "1011-1.part", "102-1.part"):
        (fills / name).write_bytes(b"x")
    assert isinstance(keeper.store, Keeping)
    await keeper.store.remove_parts_of(101)
    assert sorted(path.name for path in fills.iterdir()) == ["1011-1.part", "102-1.part"]
    assert recovery.remove_parts(host.held.fd) == 2


async def test_stores_that_write_the_same_object_at_once_leave_it_whole(make_host: Callable[..., Host]) -> None:
    host = make_host()
    host.keeper()
    benches = [host.worker(place) for place in (1, 2, 3)]
    for turn in range(6):
        size = (SMALL, BIG)[turn % 2]
        key = f"k{turn}"
        await asyncio.gather(*(bench.fill(key, size) for bench in benches))
        for bench in benches:
            await bench.settled()
            assert await bench.read(key, Interval(0, size)) == pattern(key, size)
            assert bench.metrics.counts[StoreCounter.CORRUPT_FILES] == 0


async def test_what_a_worker_stored_and_did_not_tell_of_before_it_died_is_counted(
    make_host: Callable[..., Host], tmp_path: Path
) -> None:
    host = make_host()
    keeper = host.keeper()
    one, two = host.worker(1), host.worker(2)
    await two.fill("known", BIG, Interval(0, MIB))
    await eventually(lambda: host.answered_for(KEEPER) == disk_use(tmp_path / "store"))
    assert isinstance(one.store, SharedStore)
    one.store._watching.cancel()  # it tells nothing any more
    await one.fill("unknown", BIG)
    await one.fill("known", BIG, Interval(MIB, BIG))
    await one.fill("small", SMALL)
    host.memory.clear(1)
    assert host.memory.total(Cell.BYTES) < disk_use(tmp_path / "store")
    assert isinstance(keeper.store, Keeping)
    keeper.store.died(101, crashed=True)
    await eventually(lambda: host.answered_for(KEEPER) == disk_use(tmp_path / "store"))


@pytest.mark.parametrize("message", [b"", b"x" * 23, b"x" * 24, b"x" * LONGEST, b"\3" + bytes(30)])
def test_what_is_no_report_is_not_taken_for_one(message: bytes) -> None:
    assert parse(message) is None


async def test_a_full_socket_loses_no_change(make_host: Callable[..., Host]) -> None:
    host = make_host()
    one = host.worker(1)
    host.reports[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    for number in range(100):
        await one.fill(f"k{number}", 100)
        if number % 3 == 0:
            await asyncio.sleep(0.06)
    told: set[bytes] = set()
    reports: list[Report] = []

    def all_told() -> bool:
        while True:
            try:
                report = parse(host.reports[1].recv(LONGEST))
            except BlockingIOError:
                return len(told) == 100
            assert report is not None
            reports.append(report)
            told.update(report.changed)

    await eventually(all_told)
    assert told == {oid(f"k{number}").digest for number in range(100)}
    assert [report.sequence for report in reports] == list(range(1, len(reports) + 1))
    assert host.answered_for(1) > 0
    host.memory.set(1, Cell.ACKNOWLEDGED, reports[-1].sequence)
    await eventually(lambda: host.answered_for(1) == 0)
