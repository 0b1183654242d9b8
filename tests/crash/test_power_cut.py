"""P-05: after a power cut what is read is true, and with ``durability: fsync`` everything committed is there.

FS_IOC_SHUTDOWN stops a file system at once: nothing reaches its device any more. What is found after the next mount is
what a power cut would have left.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.crash import victim
from tests.harness.tools import require_tool
from tests.storage.conftest import CountingMetrics, disk_use, eventually

from fastcache._core.fences import Fences
from fastcache.clock import SystemClock
from fastcache.errors import CacheDirectoryError, StorageError
from fastcache.model import Interval
from fastcache.storage.store import Store, StoreSettings

FS_IOC_SHUTDOWN = 0x8004587D
LOG_FLUSHED, LOG_LOST = 1, 2
"""With the journal's last transactions written, or without: the two ends of what a power cut may leave."""
MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}
TOOLS = {"ext4": "loopmount", "xfs": "xfs"}
IMAGE_SIZE = 320 << 20
"""XFS makes none smaller; the images are sparse."""
KEYS = ("a", "b", "c", "d", "f", "g")


class Disk:
    """A file system in a file."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.image = directory / f"{kind}.image"
        self.mount_point = directory / kind
        self.mount_point.mkdir()
        with self.image.open("wb") as file:
            file.truncate(IMAGE_SIZE)
        subprocess.run([*MAKE[kind], str(self.image)], check=True, capture_output=True)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        subprocess.run(["mount", "-o", "loop", self.image, self.mount_point], check=True)
        try:
            yield self.mount_point / "cache"
        finally:
            subprocess.run(["umount", self.mount_point], check=True)

    def cut(self, how: int) -> None:
        fd = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", how))
        finally:
            os.close(fd)


class Load:
    """Random operations on a store until the disk is gone; ``committed``: what a cut may not take with fsync."""

    def __init__(self, store: Store, fences: Fences, seed: int) -> None:
        self.store = store
        self.fences = fences
        self.dice = random.Random(seed)
        self.committed: dict[str, tuple[int, list[Interval]]] = {}
        self.voided: set[str] = set()
        self.generations = dict.fromkeys(KEYS, seed * 1000)
        self.sent = 0
        self.cut = threading.Event()
        self.has_committed = threading.Event()

    async def run(self) -> None:
        while not self.cut.is_set():
            await asyncio.gather(*(self.turn(key) for key in self.dice.sample(KEYS, 2)))

    async def turn(self, key: str) -> None:
        self.committed.pop(key, None)
        self.voided.discard(key)
        operation = self.dice.choice((self.fill, self.fill, self.fill, self.unpublish, self.republish))
        await operation(key)
        entry = await self.store.lookup(victim.object_id(key))
        await self.store._disk.settle(entry)
        if self.cut.is_set() or entry.head is None or entry.doomed:
            return
        held = [Interval(extent.start, extent.end) for extent in entry.extents]
        self.committed[key] = victim.generation_of(entry.head), held
        if held:
            self.has_committed.set()
        if entry.voided and entry.void_on_disk:
            self.voided.add(key)

    async def fill(self, key: str) -> None:
        if self.dice.random() < 0.3:
            self.generations[key] += 1
        size, generation = victim.SIZES[key], self.generations[key]
        start = self.dice.choice((0, self.dice.randrange(size)))
        end = self.dice.choice((size, self.dice.randrange(start, size) + 1))
        self.sent += 1
        target = victim.object_id(key)
        writer = self.store.begin_fill(
            target, victim.head(key, generation), self.fences.token(target), self.sent, Interval(start, end)
        )
        if writer is None:
            await asyncio.sleep(0.001)
            return
        try:
            with contextlib.suppress(StorageError):
                for at in range(start, end, 200_000):
                    piece = victim.content(key, generation, at, min(at + 200_000, end))
                    await writer.write(at, [memoryview(piece)])
        finally:
            await writer.finish()

    async def unpublish(self, key: str) -> None:
        self.fences.raise_object(victim.object_id(key))
        await self.store.unpublish(victim.object_id(key))

    async def republish(self, key: str) -> None:
        self.sent += 1
        target = victim.object_id(key)
        record = victim.head(key, self.generations[key], str(self.sent))
        self.store.publish_head(target, record, self.fences.token(target), self.sent)


async def live_until_the_cut(cache: Path, durability: str, seed: int, cut: Callable[[], None]) -> Load:
    settings = StoreSettings(cache, 16 << 20, durability=durability)  # type: ignore[arg-type]
    fences = Fences()
    store = await Store.open(settings, fences, SystemClock())
    try:
        load = Load(store, fences, seed)

        def cut_at_some_time() -> None:
            if seed // 2 % 2:  # else there may be nothing yet, on a slow disk nearly always
                load.has_committed.wait(60)
            time.sleep(load.dice.uniform(0.0, 0.3))
            # Before: what is reported as committed from here on may or may not have reached the device.
            load.cut.set()
            cut()

        cutting = asyncio.create_task(asyncio.to_thread(cut_at_some_time))
        await load.run()
        await cutting
        return load
    finally:
        await store.close()


async def check(cache: Path, load: Load | None, *, committed: bool) -> int:
    """Every byte that can be read is true; the number of bytes read."""
    metrics = CountingMetrics()
    store = await Store.open(StoreSettings(cache, 16 << 20), Fences(), SystemClock(), metrics)
    try:
        assert os.listdir(cache / "fills") == []
        read = 0
        for key in KEYS:
            entry = await store.lookup(victim.object_id(key))
            assert entry.validation is None
            for extent in list(entry.extents):
                read += await _read(store, key, Interval(extent.start, extent.end))
            await store._disk.idle()
            if committed and load is not None:
                generation, intervals = load.committed.get(key, (-1, []))
                missing = [interval for interval in intervals if store.missing(entry, interval)]
                assert not missing, (key, missing)
                assert not intervals or (entry.head and victim.generation_of(entry.head) == generation), key
                assert key not in load.voided or entry.voided or entry.head is None, key
        await eventually(lambda: store.stats().scanned)
        await store._disk.idle()
        assert store.stats().used == disk_use(cache)
        return read
    finally:
        await store.close()


async def _read(store: Store, key: str, interval: Interval) -> int:
    """The bytes of an extent, or none for one that the cut left torn: a miss, not a failure."""
    entry = await store.lookup(victim.object_id(key))
    assert entry.head is not None
    reader = await store.open_range(entry, interval)
    if reader is None:
        return 0
    try:
        await reader.verify(interval)
        got = b"".join(os.pread(piece.fd, piece.length, piece.offset_in_file) for piece in reader.pieces)
    except StorageError:
        return 0
    finally:
        reader.close()
    generation = victim.generation_of(entry.head)
    assert got == victim.content(key, generation, interval.start, interval.end), f"wrong bytes in {key}"
    return len(got)


async def cut_again_and_again(kind: str, durability: str, seeds: range, directory: Path) -> int:
    disk = Disk(kind, directory)
    read, load = 0, None
    for seed in seeds:
        with disk.mounted() as cache:
            load = await live_until_the_cut(
                cache, durability, seed, lambda how=(LOG_FLUSHED, LOG_LOST)[seed % 2]: disk.cut(how)
            )
        with disk.mounted() as cache:
            try:
                read += await check(cache, load, committed=durability == "fsync")
            except CacheDirectoryError as error:
                raise AssertionError(f"seed {seed}: the directory cannot be used any more") from error
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
    return read


@pytest.mark.parametrize("durability", ["none", "fsync"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_power_cuts_under_load(kind: str, durability: str, tmp_path: Path) -> None:
    require_tool("root", TOOLS[kind])
    read = await cut_again_and_again(kind, durability, range(1, 5), tmp_path)
    assert durability == "none" or read > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("durability", ["none", "fsync"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_many_power_cuts_under_load(kind: str, durability: str, tmp_path: Path) -> None:
    require_tool("root", TOOLS[kind])
    read = await cut_again_and_again(kind, durability, range(100, 200), tmp_path)
    assert durability == "none" or read > 0
