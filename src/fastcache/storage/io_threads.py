"""A tier's own threads: every system call that may wait for its disk is made here, none on the loop thread.

One pool per tier, so that a hung mount stops nobody else; a breaker, so that nobody queues up behind it.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from fastcache.clock import Clock
from fastcache.errors import StorageError
from fastcache.storage.metrics import StoreCounter, StoreMetrics

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("fastcache.storage")

DEVICE_ERRORS = frozenset(
    {
        errno.EIO,
        errno.EROFS,
        errno.ENODEV,
        errno.ENXIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.EUCLEAN,
        errno.EREMOTEIO,
        errno.EHOSTDOWN,
        errno.EACCES,
        errno.EPERM,
    }
)
"""Failures of the directory as a whole. A missing file or a full disk says nothing about the next call."""

FAILURES_TO_BREAK = 5
STUCK_AFTER = 10.0
FIRST_BACK_OFF = 1.0
LONGEST_BACK_OFF = 60.0

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class IoThreads:
    """A bounded pool of threads with a breaker. All methods belong to the loop thread."""

    def __init__(self, threads: int, queue_limit: int, clock: Clock, metrics: StoreMetrics) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._metrics = metrics
        self._queue_limit = queue_limit
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._pending = 0
        self._done: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._wake_up_sent = False
        self._since = [0.0] * threads
        """When each thread began its present job; 0.0 while it has none. Written by the threads, read by the loop."""
        self._failures = 0
        self._back_off = FIRST_BACK_OFF
        self._broken_until = 0.0
        self._closed = False
        self._threads = [
            # Daemons: a thread stuck in a dead mount must not keep the process from ending.
            threading.Thread(target=self._work, args=(slot,), name=f"fastcache-io-{slot}", daemon=True)
            for slot in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def available(self) -> bool:
        """Whether more work may be asked for: not broken, not stuck, not closed, room in the queue."""
        return (
            not self._closed
            and self._pending < self._queue_limit
            and (not self._broken_until or self._clock.boot() >= self._broken_until)
            and not (self._pending and self._stuck())
        )

    def _stuck(self) -> bool:
        """All threads have been at the same job for so long that nothing new would start."""
        earliest = self._clock.boot() - STUCK_AFTER
        return all(0.0 < since < earliest for since in self._since)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Call ``function`` in a thread. The future ends with its result or its exception.

        Cancelling the future does not stop the call: whatever must be done with the result is the part of a task that
        is not cancelled.
        """
        if self._closed:
            raise StorageError("the store is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._pending += 1
        self._jobs.put((lambda: function(*args, **kwargs), future))
        return future

    def _work(self, slot: int) -> None:
        while (job := self._jobs.get()) is not None:
            call, future = job
            self._since[slot] = self._clock.boot()
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # noqa: BLE001 - not swallowed: it is raised where the future is awaited
                error = raised
            self._since[slot] = 0.0
            self._done.append((future, result, error))
            # One wake-up of the loop for all that end before it looks; a second one by a race is harmless.
            if not self._wake_up_sent:
                self._wake_up_sent = True
                try:
                    self._loop.call_soon_threadsafe(self._deliver)
                except RuntimeError:  # the loop is closed
                    if not self._closed:
                        raise
                    return  # left behind by ``close``: nobody is there to be told
            del job, call, future, result, error

    def _deliver(self) -> None:
        self._wake_up_sent = False
        while self._done:
            future, result, error = self._done.popleft()
            self._pending -= 1
            if isinstance(error, OSError):
                self.note_failure(error)
            elif error is None:
                self.note_success()
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def note_success(self) -> None:
        self._failures = 0
        self._back_off = FIRST_BACK_OFF

    def note_failure(self, error: OSError) -> None:
        """Count a failed call; enough of them in a row, and the directory is left alone for a while."""
        if error.errno not in DEVICE_ERRORS:
            return
        self._metrics.count(StoreCounter.IO_ERRORS)
        self._failures += 1
        now = self._clock.boot()
        if self._failures >= FAILURES_TO_BREAK and now >= self._broken_until:
            self._broken_until = now + self._back_off
            self._metrics.count(StoreCounter.BROKEN)
            logger.warning("cache directory given up for %.0f s: %s", self._back_off, error.strerror)
            self._back_off = min(2 * self._back_off, LONGEST_BACK_OFF)

    async def close(self, patience: float = 5.0) -> None:
        """Let the queued jobs end; threads that do not within ``patience`` seconds are left behind."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        await asyncio.to_thread(self._join, patience)
        self._deliver()

    def _join(self, patience: float) -> None:
        deadline = self._clock.boot() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - self._clock.boot()))
            if thread.is_alive():
                logger.warning("an I/O thread is stuck and left behind")
