"""P-06: files that are not what they should be are misses, each and every one, and never wrong bytes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from fastcache._core.extent_codec import FORMAT_VERSION
from fastcache.errors import CorruptFileError, StorageError
from fastcache.model import Interval
from fastcache.storage.descriptors import expected_header
from fastcache.storage.layout import object_directory, object_file
from fastcache.storage.metrics import StoreCounter

from .conftest import MIB, Bench, disk_use, oid, pattern, stored_files

BLOCK = 262_144
SIZE = 2 * MIB + 777
SMALL = 5000


async def probe(bench: Bench, key: str, size: int) -> None:
    """After damage and a restart: a miss, or true bytes; and never an exception but the one for a bad block."""
    await bench.reopen()
    await bench.scanned()
    for interval in (Interval(0, size), Interval(size // 2, size)):
        try:
            got = await bench.read(key, interval)
        except CorruptFileError:
            got = None
        assert got is None or got == pattern(key, size)[interval.start : interval.end]
    await bench.settled()
    assert bench.store.stats().used == disk_use(bench.settings.directory)


async def is_miss_and_heals(bench: Bench, key: str, size: int) -> None:
    """The damaged file is noticed, discarded and counted; the object can be stored again."""
    before = bench.metrics.counts[StoreCounter.CORRUPT_FILES]
    await probe(bench, key, size)
    assert bench.metrics.counts[StoreCounter.CORRUPT_FILES] > before
    assert await bench.read(key, Interval(0, size)) is None
    await bench.fill(key, size)
    assert await bench.read(key, Interval(0, size)) == pattern(key, size)


def extent_of(cache: Path) -> Path:
    (path,) = [path for path in stored_files(cache) if path.suffix in (".ext", ".obj")]
    return path


Damage = Callable[[bytes], bytes]
CUTS = sorted({0, 1, 159, 160, 4095, 4096} | {4096 + n * BLOCK + d for n in range(1, 9) for d in (-1, 0, 1)})
DAMAGES: dict[str, Damage] = {
    "zeroed": lambda data: bytes(len(data)),
    "zeroed data": lambda data: data[:4096] + bytes(len(data) - 4096),
    "one byte longer": lambda data: data + b"\0",
    "a block longer": lambda data: data + bytes(BLOCK),
    "another version": lambda data: data[:8] + bytes([FORMAT_VERSION + 1]) + data[9:],
    "another magic": lambda data: b"fcextenT" + data[8:],
    **{f"cut at {at}": (lambda data, at=at: data[:at]) for at in CUTS},
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_damaged_extents_are_misses(bench: Bench, cache: Path, damage: Damage) -> None:
    await bench.fill("k", SIZE)
    path = extent_of(cache)
    path.write_bytes(damage(path.read_bytes()))
    await is_miss_and_heals(bench, "k", SIZE)


@pytest.mark.parametrize("name", ["zeroed", "one byte longer", "another version", "cut at 0", "cut at 1", "cut at 159"])
async def test_damaged_whole_objects_are_misses(bench: Bench, cache: Path, name: str) -> None:
    await bench.fill("k", SMALL)
    path = extent_of(cache)
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    await is_miss_and_heals(bench, "k", SMALL)


async def test_every_header_byte_of_an_extent_on_the_disk(bench: Bench, cache: Path) -> None:
    await bench.fill("k", SIZE)
    path = extent_of(cache)
    good = path.read_bytes()
    files, entry = bench.store._disk.files, await bench.store.lookup(oid("k"))
    (extent,) = entry.extents
    assert entry.head is not None
    expected = expected_header(extent, entry.head.generation)
    for at in range(4096):
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes([good[at] ^ (1 << (at % 8))]))
        with pytest.raises(CorruptFileError):
            files.open_file(extent.path, expected)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(good[at : at + 1])
    os.close(files.open_file(extent.path, expected)[0])


async def test_flipped_bits_of_the_data_are_found_on_first_touch(bench: Bench, cache: Path) -> None:
    dice = random.Random(6)
    for _ in range(25):
        await bench.fill("k", SIZE)
        path = extent_of(cache)
        at = 4096 + dice.randrange(SIZE)
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << dice.randrange(8)]))
        await bench.reopen()
        entry = await bench.store.lookup(oid("k"))
        reader = await bench.store.open_range(entry, Interval(0, SIZE))
        assert reader is not None
        assert reader.unverified_or_cold(Interval(0, SIZE))
        bad = (at - 4096) // BLOCK * BLOCK
        if bad:
            await reader.verify(Interval(0, bad))
            assert not reader.unverified_or_cold(Interval(0, bad))
        with pytest.raises(CorruptFileError):
            await reader.verify(Interval(at - 4096, at - 4095))
        reader.close()
        assert bench.store.missing(entry, Interval(0, SIZE)) == [(0, SIZE)]
        await bench.settled()
        assert disk_use(cache) == bench.store.stats().used


async def test_flipped_bits_of_a_whole_object(bench: Bench, cache: Path) -> None:
    dice = random.Random(7)
    for _ in range(40):
        await bench.fill("k", SMALL)
        path = extent_of(cache)
        data = bytearray(path.read_bytes())
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.write_bytes(data)
        await is_miss_and_heals(bench, "k", SMALL)


async def test_two_swapped_objects_are_misses(bench: Bench, cache: Path) -> None:
    for size, place in ((SMALL, object_file), (SIZE, object_directory)):
        await bench.fill("one", size)
        await bench.fill("two", size)
        one, two = (cache / place(oid(key).digest) for key in ("one", "two"))
        await bench.store.close()
        one.rename(cache / "aside")
        two.rename(one)
        (cache / "aside").rename(two)
        await bench.start()
        for key in ("one", "two"):
            assert await bench.read(key, Interval(0, size)) is None
        await bench.settled()


async def test_two_swapped_extents_of_one_object_are_misses(bench: Bench, cache: Path) -> None:
    await bench.fill("k", 4 * MIB, Interval(0, MIB + 1))
    await bench.fill("k", 4 * MIB, Interval(2 * MIB, 3 * MIB + 1))
    first, second = (path for path in stored_files(cache) if path.suffix == ".ext")
    await bench.store.close()
    first.rename(cache / "aside")
    second.rename(first)
    (cache / "aside").rename(second)
    await bench.start()
    assert await bench.read("k", Interval(0, MIB)) is None
    assert await bench.read("k", Interval(2 * MIB, 3 * MIB)) is None


async def test_an_extent_of_an_older_generation_is_not_attached_to_the_newer(bench: Bench, cache: Path) -> None:
    await bench.fill("k", SIZE, generation=1)
    old = extent_of(cache)
    data, name = old.read_bytes(), old.name
    await bench.fill("k", SIZE, Interval(0, MIB + 1), generation=2)
    await bench.settled()
    new = extent_of(cache)
    await bench.store.close()
    (new.parent / name).write_bytes(data)
    (new.parent / f"{new.name[:16]}-0-{SIZE}.ext").write_bytes(data)  # under the newer generation's name
    await bench.start()
    await bench.scanned()
    got = await bench.read("k", Interval(0, SIZE))
    assert got is None
    await bench.settled()
    assert bench.store.stats().used == disk_use(cache)


@pytest.mark.parametrize("damage", ["gone", "zeroed", "empty", "another object's", "flipped"])
async def test_without_a_good_head_the_extents_are_nothing(bench: Bench, cache: Path, damage: str) -> None:
    await bench.fill("k", SIZE)
    await bench.fill("other", SIZE)
    head = cache / object_directory(oid("k").digest) / "head"
    data = head.read_bytes()
    await bench.store.close()
    if damage == "gone":
        head.unlink()
    else:
        other = (cache / object_directory(oid("other").digest) / "head").read_bytes()
        flipped = data[:200] + bytes([data[200] ^ 4]) + data[201:]
        head.write_bytes(
            {"zeroed": bytes(len(data)), "empty": b"", "another object's": other, "flipped": flipped}[damage]
        )
    await bench.start()
    assert (await bench.store.lookup(oid("k"))).head is None
    await bench.scanned()
    await bench.settled()
    assert not (cache / object_directory(oid("k").digest)).exists()
    assert bench.store.stats().used == disk_use(cache)
    await bench.fill("k", SIZE)
    assert await bench.read("k", Interval(0, SIZE)) == pattern("k", SIZE)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize("plant", [make_fifo, make_link])
@pytest.mark.parametrize("size", [SMALL, SIZE])
async def test_something_else_under_a_files_name_is_a_miss(
    bench: Bench, cache: Path, plant: Callable[[Path], None], size: int
) -> None:
    await bench.fill("k", size)
    path = extent_of(cache)
    await bench.store.close()
    path.unlink()
    plant(path)
    await bench.start()
    assert await bench.read("k", Interval(0, size)) is None
    await bench.fill("k", size)
    assert await bench.read("k", Interval(0, size)) == pattern("k", size)


async def test_links_planted_for_directories_are_not_followed(bench: Bench, cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x")
    digest = oid("k").digest
    shard = cache / "objects" / digest[:1].hex()
    shard.symlink_to(outside)
    target = oid("k")
    assert (await bench.store.lookup(target)).head is None
    with pytest.raises(StorageError):
        await bench.fill("k", SIZE)
    await bench.settled()
    assert sorted(path.name for path in outside.rglob("*")) == ["precious"]
    assert bench.store.stats().used == disk_use(cache)


async def test_a_link_planted_for_an_objects_directory_is_not_followed(
    bench: Bench, cache: Path, tmp_path: Path
) -> None:
    await bench.fill("k", SIZE)
    directory = cache / object_directory(oid("k").digest)
    await bench.store.close()
    outside = tmp_path / "outside"
    directory.rename(outside)
    directory.symlink_to(outside)
    await bench.start()
    assert await bench.read("k", Interval(0, SIZE)) is None
    await bench.fill("k", SIZE)
    assert await bench.read("k", Interval(0, SIZE)) == pattern("k", SIZE)
    assert len(list(outside.iterdir())) == 2
