"""P-42: what somebody plants in the cache directory is not followed, not waited for and not written to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.storage.conftest import MIB, Bench, disk_use, oid, pattern, record

from fastcache.errors import CacheDirectoryError, StorageError
from fastcache.model import Interval
from fastcache.storage import layout
from fastcache.storage.store import StoreSettings

SMALL, BIG = 5_000, 2 * MIB
CANARY = b"the canary must stay as it is" * 1000
Plant = Callable[[Path, Path], None]
"""Puts something at the first path; the second is a directory outside of the cache."""


def link_to_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "canary")


def hard_link(path: Path, outside: Path) -> None:
    os.link(outside / "canary", path)


def link_to_directory(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "made-by-fastcache")


def link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path)


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def link_to_fifo(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "fifo")


def directory(path: Path, outside: Path) -> None:
    path.mkdir()


def full_directory(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "something").write_bytes(b"x")


def unix_socket(path: Path, outside: Path) -> None:
    # Bound by a short name and moved: a socket's address is at most 108 bytes long.
    short = Path("/tmp", f"fastcache-{os.getpid()}.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short))
    shutil.move(short, path)


PLANTS = [
    link_to_file, hard_link, link_to_directory, link_to_nothing, link_to_itself, fifo, link_to_fifo, directory,
    full_directory, unix_socket,
]  # fmt: skip

SMALL_DIGEST, BIG_DIGEST = oid("small").digest, oid("big").digest
PLACES = {
    "object": layout.object_file(SMALL_DIGEST),
    "object of a directory": layout.object_file(BIG_DIGEST),
    "directory": layout.object_directory(BIG_DIGEST),
    "directory of a file": layout.object_directory(SMALL_DIGEST),
    "head": f"{layout.object_directory(BIG_DIGEST)}/{layout.HEAD}",
    "extent": "{extent}",
    "void": layout.void_file(SMALL_DIGEST),
    "void of a directory": layout.void_file(BIG_DIGEST),
    "outer shard": layout.shard_of(SMALL_DIGEST)[0],
    "inner shard": layout.shard_of(BIG_DIGEST)[1],
    "part": layout.part_file(0, 1),
    "part's head": layout.part_file(0, 1) + ".head",
    "fills": layout.FILLS,
    "objects": layout.OBJECTS,
    "FORMAT": layout.FORMAT,
    "LOCK": layout.LOCK,
    "FORMAT.new": layout.FORMAT + ".new",
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "canary").write_bytes(CANARY)
    os.mkfifo(path / "fifo")
    return path


def snapshot(outside: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in outside.iterdir()}


def place_in(cache: Path, place: str) -> Path:
    (extent, *_) = cache.rglob("*.ext")
    return cache / PLACES[place].format(extent=extent.relative_to(cache))


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


async def use(bench: Bench) -> None:
    """Everything a store is asked to do with two objects, checked for wrong bytes only."""
    for key, size in (("small", SMALL), ("big", BIG)):
        got = await bench.read(key, Interval(0, size))
        assert got is None or got == pattern(key, size)
        await bench.store.unpublish(oid(key))
        for generation in (0, 1):
            with contextlib.suppress(StorageError):  # it is not stored, and said so
                await bench.fill(key, size, generation=generation)
            got = await bench.read(key, Interval(0, size))
            assert got is None or got == pattern(key, size, generation)
        head = record(key, size, 1, x="changed")
        bench.store.publish_head(oid(key), head, bench.fences.token(oid(key)), next(bench.sent))
        await bench.settled()
        bench.store.drop(oid(key))
        await bench.settled()


async def plant_and_use(cache: Path, outside: Path, place: str, plant: Plant, *, running: bool) -> None:
    settings = StoreSettings(cache, 64 * MIB, io_threads=1)
    bench = Bench(settings)
    await bench.start()
    for key, size in (("small", SMALL), ("big", BIG)):
        await bench.fill(key, size)
    if not running:
        await bench.store.close()
    path = place_in(cache, place)
    remove(path)
    if place == "FORMAT.new":
        shutil.rmtree(cache / layout.OBJECTS)
        shutil.rmtree(cache / layout.FILLS)
        (cache / layout.FORMAT).unlink()
    plant(path, outside)
    before = snapshot(outside)
    if not running:
        bench = Bench(settings)
        try:
            await bench.start()
        except CacheDirectoryError:
            assert snapshot(outside) == before
            return
    try:
        await bench.scanned()
        await bench.settled()
        await use(bench)
        await bench.settled()
        if plant not in (
            directory,
            full_directory,
            link_to_itself,
        ):  # what cannot be removed stays counted until the next start
            assert bench.store.stats().used <= disk_use(cache) + 64 * 1024
    finally:
        await bench.store.close()
    assert snapshot(outside) == before


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.__name__ for plant in PLANTS])
async def test_what_is_planted_before_the_start_is_harmless(tmp_path: Path, outside: Path, plant: Plant) -> None:
    for number, place in enumerate(PLACES):
        try:
            async with asyncio.timeout(20):
                await plant_and_use(tmp_path / f"cache-{number}", outside, place, plant, running=False)
        except (Exception, asyncio.CancelledError) as error:
            raise AssertionError(f"{plant.__name__} as {place}: {error!r}") from error


IN_USE = [name for name in PLACES if name not in ("FORMAT", "LOCK", "FORMAT.new")]
"""What is opened or made again and again while a store runs."""
NOT_ABOVE = [name for name in IN_USE if "shard" not in name and name not in ("fills", "objects")]
"""Directories above everything are trusted once they were seen to be our own."""


@pytest.mark.parametrize("plant", PLANTS, ids=[plant.__name__ for plant in PLANTS])
async def test_what_is_planted_under_a_running_store_is_harmless(tmp_path: Path, outside: Path, plant: Plant) -> None:
    for number, place in enumerate(NOT_ABOVE):
        try:
            async with asyncio.timeout(20):
                await plant_and_use(tmp_path / f"cache-{number}", outside, place, plant, running=True)
        except (Exception, asyncio.CancelledError) as error:
            raise AssertionError(f"{plant.__name__} as {place}: {error!r}") from error


@pytest.mark.parametrize("plant", [link_to_file, fifo, unix_socket, link_to_itself, hard_link])
@pytest.mark.parametrize("place", ["object", "head", "extent"])
async def test_an_object_is_stored_again_after_something_took_the_place_of_its_file(
    tmp_path: Path, outside: Path, place: str, plant: Plant
) -> None:
    bench = Bench(StoreSettings(tmp_path / "cache", 64 * MIB))
    await bench.start()
    for key, size in (("small", SMALL), ("big", BIG)):
        await bench.fill(key, size)
    await bench.store.close()
    path = place_in(tmp_path / "cache", place)
    remove(path)
    plant(path, outside)
    await bench.start()
    try:
        for key, size in (("small", SMALL), ("big", BIG)):
            await bench.read(key, Interval(0, size))
            await bench.fill(key, size)
            assert await bench.read(key, Interval(0, size)) == pattern(key, size)
        assert (outside / "canary").read_bytes() == CANARY
    finally:
        await bench.store.close()
