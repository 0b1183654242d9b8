"""The bytes a store takes, counted, and kept below its capacity by evicting before they are written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from fastcache.clock import Clock
from fastcache.errors import StorageError

FULL_PAUSE = 0.5
"""Seconds without new fills after the disk said ENOSPC, when no room could be made; else until it was made (P-11)."""
WAIT_FOR_SPACE = 2.0


class Space:
    """Bytes in committed files, in files in progress, and in files unlinked but still open.

    ``make_room(bytes)`` is the evictor: it frees about as much and returns whether anything could be freed.
    """

    def __init__(self, capacity: int, headroom: int, clock: Clock, make_room: Callable[[int], Awaitable[bool]]) -> None:
        self.capacity = capacity
        self._high = capacity - headroom
        self._low = capacity - headroom - headroom // 2
        self._clock = clock
        self._make_room = make_room
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._evictor: asyncio.Task[None] | None = None
        self._demand = 0
        self._full_until = 0.0

    @property
    def used(self) -> int:
        return self._used

    @property
    def has_waiting(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._waiting)

    @property
    def disk_is_full(self) -> bool:
        """Whether the file system itself refused bytes a moment ago, and no room was made since."""
        return self._clock.boot() < self._full_until

    def add(self, size: int) -> None:
        """Count bytes that are there already."""
        if not size:
            return
        self._count(size)
        self.look()

    def look(self) -> None:
        """Start the evictor when too much is used."""
        if self.used > self._high:
            self._start_evictor()

    def free(self, size: int) -> None:
        """Stop counting bytes that are gone."""
        if not size:
            return
        self._count(-size)
        assert self._used >= 0, "more bytes freed than taken"
        self.serve_waiting()

    def _count(self, size: int) -> None:
        self._used += size

    async def reserve(self, size: int) -> None:
        """Take ``size`` bytes before they are written, waiting for the evictor when there is no room.

        Raises StorageError when there is none within two seconds.
        """
        if not self._waiting and self.used + size <= self.capacity:
            self.add(size)
            return
        if size > self.capacity:
            raise StorageError("larger than the whole cache")
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, waiter))
        self._start_evictor()
        done, _ = await self._wait_for(waiter, size)
        if not done:
            self._forget(waiter)
            raise StorageError("no room: all that could be evicted is in use")

    async def _wait_for(self, waiter: asyncio.Future[None], size: int) -> tuple[set[asyncio.Future[None]], object]:
        try:
            return await asyncio.wait({waiter}, timeout=WAIT_FOR_SPACE)
        except asyncio.CancelledError:
            if waiter.done():
                self.free(size)  # granted at the very moment the caller went away
            else:
                self._forget(waiter)
            raise

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        self._waiting = deque(item for item in self._waiting if item[1] is not waiter)
        self.serve_waiting()

    def serve_waiting(self) -> None:
        """Give what there is now to those who wait for it."""
        while self._waiting and self.used + self._waiting[0][0] <= self.capacity:
            size, waiter = self._waiting.popleft()
            if not waiter.done():
                self._count(size)
                waiter.set_result(None)

    def note_disk_full(self, wanted: int) -> None:
        """The file system has no room although the capacity is not reached: refuse fills for a moment, and evict."""
        self._full_until = self._clock.boot() + FULL_PAUSE
        self._demand = max(self._demand, wanted)
        self._start_evictor()

    def _start_evictor(self) -> None:
        if self._evictor is None or self._evictor.done():
            self._evictor = asyncio.get_running_loop().create_task(self._evict(), name="fastcache-evictor")

    def _excess(self) -> int:
        waiting = sum(size for size, _ in self._waiting)
        used = self.used
        excess = max(used - self._low if used > self._high else 0, used + waiting - self.capacity)
        return max(excess, self._demand)

    async def _evict(self) -> None:
        while (excess := self._excess()) > 0:
            before = self.used
            progress = await self._make_room(excess)
            self._demand = max(0, self._demand - max(0, before - self.used))
            if not progress:
                self._demand = 0
                return
            if not self._demand:
                self._full_until = 0.0
            if self.used <= self._high and not self._waiting and not self._demand:
                return

    async def close(self) -> None:
        if self._evictor is not None:
            self._evictor.cancel()
            await asyncio.wait({self._evictor})
