"""A process that forks scripted lives of a store, each of which may be killed or given errors at any system call.

``python -m tests.crash.victim`` reads lines ``SCRIPT LOG DIRECTORY`` (separated by tabs) and answers ``PID``, then
``STATUS`` when that life is over. A life waits until it is traced, and writes to its log, one JSON line each, what it
is about to do and what is stored after each step: what the log says when the life ends must be found on the disk.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from fastcache._core.fences import Fences
from fastcache.clock import ManualClock
from fastcache.errors import CacheDirectoryError, CorruptFileError, StorageError
from fastcache.model import FenceToken, Generation, HeadRecord, Interval, ObjectId, OriginId
from fastcache.origin.pattern import pattern
from fastcache.storage.store import Store, StoreSettings

CAPACITY = 6 << 20
SIZES = {"a": 3_000, "b": 700_000, "c": 1_700_000, "d": 1_300_000, "f": 1_300_000, "g": 700_000}
SIZES |= {f"e{n}": 700_000 for n in range(8)}
EVERYTHING = "*"
UNTRACED = "untraced"


def object_id(key: str) -> ObjectId:
    return ObjectId(OriginId("http", "origin.example", 9000), b"bucket", key.encode())


def content(key: str, generation: int, start: int, end: int) -> bytes:
    return pattern(key.encode(), generation, start, end - start)


def head(key: str, generation: int, note: str = "") -> HeadRecord:
    etag = b'"%d"' % generation
    return HeadRecord(
        Generation(etag, SIZES[key]), ((b"ETag", etag), (b"x-note", note.encode())), stored_at=float(generation)
    )


def generation_of(record: HeadRecord) -> int:
    return int(record.generation.etag.strip(b'"'))


class WrongBytesError(AssertionError):
    pass


class Life:
    """What is done to one store. With errors injected, only StorageError from a write may be seen."""

    def __init__(self, directory: Path, log: int, durability: str = "fsync") -> None:
        # One thread, so that the n-th call of a name is the same call in every life.
        self.settings = StoreSettings(directory, CAPACITY, io_threads=1, durability=durability)  # type: ignore[arg-type]
        self.fences = Fences()
        self.clock = ManualClock()
        self.sent = count(1)
        self.log = log
        self.store: Store

    def say(self, word: str, value: object) -> None:
        os.write(self.log, json.dumps([word, value]).encode() + b"\n")

    def token(self, key: str) -> FenceToken:
        return self.fences.token(object_id(key))

    async def open(self) -> None:
        for _ in range(10):
            try:
                self.store = await Store.open(self.settings, self.fences, self.clock)
                return
            except CacheDirectoryError as error:  # a start on a broken disk is refused, and can be tried again
                self.say("refused", str(error))
        raise CacheDirectoryError("the directory stays broken")

    async def settled(self) -> None:
        store = self.store
        while True:
            evictor = store._space._evictor
            busy = {*store._disk._tasks, *store._descriptors._closing, *([evictor] if evictor else [])}
            busy = {task for task in busy if not task.done()}
            if not busy:
                return
            await asyncio.wait(busy)

    def state(self) -> dict[str, object]:
        """Of each object in memory: generation, committed intervals, whether its marker is on the disk."""
        known = {}
        for key in SIZES:
            entry = self.store._entries.get(object_id(key).digest)
            if entry is not None and (entry.loaded or entry.voided):
                generation = -1 if entry.head is None else generation_of(entry.head)
                held = [(extent.start, extent.end) for extent in entry.extents] if entry.loaded else None
                known[key] = [generation, held, entry.voided and entry.void_on_disk]
        return known

    async def step(self, work: Awaitable[object], *affected: str) -> None:
        self.say("step", affected)
        await work
        await self.settled()
        self.say("state", self.state())

    async def fill(self, key: str, generation: int = 0, start: int = 0, end: int = -1, *, until: int = -1) -> None:
        """Store an interval; ``until``: throw the fill away there."""
        end = SIZES[key] if end < 0 else end
        self.say("proving", [key, generation])
        writer = self.store.begin_fill(
            object_id(key), head(key, generation), self.token(key), next(self.sent), Interval(start, end)
        )
        if writer is None:
            return
        try:
            stop = end if until < 0 else until
            for at in range(start, stop, 100_000):
                piece = content(key, generation, at, min(at + 100_000, stop))
                await writer.write(at, [memoryview(piece)])
            if until >= 0:
                await writer.discard()
        except StorageError as error:
            self.say("failed", str(error))
        finally:
            await writer.finish()

    async def read(self, key: str) -> None:
        """Whatever is stored of an object is what its generation's content is."""
        entry = await self.store.lookup(object_id(key))
        if entry.head is None:
            return
        generation = generation_of(entry.head)
        for extent in list(entry.extents):
            interval = Interval(extent.start, extent.end)
            reader = await self.store.open_range(entry, interval)
            if reader is None:
                continue
            try:
                await reader.verify(interval)
                for piece in reader.pieces:
                    got = read_exactly(piece.fd, piece.length, piece.offset_in_file)
                    if got != content(key, generation, piece.start, piece.start + piece.length):
                        raise WrongBytesError(f"{key} {interval}")
            except CorruptFileError as error:
                self.say("corrupt", f"{key} {interval} {error}")
            except StorageError as error:
                self.say("failed", str(error))
            finally:
                reader.close()

    async def unpublish(self, key: str) -> None:
        self.fences.raise_object(object_id(key))
        await self.store.unpublish(object_id(key))

    async def publish(self, key: str, generation: int, note: str) -> None:
        self.say("proving", [key, generation])
        self.store.publish_head(object_id(key), head(key, generation, note), self.token(key), next(self.sent))

    async def drop(self, key: str) -> None:
        self.store.drop(object_id(key))

    async def first(self) -> None:
        """From an empty directory to a full one."""
        await self.stock()
        for n in range(6):
            await self.step(self.fill(f"e{n}"), EVERYTHING)
            await self.step(self.read(f"e{n}"))

    async def stock(self) -> None:
        await self.step(self.fill("a"), "a")
        await self.step(self.fill("b"), "b")
        await self.step(self.fill("c", end=500_000), "c")
        await self.step(self.fill("c", start=400_000), "c-")
        await self.step(self.fill("d", start=300_000, end=800_000), "d")
        await self.step(self.fill("d"), "d-")
        await self.step(self.unpublish("a"), "a-")
        await self.step(self.fill("a", 1), "a")
        await self.step(self.unpublish("c"), "c-")
        await self.step(self.publish("c", 0, "again"), "c-")
        await self.step(self.publish("b", 0, "again"), "b-")
        await self.step(self.fill("f", until=700_000), "f")
        await self.step(self.drop("b"), "b")
        await self.step(self.fill("b", 1), "b")
        await self.step(self.fill("g", end=300_000), "g")
        await self.step(self.fill("g"), "g-")
        await self.step(self.unpublish("g"), "g-")
        await self.step(self.fill("g", 1), "g")
        await self.step(self.unpublish("d"), "d-")
        for key in SIZES:
            await self.step(self.read(key))

    async def second(self) -> None:
        """With what an earlier life left, nothing of it in memory yet."""
        await self.step(self.unpublish("a"), "a-")
        await self.step(self.drop("b"), "b")
        await self.step(self.read("c"))
        await self.step(self.fill("a", 2), "a")
        await self.step(self.fill("d", 1, end=600_000), "d")
        await self.step(self.publish("g", 1, "again"), "g-")
        await self.step(self.fill("c", 1), "c")
        await self.step(self.unpublish("g"), "g-")
        for n in range(8):
            await self.step(self.fill(f"e{n}"), EVERYTHING)
        for key in SIZES:
            await self.step(self.read(key))

    async def start(self) -> None:
        """The start itself, with what a crash left, and first looks at everything."""
        for key in SIZES:
            await self.step(self.read(key))

    async def recovered(self) -> None:
        """Errors have stopped: after the breaker's pause the store stores, serves and counts as if nothing had been."""
        self.clock.advance(300.0)
        # What an error left undone is done on the next occasion, which need not come by itself in a script.
        for key in SIZES:
            await self.store.lookup(object_id(key))
        for entry in list(self.store._entries.values()):
            await self.store._disk.settle(entry)
        await self.settled()
        for key in SIZES:  # or what is new would be the first to go again, as it should in a full cache
            self.store.drop(object_id(key))
        await self.settled()
        for key in ("a", "c"):
            await self.fill(key, 7)
        await self.settled()
        for key in ("a", "c"):
            entry = await self.store.lookup(object_id(key))
            if self.store.missing(entry, Interval(0, SIZES[key])) or entry.head is None:
                raise AssertionError(f"{key} is not stored although the disk is well again")
            await self.read(key)
        self.say("used", self.store.stats().used)


SCRIPTS: dict[str, Callable[[Life], Awaitable[None]]] = {
    "first": Life.first,
    "second": Life.second,
    "start": Life.start,
    "stock": Life.stock,
}


def read_exactly(fd: int, length: int, offset: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = bytearray(length - len(data))
        got = os.preadv(fd, [piece], offset + len(data))  # no call that a sweep gives errors
        if not got:
            raise WrongBytesError("file ends early")
        data += piece[:got]
    return data


async def live(script: str, directory: Path, log: int) -> None:
    life = Life(directory, log)
    unexpected: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(repr(context)))
    name, _, mode = script.partition(":")
    if name != "start":
        await life.open()
        await life.settled()
    if mode != UNTRACED:
        life.say("ready", None)
        status = os.open("/proc/self/status", os.O_RDONLY)
        wait_for_tracer(status)
    if name == "start":
        try:
            await life.open()
        except CacheDirectoryError as error:
            end_tracing(status)
            life.say("refused for good", str(error))
            return
        await life.settled()
    await SCRIPTS[name](life)
    await life.settled()
    if mode == "errors":
        end_tracing(status)
        await life.recovered()
    await life.store.close()
    gc.collect()  # a task that failed unseen is complained about when it is collected
    if unexpected:
        raise AssertionError(unexpected)
    life.say("over", None)


def wait_for_tracer(status: int) -> None:
    wait_until(lambda: tracer(status) != 0)
    time.sleep(0.01)  # from being seized to being stopped it is a moment


def end_tracing(status: int) -> None:
    """No more errors from here on: strace lets go of all threads when it is interrupted."""
    os.kill(tracer(status), signal.SIGINT)
    wait_until(lambda: tracer(status) == 0)


def tracer(status: int) -> int:
    """Who traces us, by an open /proc/self/status."""
    text = bytearray(8192)
    os.preadv(status, [text], 0)  # no call that a sweep gives errors
    return int(text.partition(b"TracerPid:\t")[2].split()[0])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("strace does not do as it is told")
        time.sleep(0.002)


def allow_tracing() -> None:
    """Where the kernel lets only ancestors trace (yama), let strace do it."""
    ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1 & (1 << 64) - 1), 0, 0, 0)


def fork_life(script: str, log_path: str, directory: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        allow_tracing()
        asyncio.run(live(script, Path(directory), log))
    except BaseException:  # noqa: BLE001 - the process ends here, and its log says why
        os.write(log, json.dumps(["broken", traceback.format_exc()]).encode() + b"\n")
        os._exit(1)
    os._exit(0)


def main() -> None:
    logging.getLogger("fastcache").addHandler(logging.NullHandler())
    # Whatever is imported or made on first use is there from here on, in every fork.
    with tempfile.TemporaryDirectory() as scratch:
        log = os.open(f"{scratch}/log", os.O_WRONLY | os.O_CREAT, 0o600)
        asyncio.run(live(f"first:{UNTRACED}", Path(scratch, "cache"), log))
        os.close(log)
    for line in sys.stdin:
        pid = fork_life(*line.rstrip("\n").split("\t"))
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
