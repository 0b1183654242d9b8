"""Readers beside a writer: every answer is one version, none older than what was acknowledged when it was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field

import pytest
from tests.engine.conftest import AS_SHIPPED, Embed, Embedded, read_answer

KIB = 1024
STAMP = 8


def version_bytes(version: int, start: int, end: int) -> bytes:
    first = start - start % STAMP
    return (version.to_bytes(STAMP, "big") * ((end - first) // STAMP + 1))[start - first : end - first]


@dataclass
class History:
    """What a reader of one object may get: the versions from ``acknowledged`` at its start to ``begun`` at its end."""

    key: str
    size: int
    begun: int = 0
    acknowledged: int = 0
    failures: list[str] = field(default_factory=list)

    def check(self, oldest: int, start: int, body: bytes) -> None:
        end = start + len(body)
        at = -start % STAMP
        seen = int.from_bytes(body[at : at + STAMP], "big")
        if body != version_bytes(seen, start, end):
            self.failures.append(f"{self.key} [{start}, {end}): a mixture, beginning with version {seen}")
        elif not oldest <= seen <= self.begun:
            self.failures.append(f"{self.key} [{start}, {end}): version {seen}, not {oldest} to {self.begun}")


async def write(proxy: Embedded, history: History, dice: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        reader, writer = await proxy.connect()
        version = history.begun + 1
        sent = proxy.request(history.key, method="PUT", body=version_bytes(version, 0, history.size))
        if dice.random() < 0.15:
            writer.write(sent[: len(sent) - dice.randrange(1, history.size)])
            await asyncio.sleep(0.01)
            writer.transport.abort()
            continue
        history.begun = version
        writer.write(sent)
        head, _ = await read_answer(reader)
        assert head.startswith(b"HTTP/1.1 200"), head
        history.acknowledged = version
        writer.close()
        await asyncio.sleep(dice.random() * 0.05)


async def read(proxy: Embedded, history: History, dice: random.Random, done: asyncio.Event) -> int:
    count = 0
    reader, writer = await proxy.connect()
    while not done.is_set():
        oldest = history.acknowledged
        start, end = 0, history.size
        signed = {}
        if dice.random() < 0.6:
            start = dice.randrange(history.size - 100)
            end = dice.randrange(start + 2 * STAMP, history.size + 1)
            signed = {"Range": f"bytes={start}-{end - 1}"}
        writer.write(proxy.request(history.key, signed=signed))
        try:
            head, body = await read_answer(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            # An answer that cannot be completed is cut, never ended cleanly.
            reader, writer = await proxy.connect()
            continue
        if head.startswith(b"HTTP/1.1 200"):
            start = 0
            assert len(body) == history.size
        else:
            assert head.startswith(b"HTTP/1.1 206"), head
            assert len(body) == end - start
        history.check(oldest, start, body)
        count += 1
        if dice.random() < 0.2:
            writer.transport.abort()
            reader, writer = await proxy.connect()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return count


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("authorization", ["revalidate", "none"])
async def test_no_reader_gets_an_older_version_than_was_acknowledged_nor_a_mixture(
    embed: Embed, authorization: str, seed: int
) -> None:
    dice = random.Random(seed)
    ttl = {"ttl": "60s"} if authorization == "none" else {}
    async with embed(authorization=authorization, cache_size="64MiB", **ttl, **AS_SHIPPED) as proxy:
        histories = [History("small", 200 * KIB), History("large", 3000 * KIB)]
        for history in histories:
            await write(proxy, history, random.Random(0), 1)
        done = asyncio.Event()
        async with asyncio.timeout(60):
            async with asyncio.TaskGroup() as group:
                readers = [group.create_task(read(proxy, h, dice, done)) for h in histories for _ in range(4)]
                writers = [group.create_task(write(proxy, h, dice, 12)) for h in histories]
                await asyncio.wait(writers)
                done.set()
        assert [failure for history in histories for failure in history.failures] == []
        assert sum(reader.result() for reader in readers) > 20
