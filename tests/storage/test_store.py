"""The store as the engine uses it: heads, fills, ranges, writes, restarts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fastcache.errors import StorageError
from fastcache.model import Interval
from fastcache.storage.files import Marked
from fastcache.storage.known import EXTENT_BYTES, OBJECT_BYTES
from fastcache.storage.layout import object_directory, object_file, void_file
from fastcache.storage.metrics import StoreCounter

from .conftest import MIB, Bench, MakeBench, disk_use, oid, pattern, record, stored_files

BIG = 3 * MIB + 12_345


async def test_a_filled_object_is_read_back_and_survives_a_restart(bench: Bench) -> None:
    await bench.fill("big", BIG)
    assert await bench.read("big", Interval(0, BIG)) == pattern("big", BIG)
    await bench.reopen()
    assert await bench.read("big", Interval(1000, BIG - 7)) == pattern("big", BIG)[1000 : BIG - 7]
    entry = await bench.store.lookup(oid("big"))
    assert entry.validation is None
    assert entry.head == record("big", BIG)


async def test_a_whole_small_object_is_one_file(bench: Bench, cache: Path) -> None:
    await bench.fill("small", 5000)
    assert [path.relative_to(cache) for path in stored_files(cache)] == [Path(object_file(oid("small").digest))]
    await bench.reopen()
    assert await bench.read("small", Interval(10, 5000)) == pattern("small", 5000)[10:]


async def test_an_object_without_bytes_is_stored_and_hits_after_a_restart(bench: Bench) -> None:
    await bench.fill("empty", 0)
    await bench.reopen()
    entry = await bench.store.lookup(oid("empty"))
    assert entry.head == record("empty", 0)
    assert bench.store.missing(entry, Interval(0, 0)) == []
    assert await bench.read("empty", Interval(0, 0)) == b""


async def test_only_what_is_missing_is_written(bench: Bench, cache: Path) -> None:
    await bench.fill("big", BIG, Interval(MIB, 2 * MIB))
    entry = await bench.fill("big", BIG, Interval(0, BIG))
    assert [(extent.start, extent.end) for extent in entry.extents] == [(0, MIB), (MIB, 2 * MIB), (2 * MIB, BIG)]
    assert await bench.read("big", Interval(0, BIG)) == pattern("big", BIG)


async def test_gaps_are_named_and_a_range_with_a_gap_is_a_miss(bench: Bench) -> None:
    await bench.fill("big", BIG, Interval(100, 5000))
    entry = await bench.fill("big", BIG, Interval(8000, 9000))
    assert bench.store.missing(entry, Interval(0, 10_000)) == [(0, 100), (5000, 8000), (9000, 10_000)]
    assert bench.store.missing(entry, Interval(8000, 9000)) == []
    assert await bench.read("big", Interval(4999, 8001)) is None
    assert await bench.read("big", Interval(4000, 5000)) == pattern("big", BIG)[4000:5000]


async def test_a_prefix_is_kept_when_the_transfer_ends_early(bench: Bench) -> None:
    target = oid("cut")
    writer = bench.store.begin_fill(target, record("cut", BIG), bench.fences.token(target), 1, Interval(0, BIG))
    assert writer is not None
    await writer.write(0, [memoryview(pattern("cut", BIG))[:2_000_001]])
    await writer.finish()
    assert await bench.read("cut", Interval(0, 2_000_001)) == pattern("cut", BIG)[:2_000_001]
    await bench.reopen()
    assert await bench.read("cut", Interval(0, 2_000_001)) == pattern("cut", BIG)[:2_000_001]
    assert await bench.read("cut", Interval(0, 2_000_002)) is None


@pytest.mark.parametrize("size", [BIG, 300_000])
async def test_rotate_makes_what_was_written_readable_before_the_end(bench: Bench, size: int) -> None:
    target, data = oid("slow"), memoryview(pattern("slow", size))
    writer = bench.store.begin_fill(target, record("slow", size), bench.fences.token(target), 1, Interval(0, size))
    assert writer is not None
    await writer.write(0, [data[:200_000]])
    assert writer.written == 200_000
    await writer.rotate()
    assert await bench.read("slow", Interval(0, 200_000)) == data[:200_000]
    await writer.write(200_000, [data[200_000:]])
    await writer.finish()
    assert await bench.read("slow", Interval(0, size)) == data


async def test_long_fills_become_extents_on_the_grid_by_themselves(make_bench: MakeBench) -> None:
    bench = await make_bench(capacity=16 * MIB)
    entry = await bench.fill("big", BIG, Interval(500_000, BIG))
    assert [extent.end for extent in entry.extents] == [MIB, 2 * MIB, 3 * MIB, BIG]
    assert await bench.read("big", Interval(500_000, BIG)) == pattern("big", BIG)[500_000:]


async def test_discard_leaves_nothing(bench: Bench, cache: Path) -> None:
    target = oid("gone")
    writer = bench.store.begin_fill(target, record("gone", BIG), bench.fences.token(target), 1, Interval(0, BIG))
    assert writer is not None
    await writer.write(0, [memoryview(pattern("gone", BIG))[: 2 * MIB]])
    await writer.discard()
    assert disk_use(cache) == 0 == bench.store.stats().used


async def test_bytes_out_of_order_are_refused(bench: Bench) -> None:
    target = oid("k")
    writer = bench.store.begin_fill(target, record("k", BIG), bench.fences.token(target), 1, Interval(0, BIG))
    assert writer is not None
    with pytest.raises(ValueError, match="out of order"):
        await writer.write(5, [memoryview(b"x")])
    with pytest.raises(ValueError, match="out of order"):
        await writer.write(0, [memoryview(bytes(BIG + 1))])
    await writer.discard()
    with pytest.raises(ValueError, match="outside"):
        bench.store.begin_fill(target, record("k", 10), bench.fences.token(target), 1, Interval(0, 11))


async def test_a_cancelled_write_keeps_only_what_was_complete_before(bench: Bench) -> None:
    target, data = oid("k"), memoryview(pattern("k", BIG))
    writer = bench.store.begin_fill(target, record("k", BIG), bench.fences.token(target), 1, Interval(0, BIG))
    assert writer is not None
    await writer.write(0, [data[:MIB]])
    task = asyncio.ensure_future(writer.write(MIB, [data[MIB : 2 * MIB]]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await writer.finish()
    entry = await bench.store.lookup(target)
    end = entry.extents.covered_until(0)
    assert end >= MIB
    assert await bench.read("k", Interval(0, end)) == data[:end]


# -- fences and generations


async def test_a_fill_under_an_outdated_fence_is_discarded(bench: Bench, cache: Path) -> None:
    for size in (5000, BIG):
        target = oid(f"raced-{size}")
        writer = bench.store.begin_fill(target, record("k", size), bench.fences.token(target), 1, Interval(0, size))
        assert writer is not None
        await writer.write(0, [memoryview(bytes(size))[: size - 1]])
        bench.fences.raise_object(target)
        with pytest.raises(StorageError):
            await writer.write(size - 1, [memoryview(b"x")])
        await writer.finish()
    assert disk_use(cache) == 0 == bench.store.stats().used
    assert bench.metrics.counts[StoreCounter.DISCARDED_FILLS] == 2


async def test_heads_are_taken_only_under_current_fences_and_in_the_order_of_the_requests(bench: Bench) -> None:
    target, store = oid("k"), bench.store
    old = bench.fences.token(target)
    assert store.publish_head(target, record("k", 10, 1), old, 5)
    assert not store.publish_head(target, record("k", 10, 0), old, 4)
    bench.fences.raise_bucket(target)
    assert not store.publish_head(target, record("k", 10, 2), old, 9)
    assert not store.validate(target, old, 9, 1.0)
    entry = await store.lookup(target)
    assert entry.head == record("k", 10, 1)
    assert store.validate(target, bench.fences.token(target), 9, 77.0)
    assert entry.validation is not None
    assert entry.validation.at == 77.0
    store.unvalidate(target)
    assert entry.validation is None


@pytest.mark.parametrize("written", [False, True])
async def test_after_an_answer_that_comes_too_late_to_be_kept_the_other_generation_must_be_proved_again(
    bench: Bench, written: bool
) -> None:
    """Its client gets it, and the origin may have answered in another order than it was asked."""
    target, store = oid("k"), bench.store
    before = bench.fences.token(target)
    if written:
        bench.fences.raise_object(target)
    token = bench.fences.token(target)
    assert store.publish_head(target, record("k", 10, 1), token, 5)
    assert not store.publish_head(target, record("k", 10, 2), before, 4)
    assert not bench.fences.is_current(target, token)
    entry = await store.lookup(target)
    assert entry.head == record("k", 10, 1)


async def test_ranges_of_one_generation_answered_out_of_order_are_all_current(bench: Bench) -> None:
    """Sixteen parallel reads overtake each other on the way to the origin and back; none of them is a step back."""
    target, store = oid("k"), bench.store
    token = bench.fences.token(target)
    assert store.publish_head(target, record("k", 10, 1, x="later"), token, 9)
    store.validate(target, token, 9, 50.0)
    assert store.publish_head(target, record("k", 10, 1, x="earlier"), token, 4)
    entry = await store.lookup(target)
    assert entry.head is not None
    assert entry.head.get(b"x") == b"later"
    assert entry.validation is not None
    assert (entry.validation.sent, entry.validation.at) == (9, 50.0)
    writer = store.begin_fill(target, record("k", 10, 1), token, 4, Interval(0, 5))
    assert writer is not None
    await writer.discard()


async def test_another_generation_removes_the_old_extents(bench: Bench, cache: Path) -> None:
    await bench.fill("k", BIG, generation=1)
    await bench.fill("k", 5000, generation=2)
    await bench.settled()
    assert [path.suffix for path in stored_files(cache)] == [".obj"]
    entry = await bench.fill("k", BIG, Interval(0, 2 * MIB), generation=3)
    await bench.settled()
    assert sorted(path.suffix for path in stored_files(cache)) == ["", ".ext"]
    assert bench.store.missing(entry, Interval(0, BIG)) == [(2 * MIB, BIG)]
    assert disk_use(cache) == bench.store.stats().used
    await bench.reopen()
    assert await bench.read("k", Interval(0, 2 * MIB)) == pattern("k", BIG, 3)[: 2 * MIB]


@pytest.mark.parametrize("size", [5000, BIG])
async def test_the_same_generation_with_other_headers_keeps_its_extents(bench: Bench, cache: Path, size: int) -> None:
    await bench.fill("k", size)
    changed = record("k", size, x="new")
    assert bench.store.publish_head(oid("k"), changed, bench.fences.token(oid("k")), 99)
    await bench.settled()
    assert await bench.read("k", Interval(0, size)) == pattern("k", size)
    assert disk_use(cache) == bench.store.stats().used
    await bench.reopen()
    assert (await bench.store.lookup(oid("k"))).head == changed
    assert await bench.read("k", Interval(0, size)) == pattern("k", size)


async def test_rewriting_a_whole_object_leaves_its_readers_their_bytes(bench: Bench, cache: Path) -> None:
    entry = await bench.fill("k", 5000)
    reader = await bench.store.open_range(entry, Interval(0, 5000))
    assert reader is not None
    bench.store.publish_head(oid("k"), record("k", 5000, x="new"), bench.fences.token(oid("k")), 99)
    await bench.settled()
    (piece,) = reader.pieces
    assert os.pread(piece.fd, piece.length, piece.offset_in_file) == pattern("k", 5000)
    assert bench.store.stats().used == disk_use(cache) + 8192  # the old file is unlinked, but open
    reader.close()
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache)


# -- writes


async def test_unpublish_is_on_the_disk_when_it_returns_and_a_new_proof_removes_it(bench: Bench, cache: Path) -> None:
    target = oid("k")
    await bench.fill("k", BIG)
    bench.fences.raise_object(target)
    await bench.store.unpublish(target)
    marker = cache / void_file(target.digest)
    assert marker.exists()
    await bench.reopen()
    entry = await bench.store.lookup(target)
    assert entry.voided
    assert entry.validation is None
    assert bench.store.missing(entry, Interval(0, BIG)) == []
    assert bench.store.validate(target, bench.fences.token(target), 1, 5.0)
    await bench.settled()
    assert not entry.voided
    assert not marker.exists()


async def test_unpublish_marks_an_object_nobody_has_asked_for_since_the_start(bench: Bench, cache: Path) -> None:
    await bench.fill("k", 5000)
    await bench.reopen()
    await bench.store.unpublish(oid("k"))
    await bench.store.unpublish(oid("nothing"))
    assert [path.suffix for path in stored_files(cache)] == [".obj", ".void"]
    assert (await bench.store.lookup(oid("k"))).voided


async def test_the_disk_is_asked_once_until_something_changes(
    bench: Bench, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    mark = bench.store._disk.files.mark_void

    def counted(digest: bytes) -> Marked:
        asked.append(digest)
        return mark(digest)

    monkeypatch.setattr(bench.store._disk.files, "mark_void", counted)
    target, nothing = oid("k"), oid("nothing")
    await bench.fill("k", 5000)
    for _ in range(3):
        await bench.store.unpublish(target, nothing)
    assert asked == [target.digest, nothing.digest]
    assert bench.store.validate(target, bench.fences.token(target), next(bench.sent), 5.0)
    await bench.store.unpublish(target)  # beside what takes the mark away
    assert asked == [target.digest, nothing.digest, target.digest]
    await bench.settled()
    assert (cache / void_file(target.digest)).exists()
    await bench.fill("nothing", 5000)
    await bench.store.unpublish(nothing)
    assert (cache / void_file(nothing.digest)).exists()


async def test_drop_forgets_and_frees_but_not_under_a_reader(bench: Bench, cache: Path) -> None:
    entry = await bench.fill("k", BIG)
    used = bench.store.stats().used
    reader = await bench.store.open_range(entry, Interval(0, BIG))
    assert reader is not None
    bench.store.drop(oid("k"))
    await bench.settled()
    assert entry.head is None
    assert disk_use(cache) == 0
    assert 0 < bench.store.stats().used < used  # directory and head are gone, the open file is not
    await reader.verify(Interval(0, BIG))
    reader.close()
    await bench.settled()
    assert bench.store.stats().used == 0


async def test_dropping_what_only_the_disk_knows(bench: Bench, cache: Path) -> None:
    await bench.fill("k", BIG)
    await bench.reopen()
    bench.store.drop(oid("k"))
    await bench.settled()
    assert (await bench.store.lookup(oid("k"))).head is None
    assert disk_use(cache) == 0 == bench.store.stats().used


# -- sharing


async def test_concurrent_lookups_share_one_load(bench: Bench) -> None:
    await bench.fill("k", BIG)
    await bench.reopen()
    assert bench.store.peek(oid("k")) is None
    entries = await asyncio.gather(*(bench.store.lookup(oid("k")) for _ in range(20)))
    assert {id(entry) for entry in entries} == {id(bench.store.peek(oid("k")))}


async def test_descriptors_are_shared_bounded_and_closed(no_descriptor_leaks: None, make_bench: MakeBench) -> None:
    bench = await make_bench(idle_descriptors=20)
    for n in range(60):
        await bench.fill(f"k{n}", 5000)
        assert await bench.read(f"k{n}", Interval(0, 5000)) == pattern(f"k{n}", 5000)
    await bench.settled()
    assert bench.store.stats().idle_descriptors <= 20
    entry = await bench.store.lookup(oid("k59"))
    readers = [await bench.store.open_range(entry, Interval(0, 10)) for _ in range(5)]
    assert len({reader.pieces[0].fd for reader in readers if reader}) == 1
    for reader in readers:
        assert reader is not None
        reader.close()
        reader.close()
    await bench.store.close()


async def test_the_number_of_objects_in_memory_is_bounded_and_forgotten_ones_are_found_again(
    make_bench: MakeBench, cache: Path
) -> None:
    bench = await make_bench(index_memory=10 * (OBJECT_BYTES + EXTENT_BYTES))
    for n in range(50):
        await bench.fill(f"k{n}", 5000)
    stats = bench.store.stats()
    assert stats.objects_in_memory <= 11
    assert stats.used == disk_use(cache)
    for n in range(50):
        assert await bench.read(f"k{n}", Interval(0, 5000)) == pattern(f"k{n}", 5000)
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache)
    late = bench.fences.token(oid("k0"))
    assert not bench.store.publish_head(oid("never seen"), record("never seen", 1), late, 1)


async def test_what_is_written_and_never_read_is_forgotten_too(make_bench: MakeBench) -> None:
    """Else a host to which backups are written keeps every name for good."""
    bench = await make_bench(index_memory=10 * (OBJECT_BYTES + EXTENT_BYTES))
    for n in range(20):
        await bench.fill(f"k{n}", 5000)
    for n in range(50):
        await bench.store.unpublish(oid(f"k{n}"), oid(f"other {n}"))
    assert bench.store.stats().objects_in_memory <= 11
    for n in range(20):
        entry = await bench.store.lookup(oid(f"k{n}"))
        assert entry.voided
        assert entry.validation is None


async def test_write_behind_is_bounded(make_bench: MakeBench) -> None:
    bench = await make_bench(write_behind_limit=10_000)
    token = bench.fences.token(oid("a"))
    first = bench.store.begin_fill(oid("a"), record("a", 6000), token, 1, Interval(0, 6000))
    assert first is not None
    refused = bench.store.begin_fill(oid("b"), record("b", 6000), bench.fences.token(oid("b")), 2, Interval(0, 6000))
    assert refused is None
    await first.discard()
    again = bench.store.begin_fill(oid("b"), record("b", 6000), bench.fences.token(oid("b")), 3, Interval(0, 6000))
    assert again is not None
    await again.discard()


async def test_durability_fsync_stores_the_same(make_bench: MakeBench) -> None:
    bench = await make_bench(durability="fsync")
    await bench.fill("big", BIG)
    await bench.fill("small", 5000)
    await bench.store.unpublish(oid("small"))
    await bench.reopen()
    assert await bench.read("big", Interval(0, BIG)) == pattern("big", BIG)
    assert (await bench.store.lookup(oid("small"))).voided


async def test_when_both_layouts_are_there_the_later_answer_counts(bench: Bench, cache: Path) -> None:
    digest = oid("k").digest
    await bench.fill("k", 5000, generation=1)
    small = (cache / object_file(digest)).read_bytes()
    for generation, expected in ((2, 2), (0, 1)):
        bench.store.drop(oid("k"))
        await bench.settled()
        await bench.fill("k", BIG, generation=generation)
        await bench.store.close()
        (cache / object_file(digest)).write_bytes(small)
        await bench.start()
        entry = await bench.store.lookup(oid("k"))
        assert entry.head is not None
        assert entry.head.generation.etag == b'"k-%d"' % expected
        assert (cache / object_file(digest)).exists() == (expected == 1)
        assert (cache / object_directory(digest)).exists() == (expected == 2)
        await bench.scanned()
        assert bench.store.stats().used == disk_use(cache)


@pytest.mark.parametrize(("taken", "kept"), [(4096, False), (40_000, True)])
async def test_a_small_fill_keeps_the_memory_of_a_piece_only_if_that_is_most_of_it(
    bench: Bench, taken: int, kept: bool
) -> None:
    """Else thousands of small ones, in memory until they are written, would hold a block of the network each."""
    token, sent = bench.fences.token(oid("k")), next(bench.sent)
    writer = bench.store.begin_fill(oid("k"), record("k", taken), token, sent, Interval(0, taken))
    assert writer is not None
    block = bytearray(64 * 1024)
    block[:taken] = pattern("k", taken)
    view = memoryview(block)
    await writer.write(0, [view[:taken]])
    view.release()
    if kept:
        with pytest.raises(BufferError):
            block.append(0)
    else:
        block.append(0)  # nobody holds it
        block[:taken] = bytes(taken)
    await writer.finish()
    assert await bench.read("k", Interval(0, taken)) == pattern("k", taken)
