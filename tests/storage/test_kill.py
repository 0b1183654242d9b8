"""P-04: a process killed at any moment leaves true bytes, no temporary files, and what it had committed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastcache._core.fences import Fences
from fastcache.clock import SystemClock
from fastcache.model import Interval
from fastcache.storage.store import Store, StoreSettings

from . import filler
from .conftest import CountingMetrics, disk_use, eventually


def kill_while_filling(cache: Path, seed: int) -> None:
    program = Path(filler.__file__)
    with subprocess.Popen([sys.executable, str(program), str(cache), str(seed)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        if seed % 2:  # the others may be killed before anything was committed
            child.stdout.readline()
        time.sleep(random.Random(seed).uniform(0.005, 0.12))
        child.send_signal(signal.SIGKILL)
        child.wait()


async def check(cache: Path) -> int:
    """Everything that can be read is what its generation's content is; the number of bytes read."""
    metrics = CountingMetrics()
    store = await Store.open(StoreSettings(cache, 16 << 20), Fences(), SystemClock(), metrics)
    try:
        assert os.listdir(cache / "fills") == []
        read = 0
        for number in range(filler.KEYS):
            entry = await store.lookup(filler.object_id(number))
            if entry.head is None:
                continue
            generation = int(entry.head.generation.etag.strip(b'"'))
            content = filler.content(number, generation)
            for extent in list(entry.extents):
                interval = Interval(extent.start, extent.end)
                reader = await store.open_range(entry, interval)
                assert reader is not None
                await reader.verify(interval)
                got = b"".join(os.pread(piece.fd, piece.length, piece.offset_in_file) for piece in reader.pieces)
                assert got == content[interval.start : interval.end]
                read += len(got)
                reader.close()
        assert metrics.counts["corrupt_files"] == 0  # type: ignore[index]
        await eventually(lambda: store.stats().scanned)
        await store._disk.idle()
        assert store.stats().used == disk_use(cache) <= 16 << 20
        return read
    finally:
        await store.close()


async def kill_many(cache: Path, seeds: range) -> None:
    read = 0
    for seed in seeds:
        kill_while_filling(cache, seed)
        read += await check(cache)
    assert read > 0


async def test_killed_at_random_points(cache: Path) -> None:
    await kill_many(cache, range(15))


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_at_many_random_points(cache: Path) -> None:
    await kill_many(cache, range(100, 400))


def kill_after_one_commit(cache: Path) -> int:
    """The number of the object whose fill was reported as finished just before."""
    program = Path(filler.__file__)
    with subprocess.Popen([sys.executable, str(program), str(cache), "77"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        number = int(child.stdout.readline().split()[0])
        child.send_signal(signal.SIGKILL)
        child.wait()
    return number


async def test_what_was_reported_as_committed_is_there_after_a_kill(cache: Path) -> None:
    number = kill_after_one_commit(cache)
    store = await Store.open(StoreSettings(cache, 16 << 20), Fences(), SystemClock())
    try:
        assert (await store.lookup(filler.object_id(number))).head is not None
    finally:
        await store.close()
    assert await check(cache) > 0
