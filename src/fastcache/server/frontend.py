"""Between the connection core and the engine: one task per request, one channel per connection."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine
from functools import partial
from ipaddress import IPv4Network, IPv6Network

from fastcache._core.hit_log import HitLog
from fastcache._core.hits import Hits
from fastcache._core.proving import Question
from fastcache._core.reactor import Reactor
from fastcache._core.ticked import Ticked
from fastcache.engine.begun import Begun
from fastcache.engine.channel import ClientGoneError, PlainChannel
from fastcache.engine.context import Context
from fastcache.engine.dispatch import BegunAnswer, refuse, resume_answer, serve_request
from fastcache.engine.hit_records import hit_records
from fastcache.engine.sources import AbortedAnswerError
from fastcache.errors import RequestError
from fastcache.protocol.requests import HeadLimits
from fastcache.server.neighbours import Neighbours

_log = logging.getLogger("fastcache.server")

_SWEEP = 0.5
"""Seconds between two looks at the connections' timeouts."""
_ANSWERING = 0.05
"""Seconds between two looks, at a stop, at answers of the hit branch."""
_LOG_BACKLOG = 1024
"""Items that wait for the access log's writer before hits have to wait with theirs."""
_HALF_CLOSED = 5.0
"""Seconds without a byte for a client that ended its side; it may have left altogether."""
_SURPLUS = 256
"""Connections beyond the limit that are accepted to be told so; further ones wait in the kernel's queue."""

_BAD_HEAD = {
    431: RequestError("The request head is larger than allowed.", status=431, code="RequestHeaderSectionTooLarge"),
    408: RequestError("The request head did not arrive in time.", status=408, code="RequestTimeout"),
}
_DENIED = RequestError("This cache does not serve your address.", status=403, code="AccessDenied")
_TOO_MANY = RequestError("Please reduce your request rate: too many connections.", status=503, code="SlowDown")


class Frontend:
    """Owns the reactor and every client connection of this worker."""

    def __init__(
        self,
        ctx: Context,
        *,
        limits: HeadLimits,
        max_connections: int,
        head_timeout: float,
        idle_timeout: float,
        stall_timeout: float,
        min_rate: int,
        networks: tuple[IPv4Network | IPv6Network, ...],
        hits: Hits | None = None,
        hit_log: HitLog | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        self._ctx = ctx
        self._neighbours = neighbours
        self._hits = hits
        self._hit_log = hit_log
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._channels: dict[int, PlainChannel] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._begun: dict[int, Begun] = {}
        self._beginning: set[int] = set()
        """Connections whose task has not had its first step."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._listening: list[socket.socket] = []
        self._opened = self._closed = 0
        self._hits_counted: dict[str, int] = {}
        self.reactor = Reactor(
            self,
            max_connections=max_connections,
            head_limit=limits.bytes,
            head_timeout=head_timeout,
            idle_timeout=idle_timeout,
            stall_timeout=stall_timeout,
            half_closed_timeout=_HALF_CLOSED,
            min_rate=min_rate,
            surplus=min(_SURPLUS, max_connections // 4 + 16),
            networks=[(network.network_address.packed, network.prefixlen) for network in networks],
            hits=hits,
            balance=None if neighbours is None else neighbours.balance,
        )

    # ---- life

    def start(self, listening: list[socket.socket]) -> None:
        """Accept from these listening sockets; ``drain`` closes them."""
        self._listening = listening
        for listener in listening:
            self.reactor.listen(listener.fileno())
        self._loop.add_reader(self.reactor.fileno(), self.reactor.drain)
        if self._neighbours is not None:
            self._neighbours.start(self.reactor)
        self._sweep()

    async def drain(self, seconds: float, *, succeeded: bool = False) -> bool:
        """Accept no more, let requests in flight end. False when ``seconds`` passed before all had.

        ``succeeded``: another process goes on with our listening sockets, and with the connections that are idle.
        """
        self._ctx.draining, self._ctx.succeeded = True, succeeded
        if self._neighbours is not None:
            self._neighbours.leave(succeeded=succeeded)
        if self._hits is not None:
            self._hits.switch(False)  # the engine tells clients that the connection ends
        self.reactor.drain()  # whoever the kernel has accepted already is served
        self.reactor.stop_listening()
        for listener in self._listening:
            listener.close()  # or the kernel would go on accepting for nobody
        self._end_idle()
        try:
            async with asyncio.timeout(seconds):
                while self.in_flight or (succeeded and self.reactor.connections()):
                    if succeeded:
                        await asyncio.sleep(_ANSWERING)
                        self._end_idle()
                        continue
                    await self._idle.wait()
                    if self.reactor.answering():
                        await asyncio.sleep(_ANSWERING)
        except TimeoutError:
            return False
        return True

    def _end_idle(self) -> None:
        """Connections without a request end, or go on elsewhere."""
        if not self._ctx.succeeded or self._neighbours is None:
            self.reactor.close_idle()
            return
        for fd in self._neighbours.hand_over(self.reactor.give_up_idle()):
            if not self.reactor.adopt(fd):  # again, until the successor's inbox has room
                os.close(fd)

    @property
    def in_flight(self) -> int:
        """Requests being answered."""
        return len(self._tasks) + self.reactor.answering()

    async def close(self) -> None:
        """End what is left and give the loop back."""
        tasks = list(self._tasks.values())
        for cid in list(self._tasks):
            self._cancel(cid)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._loop.remove_reader(self.reactor.fileno())
        self.reactor.shut_down()
        if self._ctx.lessor is not None:
            self._ctx.lessor.revoke_all()
        self._tell_hits()
        self._count_connections()

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)  # first: a sweep that fails is not the last one
        self.reactor.sweep()
        if self._ctx.draining:
            self._end_idle()
        if self._ctx.lessor is not None:
            self._ctx.lessor.expire()
        self._tell_hits()
        self._count_connections()

    def _tell_hits(self) -> None:
        """Hand what the hit branch noted down to the access log, unless that is behind already."""
        log, access_log = self._hit_log, self._ctx.access_log
        if log is not None and len(log) and access_log.backlog < _LOG_BACKLOG:
            access_log.write_later(partial(hit_records, log.take(), self._limits, self._ctx.addressing))

    def _count_connections(self) -> None:
        stats = self.reactor.stats()
        self._ctx.metrics.client_connections(stats["accepted"] - self._opened, stats["closed"] - self._closed)
        self._opened, self._closed = stats["accepted"], stats["closed"]
        if self._hits is not None:
            for outcome, now in self._hits.outcomes().items():
                self._ctx.metrics.hit_branch(outcome, now - self._hits_counted.get(outcome, 0))
                self._hits_counted[outcome] = now

    # ---- from the reactor

    def on_request(self, cid: int, head: bytes) -> None:
        """A complete head: start its exchange."""
        self._tell_hits()  # those before it, so that lines of the access log stay in order
        channel = self._channel(cid)
        if not self.reactor.admitted(cid):
            self._ctx.metrics.refused("address")
            self._start(cid, self._refuse(channel, _DENIED, head))
            return
        if self.reactor.overloaded(cid):
            self._ctx.metrics.refused("connections")
            self._start(cid, self._refuse(channel, _TOO_MANY, head))
            return
        self._start(cid, self._serve(channel, head))

    def on_bad_head(self, cid: int, status: int) -> None:
        """A head over the limit, or too slow."""
        self._ctx.metrics.refused("head")
        self._start(cid, self._refuse(self._channel(cid), _BAD_HEAD[status]))

    def on_readable(self, cid: int) -> None:
        channel = self._channels.get(cid)
        if channel is not None:
            channel.notify_readable()

    def on_writable(self, cid: int, ok: bool) -> None:
        channel = self._channels.get(cid)
        if channel is not None:
            channel.notify_writable(ok)

    def on_abort(self, cid: int) -> None:
        """The client is gone: stop working for it. What others follow goes on without it."""
        channel = self._channels.get(cid)
        if channel is None or cid not in self._tasks:
            self.reactor.close(cid)
            return
        channel.notify_gone()
        self._cancel(cid)

    def on_takeover(
        self, cid: int, head: bytes, lease_id: int, request_id: int, body_sent: int, seconds: float
    ) -> None:
        """The hit branch cannot go on with an answer: its next bytes have to be read or checked first."""
        lessor = self._ctx.lessor
        record = None if lessor is None else lessor.record_of(lease_id)
        if record is None:
            self.reactor.abort(cid)
            return
        channel = self._channel(cid)
        begun = BegunAnswer(record, f"{request_id:016X}", body_sent, seconds)
        self._start(cid, self._resume(channel, head, begun))

    def on_question(self, cid: int, head: bytes, question: Question) -> None:
        """The hit branch has asked the origin, and its answer is to be read here."""
        begun = self._begun[cid] = Begun(self._ctx.pool.withdraw(question.origin), question)
        self._tell_hits()
        self._start(cid, self._serve(self._channel(cid), head, begun))

    def on_origins_ended(self) -> None:
        """Connections to the origin that the hit branch had are the pool's again."""
        self._ctx.pool.take_returned()

    def on_leases_released(self) -> None:
        """The last connection that was answered under some lease is through."""
        if self._ctx.lessor is not None:
            self._ctx.lessor.collect()

    def on_surplus(self) -> None:
        """Connections that had better be other workers'."""
        if self._neighbours is not None:
            self._neighbours.share(self.reactor.take_surplus())

    def on_callback_error(self, cid: int, error: Exception) -> None:
        """A bug in one of the methods above; its connection is already reset."""
        _log.error("connection callback failed", exc_info=error)
        self._channels.pop(cid, None)

    # ---- tasks

    def _channel(self, cid: int) -> PlainChannel:
        channel = PlainChannel(self.reactor, cid, self._loop)
        self._channels[cid] = channel
        return channel

    def _start(self, cid: int, coroutine: Coroutine[None, None, None]) -> None:
        if self._hits is not None:
            coroutine = Ticked(coroutine, self.reactor)
        self._tasks[cid] = self._loop.create_task(coroutine)
        self._beginning.add(cid)
        self._idle.clear()

    def _cancel(self, cid: int) -> None:
        self._tasks[cid].cancel()
        if cid in self._beginning:  # without its first step a task runs not even its ``finally``
            self._ended(cid, complete=False, keep=False)

    async def _serve(self, channel: PlainChannel, head: bytes, begun: Begun | None = None) -> None:
        await self._run(channel, serve_request(self._ctx, channel, head, self._limits, begun))

    async def _resume(self, channel: PlainChannel, head: bytes, begun: BegunAnswer) -> None:
        await self._run(channel, resume_answer(self._ctx, channel, head, self._limits, begun))

    async def _refuse(self, channel: PlainChannel, error: RequestError, head: bytes = b"") -> None:
        await self._run(channel, refuse(self._ctx, channel, error, head))

    async def _run(self, channel: PlainChannel, answer: Coroutine[None, None, bool]) -> None:
        """Run one exchange and decide what becomes of its connection: kept, ended, or reset when the answer is not
        complete."""
        cid = channel.cid
        self._beginning.discard(cid)
        complete = keep = False
        try:
            keep = await answer
            complete = True
        except (ClientGoneError, asyncio.CancelledError):
            pass
        except AbortedAnswerError as error:
            _log.warning("an answer was cut off: %s", error)
        except Exception:  # noqa: BLE001 - the last line of defence: a bug costs its own request and is logged whole
            _log.exception("a request failed in an unexpected way")
        finally:
            self._ended(cid, complete=complete, keep=keep)

    def _ended(self, cid: int, *, complete: bool, keep: bool) -> None:
        self._channels.pop(cid, None)
        self._tasks.pop(cid, None)
        self._beginning.discard(cid)
        begun = self._begun.pop(cid, None)
        if begun is not None:
            begun.close()
        if not self._tasks:
            self._idle.set()
        if complete:
            self.reactor.finish(cid, keep)
        else:
            self.reactor.abort(cid)
