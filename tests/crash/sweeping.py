"""Lives of a store under strace, ended or disturbed at the n-th call of one system call, and what must be left."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash import victim
from tests.harness.processes import wait_until
from tests.harness.tools import REPOSITORY
from tests.storage.conftest import CountingMetrics, disk_use, eventually

from fastcache._core.fences import Fences
from fastcache.clock import ManualClock
from fastcache.model import Interval
from fastcache.storage.metrics import StoreCounter
from fastcache.storage.store import Store, StoreSettings


class Lives:
    """The forking process of :mod:`victim`, and lives made with it."""

    def __init__(self, process: subprocess.Popen[str], scratch: Path) -> None:
        self._process = process
        self._scratch = scratch
        self._number = 0

    def lead(self, script: str, directory: Path, *strace: str) -> Log:
        """One life from its start to its end, whatever ends it."""
        self._number += 1
        path = self._scratch / f"life-{self._number}.log"
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{script}\t{path}\t{directory}\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        if strace:
            wait_until(lambda: path.exists() and b"ready" in path.read_bytes(), 30, "the life is ready to be traced")
            # Ends with the process it traces. Its own output is the trace, in a file.
            subprocess.run(["strace", "-qq", "-f", "-p", str(pid), *strace], capture_output=True, check=False)
        status = int(self._process.stdout.readline())
        log = Log(status, [json.loads(line) for line in path.read_text().splitlines()])
        path.unlink()
        return log

    def count_calls(self, script: str, directory: Path, names: tuple[str, ...]) -> Counter[str]:
        """How often each system call is made, at most, by one thread: the counters of strace are per thread."""
        trace = self._scratch / "trace"
        log = self.lead(script, directory, "-o", str(trace), "-e", f"trace={','.join(names)}")
        assert log.over, log
        calls: Counter[tuple[str, str]] = Counter()
        for line in trace.read_text().splitlines():
            match = re.match(r"([0-9]+) +([a-z0-9]+)\(", line)
            if match:
                calls[match[1], match[2]] += 1
        most: Counter[str] = Counter()
        for (_, name), number in calls.items():
            most[name] = max(most[name], number)
        return most


@contextmanager
def forked_lives(scratch: Path) -> Iterator[Lives]:
    command = [sys.executable, "-m", "tests.crash.victim"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        try:
            yield Lives(process, scratch)
        finally:
            assert process.stdin is not None
            process.stdin.close()


@dataclass
class Stored:
    """What a life said is stored of an object."""

    generation: int
    intervals: list[tuple[int, int]]


@dataclass
class Promises:
    """What must be found after a life, by its log: committed extents, and heads that must not be believed."""

    extents: dict[str, Stored] = field(default_factory=dict)
    voids: dict[str, set[int]] = field(default_factory=dict)
    """Object → the generations that may have been proved since its marker was made."""

    def follow(self, lines: list[list[Any]]) -> Promises:
        for word, value in lines:
            if word == "step":
                self._begin(value)
            elif word == "proving" and value[0] in self.voids:
                self.voids[value[0]].add(value[1])
            elif word == "state":
                for key, (generation, intervals, voided) in value.items():
                    self._note(key, generation, intervals, voided)
        return self

    def _begin(self, affected: list[str]) -> None:
        for name in affected:
            if name == victim.EVERYTHING:
                self.extents.clear()
            elif not name.endswith("-"):
                self.extents.pop(name, None)

    def _note(self, key: str, generation: int, intervals: list[tuple[int, int]] | None, voided: bool) -> None:
        if intervals is not None:
            self.extents[key] = Stored(generation, intervals)
        if voided:
            self.voids.setdefault(key, set())
        else:
            self.voids.pop(key, None)

    def copy(self) -> Promises:
        return Promises(dict(self.extents), {key: set(value) for key, value in self.voids.items()})


class Log:
    """What a life wrote, and how it ended."""

    def __init__(self, status: int, lines: list[list[Any]]) -> None:
        self.status = status
        self.lines = lines

    @property
    def over(self) -> bool:
        """Whether it came to its end, undisturbed enough."""
        return self.status == 0 and bool(self.lines) and self.lines[-1][0] == "over"

    @property
    def killed(self) -> bool:
        return os.WIFSIGNALED(self.status)

    def said(self, word: str) -> list[Any]:
        return [value for name, value in self.lines if name == word]

    def __repr__(self) -> str:
        return f"<life ended with {self.status}: {self.lines[-3:]} {self.said('broken')}>"


async def check(directory: Path, promises: Promises, *, errors: bool = False) -> None:
    """Open what a life left: true bytes, all that was promised, nothing in progress, true counters, and in use again.

    ``errors``: files were left half removed by errors, and committed extents may have been given up for one.
    """
    metrics = CountingMetrics()
    clock = ManualClock()
    fences = Fences()
    store = await Store.open(StoreSettings(directory, victim.CAPACITY), fences, clock, metrics)
    try:
        assert os.listdir(directory / "fills") == []
        for key in victim.SIZES:
            await _check_object(store, key, promises, errors=errors)
        assert metrics.counts[StoreCounter.CORRUPT_FILES] == 0
        await eventually(lambda: store.stats().scanned)
        await store._disk.idle()
        assert store.stats().used == disk_use(directory) <= victim.CAPACITY
        for key in victim.SIZES:  # or what is new would be the first to go again, as it should in a full cache
            store.drop(victim.object_id(key))
        await store._disk.idle()
        for key, generation in (("a", 8), ("c", 8)):
            interval = Interval(0, victim.SIZES[key])
            writer = store.begin_fill(
                victim.object_id(key), victim.head(key, generation), fences.token(victim.object_id(key)), 1, interval
            )
            assert writer is not None
            await writer.write(0, [memoryview(victim.content(key, generation, 0, interval.end))])
            await writer.finish()
            assert await _read(store, key, generation, interval)
    finally:
        await store.close()


async def _check_object(store: Store, key: str, promises: Promises, *, errors: bool) -> None:
    entry = await store.lookup(victim.object_id(key))
    assert entry.validation is None  # nothing on the disk proves itself
    generation = -1 if entry.head is None else victim.generation_of(entry.head)
    for extent in list(entry.extents):
        assert await _read(store, key, generation, Interval(extent.start, extent.end))
    promised = promises.extents.get(key)
    if promised is not None and promised.generation >= 0 and promised.intervals and not errors:
        assert generation == promised.generation, key
        for start, end in promised.intervals:
            assert not store.missing(entry, Interval(start, end)), (key, start, end)
    if key in promises.voids and entry.head is not None and not entry.voided:
        assert generation in promises.voids[key], f"{key} was unpublished, and its head is believed again"


async def _read(store: Store, key: str, generation: int, interval: Interval) -> bool:
    reader = await store.open_range(await store.lookup(victim.object_id(key)), interval)
    if reader is None:
        return False
    await reader.verify(interval)
    got = b"".join(os.pread(piece.fd, piece.length, piece.offset_in_file) for piece in reader.pieces)
    reader.close()
    assert got == victim.content(key, generation, interval.start, interval.end), f"wrong bytes in {key} {interval}"
    return True


@dataclass(frozen=True)
class Script:
    """A life to be swept, with the directory it begins with."""

    name: str
    template: Path | None
    promises: Promises

    def prepare(self, directory: Path) -> Promises:
        shutil.rmtree(directory, ignore_errors=True)
        if self.template is not None:
            shutil.copytree(self.template, directory)
        return self.promises.copy()


def make_scripts(lives: Lives, scratch: Path) -> list[Script]:
    """Life in an empty directory, in a full one, and the start itself after a crash."""
    full = scratch / "full"
    log = lives.lead(f"stock:{victim.UNTRACED}", full)
    assert log.over, log
    promises = Promises().follow(log.lines)
    crashed = scratch / "crashed"
    shutil.copytree(full, crashed)
    for name in ("0-1.part", "0-2.part", "0-2.part.head"):
        (crashed / "fills" / name).write_bytes(b"x" * 10_000)
    stray = crashed / "objects" / "ab" / "cd"
    stray.mkdir(parents=True)
    (stray / ("abcd" + 60 * "0" + ".void")).write_bytes(b"")
    orphan = stray / ("abcd" + 60 * "1")
    orphan.mkdir()
    (orphan / "0123456789abcdef-0-100.ext").write_bytes(b"y" * 300)
    return [
        Script("first", None, Promises()),
        Script("second", full, promises),
        Script("start", crashed, promises),
    ]
