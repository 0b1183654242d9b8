"""A process that fills a cache directory as fast as it can until it is killed."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from fastcache._core.fences import Fences
from fastcache.clock import SystemClock
from fastcache.errors import StorageError
from fastcache.model import Generation, HeadRecord, Interval, ObjectId, OriginId
from fastcache.storage.store import Store, StoreSettings

KEYS = 24
ORIGIN = OriginId("http", "origin.example", 9000)


def size_of(number: int) -> int:
    return (700, 5000, 300_000, 1 << 20, 1_700_000, 3_000_001)[number % 6]


def content(number: int, generation: int) -> bytes:
    unit = b"%d/%d/" % (number, generation)
    size = size_of(number)
    block = b"".join(unit + n.to_bytes(4, "big") for n in range(4096))
    return (block * (size // len(block) + 1))[:size]


def object_id(number: int) -> ObjectId:
    return ObjectId(ORIGIN, b"bucket", b"%d" % number)


def head(number: int, generation: int) -> HeadRecord:
    return HeadRecord(Generation(b'"%d"' % generation, size_of(number)), ((b"x", b"y"),), stored_at=float(generation))


async def fill(store: Store, fences: Fences, dice: random.Random, sent: int) -> None:
    number, generation = dice.randrange(KEYS), dice.randrange(3)
    size, target = size_of(number), object_id(number)
    start = dice.choice([0, dice.randrange(size)])
    end = dice.choice([size, dice.randrange(start, size) + 1])
    writer = store.begin_fill(target, head(number, generation), fences.token(target), sent, Interval(start, end))
    if writer is None:
        return
    data = memoryview(content(number, generation))
    try:
        for at in range(start, end, 200_000):
            await writer.write(at, [data[at : min(at + 200_000, end)]])
    except StorageError:
        await writer.discard()
        return
    await writer.finish()
    if start == 0 and end == size and store.missing(await store.lookup(target), Interval(0, size)) == []:
        print(number, generation, flush=True)


async def run(directory: Path, seed: int) -> None:
    fences, dice = Fences(), random.Random(seed)
    store = await Store.open(StoreSettings(directory, 16 << 20), fences, SystemClock())
    print("ready", flush=True)
    sent = 0
    while True:
        sent += 4
        await asyncio.gather(*(fill(store, fences, dice, sent + n) for n in range(4)))


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
