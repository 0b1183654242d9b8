"""Looking after what another process does: who waits is woken by the next look, and nobody looks for nobody."""

from __future__ import annotations

import asyncio

from fastcache.storage.lookout import Lookout

LONG = 20.0
"""Seconds that no look takes."""


class Thing:
    """What is looked at, and how often it was."""

    def __init__(self) -> None:
        self.state = 0
        self.looks = 0

    def __call__(self) -> object:
        self.looks += 1
        return self.state

    async def looked_at(self) -> None:
        """Until it was, once more."""
        before = self.looks
        async with asyncio.timeout(LONG):
            while self.looks == before:  # noqa: ASYNC110 - nobody tells of a look
                await asyncio.sleep(0.001)


async def test_all_who_wait_are_woken_by_a_change_and_each_change_wakes_once() -> None:
    thing = Thing()
    watched = Lookout().watch(thing)
    for state in (1, 2):
        waiting = [asyncio.create_task(watched.changed(LONG)) for _ in range(3)]
        await thing.looked_at()
        await thing.looked_at()
        assert not any(task.done() for task in waiting), "nothing has changed since"
        thing.state = state
        assert await asyncio.gather(*waiting) == [True] * 3


async def test_who_has_waited_long_enough_is_told_so_and_others_go_on_waiting() -> None:
    thing = Thing()
    watched = Lookout().watch(thing)
    waiting = asyncio.create_task(watched.changed(LONG))
    assert not await watched.changed(0.005)
    await thing.looked_at()
    thing.state = 1
    assert await waiting


async def test_nothing_is_looked_at_while_nobody_waits_and_again_when_somebody_does() -> None:
    thing, other = Thing(), Thing()
    lookout = Lookout()
    watched = lookout.watch(thing)
    await watched.changed(0.005)
    beside = asyncio.create_task(lookout.watch(other).changed(LONG))
    await other.looked_at()
    looks = thing.looks
    await other.looked_at()
    await other.looked_at()
    assert thing.looks == looks
    beside.cancel()
    await asyncio.sleep(0.01)  # the last look finds nobody
    waiting = asyncio.create_task(watched.changed(LONG))
    await thing.looked_at()
    thing.state = 1
    assert await waiting
