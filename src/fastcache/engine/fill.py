"""A fill: one origin transfer that is being stored, and whoever reads behind its watermark.

Theory of operation. The producer task takes pieces from the origin and appends them to a window in memory;
``watermark`` is the absolute offset behind the newest byte. A writer task stores them through the façade. Followers
(the request that caused the fill included) read from the window while they are inside it and from committed extents
when they fell behind. What bounds it:

* lead: the producer stays at most ``lead`` bytes ahead of the *fastest* follower, then stops reading the origin;
* window: the newest ``window`` bytes stay in memory; older ones are dropped once they are written;
* detach: when writing lags a whole window behind for ``detach_after`` seconds, or fails, the stored prefix is committed
  and the rest streams from memory at the pace of the slowest follower; one that stalls others is dropped;
* linger: when the last follower left, the fill goes on for ``linger_bytes`` or ``linger`` seconds, whichever ends
  first, then commits its prefix (clients do abort whole GETs and ask for ranges next).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from fastcache.engine.fill_limits import FillLimits, FillMetrics, WindowBudget
from fastcache.engine.follower import Follower
from fastcache.engine.window import Window
from fastcache.errors import StorageError, UpstreamError, UpstreamSurplusError
from fastcache.model import FenceToken, HeadRecord, Interval, ObjectId
from fastcache.signal import Signal
from fastcache.storage.writer import FillWriter
from fastcache.upstream.response import Response

_log = logging.getLogger("fastcache.engine.fill")

_PACE_FLOOR = 0.1, 32 << 20
"""Seconds for which the first burst says little about a transfer's pace; bytes a second it is thought to have then."""
_PATIENCE_FOR_OTHERS = 10
"""How many times as long writing may lag behind while readers in other workers need what is written."""
_STALL_DROP = 5.0
"""Seconds a follower may hold others up in detached mode before it is dropped."""
_LOOKS_ELSEWHERE = 0.01, 0.2
"""Seconds between two looks at how far readers in other workers are, while there are some and while there are none."""


class Fill:
    """See the module docstring. Lives on the loop's thread; ``start`` once, then ``attach`` followers."""

    def __init__(
        self,
        object_id: ObjectId,
        record: HeadRecord,
        interval: Interval,
        token: FenceToken,
        response: Response,
        writer: FillWriter | None,
        limits: FillLimits,
        budget: WindowBudget,
        metrics: FillMetrics,
        distrust: Callable[[], None],
    ) -> None:
        """``distrust`` is called when the transfer turns out to contradict the head that announced it."""
        self.object_id = object_id
        self.record = record
        self.interval = interval
        self.token = token
        self.watermark = interval.start
        self.ended = False
        """No byte will be added any more."""
        self.progress = Signal()
        self._stored = writer is None
        """The writer is through: what could be committed is committed."""
        self._closed = asyncio.Event()
        self.when_closed: Callable[[Fill], None] | None = None
        """Called once, when it has ended and what could be committed is committed."""
        self._response = response
        self._writer = writer
        self._limits = limits
        self._budget = budget
        self._metrics = metrics
        self._distrust = distrust
        self._followers: set[Follower] = set()
        self._window = Window(budget)
        self._unwritten: deque[memoryview] = deque()
        self._unwritten_bytes = 0
        self._write_offset = interval.start
        self._rotation_wanted = False
        self._moved = Signal()
        self._alone_since: float | None = None
        self._alone_from = 0
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._producer: asyncio.Task[None] | None = None
        self._storer: asyncio.Task[None] | None = None

    # ---- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read the origin."""
        self._metrics.fill_started()
        self._budget.fills += 1
        if self._writer is not None:
            self._storer = self._loop.create_task(self._store(self._writer))
        self._producer = self._loop.create_task(self._produce())

    async def run_to_end(self) -> None:
        """Wait until the fill has ended and what could be committed is committed."""
        await self._closed.wait()

    def stop(self) -> None:
        """End the transfer now; the prefix is committed as after any early end."""
        if self._producer is not None:
            self._producer.cancel()

    @property
    def complete(self) -> bool:
        """Every byte of the interval arrived."""
        return self.watermark == self.interval.end

    @property
    def is_stored(self) -> bool:
        """What arrives now is being written."""
        return self._writer is not None

    @property
    def window_bytes(self) -> int:
        return self._window.size

    async def _produce(self) -> None:
        outcome = "failed"
        try:
            while await self._wait_for_room():
                piece = await self._response.read()
                if not piece:
                    break
                self._append(piece)
            outcome = "complete" if self.complete else "stopped"
        except UpstreamSurplusError as error:
            # Length or bytes are wrong; what the head says of the object's size is as doubtful as the bytes.
            self._distrust()
            _log.warning("fill of a %d-byte interval is not kept: %s", self.interval.length, error)
        except UpstreamError as error:
            _log.info("fill of a %d-byte interval ended at %d: %s", self.interval.length, self.watermark, error)
        except asyncio.CancelledError:
            outcome = "stopped"
        finally:
            self._response.abort()  # a no-op when the body was read to its end
            self.ended = True
            self._budget.fills -= 1
            self._metrics.fill_finished(outcome)
            self.progress.notify()
            self._moved.notify()
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self.ended and self._stored:
            if not self._closed.is_set() and self.when_closed is not None:
                self.when_closed(self)
            self._closed.set()
            if not self._followers:
                self._window.clear()

    def _append(self, piece: memoryview) -> None:
        if self.watermark + len(piece) > self.interval.end:
            raise UpstreamSurplusError("the origin sent more than it announced")
        self._window.append(self.watermark, piece)
        self.watermark += len(piece)
        if self._writer is not None:
            self._unwritten.append(piece)
            self._unwritten_bytes += len(piece)
        self._trim()
        self.progress.notify()

    # ---- back-pressure ---------------------------------------------------------------------------------------------

    async def _wait_for_room(self) -> bool:
        """Wait until another piece may be read; False when nobody wants one any more."""
        lagging_since: float | None = None
        while True:
            if not self._followers and not self._lingers():
                return False
            if self._is_far_ahead():
                await self._moved.wait(self._until_next_look())
                continue
            if self._window.size < self._budget.limit(self._limits.window):
                return True
            now = self._loop.time()
            if self._writer is None:
                self._drop_stalled(now)
                await self._moved.wait(1.0)
                continue
            lagging_since = now if lagging_since is None else lagging_since
            patience = 1 if self._read_elsewhere() is None else _PATIENCE_FOR_OTHERS
            left = self._limits.detach_after * patience - (now - lagging_since)
            if left <= 0:
                self._detach("writing lags behind")
                continue
            await self._moved.wait(left)

    def _is_far_ahead(self) -> bool:
        elsewhere = self._read_elsewhere()
        places = [follower.position for follower in self._followers] + ([] if elsewhere is None else [elsewhere])
        return bool(places) and self.watermark - max(places) >= self._limits.lead

    def _read_elsewhere(self) -> int | None:
        """How far the fastest reader in another worker is; they read our files, so that those must not lag behind."""
        return None if self._writer is None else self._writer.read_elsewhere(self._loop.time())

    def _until_next_look(self) -> float | None:
        claimed = self._writer is not None and self._writer.claim is not None
        return _LOOKS_ELSEWHERE[self._read_elsewhere() is None] if claimed else None

    def _lingers(self) -> bool:
        now = self._loop.time()
        if self._read_elsewhere() is not None:
            self._alone_since = None
            return True
        if self._alone_since is None:
            self._alone_since, self._alone_from = now, self.watermark
        return self._writer is not None and (  # else nobody would ever see these bytes
            self.watermark - self._alone_from < self._limits.linger_bytes
            and now - self._alone_since < self._limits.linger
        )

    def _slowest(self) -> int:
        return min((f.position for f in self._followers if not f.dropped), default=self.watermark)

    def _drop_stalled(self, now: float) -> None:
        slowest = self._slowest()
        if len(self._followers) < 2 or slowest == max(follower.position for follower in self._followers):
            return
        for follower in self._followers:
            if follower.position == slowest and now - follower.moved_at > _STALL_DROP:
                follower.dropped = True
        self._trim()
        self.progress.notify()

    def _trim(self) -> None:
        """Drop from memory what nobody needs there."""
        if self._writer is not None:
            keep = self._budget.limit(self._limits.window) // 2
            safe = self._writer.written
        else:
            keep, safe = 0, self._slowest()
        self._window.trim(keep, safe)

    # ---- storing ---------------------------------------------------------------------------------------------------

    async def _store(self, writer: FillWriter) -> None:
        try:
            await writer.prepare()
            while self._writer is not None:
                if self._rotation_wanted and writer.written > self.interval.start:
                    await writer.rotate()
                    self._rotation_wanted = False
                    self.progress.notify()
                batch = self._next_batch(writer)
                if not batch:
                    if self.ended:
                        break
                    await self.progress.wait(self._until_next_look() if self._unwritten_bytes else None)
                    continue
                await writer.write(self._write_offset, batch)
                self._write_offset += sum(len(piece) for piece in batch)
                self._trim()
                self._moved.notify()
        except StorageError as error:
            self._detach(str(error))
        finally:
            try:
                await writer.finish()
            except StorageError as error:
                _log.warning("a fill could not be committed: %s", error)
            self._writer = None
            self._rotation_wanted = False
            self._stored = True
            self.progress.notify()
            self._moved.notify()
            self._close_if_done()

    def _next_batch(self, writer: FillWriter) -> list[memoryview]:
        """What is to be written next: as much as the writer likes best, or less when no more is coming."""
        wanted = writer.wanted(self._budget.limit(self._limits.window) // 2)  # the other half takes what comes
        if self._unwritten_bytes < wanted:
            if not self.ended and (not self._unwritten_bytes or self._read_elsewhere() is None):
                return []
            wanted = self._unwritten_bytes
        self._unwritten_bytes -= wanted
        batch: list[memoryview] = []
        while wanted:
            piece = self._unwritten.popleft()
            if len(piece) > wanted:
                self._unwritten.appendleft(piece[wanted:])
                piece = piece[:wanted]
            batch.append(piece)
            wanted -= len(piece)
        return batch

    def _detach(self, why: str) -> None:
        if self._writer is None:
            return
        _log.warning("storing stopped at %d of %s: %s", self._writer.written, self.interval, why)
        self._metrics.fill_detached()
        self._writer = None
        self._unwritten.clear()
        self._unwritten_bytes = 0
        self._trim()  # readers that have taken all of a full window would wait for one of them to take more
        self.progress.notify()
        self._moved.notify()

    # ---- followers -------------------------------------------------------------------------------------------------

    def attach(self, interval: Interval) -> Follower:
        """Join as a reader of ``interval``, which must lie inside the fill's."""
        follower = Follower(interval, self._loop.time())
        self._followers.add(follower)
        self._alone_since = None
        self._moved.notify()
        return follower

    def detach(self, follower: Follower) -> None:
        """Leave; the fill goes on for the others, or lingers."""
        self._followers.discard(follower)
        self._trim()
        self._moved.notify()
        self._close_if_done()

    @property
    def window_start(self) -> int:
        """Absolute offset of the oldest byte in memory; the watermark when there is none."""
        start = self._window.start
        return self.watermark if start is None else start

    @property
    def reach(self) -> int:
        """Absolute offset of the end of what has arrived or is still to come."""
        return self.watermark if self.ended else self.interval.end

    def brings(self, interval: Interval, within: float) -> bool:
        """Whether all of ``interval`` is in memory or still to come, its first byte within so many seconds at the pace
        so far. A transfer that was cut brings no more; who wants a byte far ahead is served sooner by one of its own.
        """
        ahead = interval.start - self.watermark
        if self.window_start > interval.start or (self.ended and interval.end > self.watermark):
            return False
        if ahead <= self._limits.window:
            return True
        took, came = self._loop.time() - self._begun, self.watermark - self.interval.start
        if took < _PACE_FLOOR[0]:
            took, came = 1.0, _PACE_FLOOR[1]
        return ahead * took <= within * came

    def advanced(self, follower: Follower, count: int) -> None:
        """The follower took ``count`` bytes."""
        follower.position += count
        follower.moved_at = self._loop.time()
        if self._writer is None:
            self._trim()
        self._moved.notify()

    def view(self, follower: Follower) -> memoryview | None:
        """Bytes in memory at the follower's position, None when there are none."""
        return self._window.view(follower.position, follower.end)

    async def until_readable(self, follower: Follower) -> bool:
        """Wait for a byte at the follower's position. True when there is one; False when none will ever come."""
        while follower.position >= self.watermark:
            if self.ended:
                return False
            await self.progress.wait()
        return True

    async def commit_so_far(self, within: float) -> None:
        """Have what is written so far committed, so that who fell out of the window can be sent it by ``sendfile`` (a
        committed extent's readers never meet the writer's lock). Returns after ``within`` seconds at the latest."""
        deadline = self._loop.time() + within
        self._rotation_wanted = not self._stored
        self.progress.notify()
        while self._rotation_wanted and (left := deadline - self._loop.time()) > 0:
            await self.progress.wait(left)
