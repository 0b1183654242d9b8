"""The connections to one origin: reuse, limits, queueing, one retry, and the sweep that keeps time."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable

from fastcache._core.ordering import Numbers
from fastcache._core.origins import Origins
from fastcache.errors import UpstreamConnectError, UpstreamError, UpstreamTimeoutError
from fastcache.model import OriginId
from fastcache.protocol.responses import ResponseHead
from fastcache.upstream.connect import Connector
from fastcache.upstream.connection import Connection
from fastcache.upstream.exchange import Exchange, UnansweredError
from fastcache.upstream.loans import Loans
from fastcache.upstream.metrics import NoMetrics, UpstreamMetrics
from fastcache.upstream.resolver import Lookup, Resolver, system_lookup
from fastcache.upstream.response import Response
from fastcache.upstream.sender import RequestBody, send_body
from fastcache.upstream.settings import UpstreamSettings

OnInformational = Callable[[ResponseHead], None]


class Pool:
    """Connections to one origin, for one loop.

    A slot is the right to have a connection, of which there are ``max_connections``: taken before connecting, given
    back when the connection is lost. Idle connections are reused newest first, so that surplus ones grow old and are
    closed. Requests that find neither wait in order of arrival.
    """

    def __init__(
        self,
        origin: OriginId,
        settings: UpstreamSettings,
        *,
        metrics: UpstreamMetrics | None = None,
        lookup: Lookup = system_lookup,
    ) -> None:
        self.origin = origin
        self._settings = settings
        self._metrics: UpstreamMetrics = NoMetrics() if metrics is None else metrics
        self._lookup = lookup
        self._connector = Connector(origin, settings)
        self._resolver: Resolver | None = None
        self._opening: set[asyncio.Task[Connection]] = set()
        self._connections: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._loans: Loans | None = None
        self._slots = settings.max_connections
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._all_lost: asyncio.Future[None] | None = None
        self._closed = False
        times = (settings.first_byte_timeout, settings.idle_timeout, settings.pool_idle)
        self._sweep_interval = max(0.02, min(1.0, min(times) / 4))

    def lend(self, numbers: Numbers) -> Origins | None:
        """What the hit branch borrows idle connections through, with a row of ``numbers`` for its requests; None where
        they speak TLS."""
        if self.origin.scheme != "http":
            return None
        settings = self._settings
        origins = Origins(
            numbers, settings.max_connections, most_idle=settings.max_idle, idle_timeout=settings.pool_idle
        )
        self._loans = Loans(origins)
        return origins

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    @property
    def idle_connections(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests queued for a connection."""
        return sum(not waiter.done() for waiter in self._waiters)

    async def request(
        self,
        method: bytes,
        head: bytes,
        *,
        body: RequestBody | None = None,
        chunked: bool = False,
        content_length: int | None = None,
        on_informational: OnInformational | None = None,
        retry_safe: bool,
    ) -> Response:
        """Send ``head`` (rendered, with its empty line) and ``body``; return when the final response head is here.

        ``chunked`` wraps the body's pieces into chunks; otherwise they go out as they are and must add up to
        ``content_length``. A final head that arrives earlier stops the sending. A request without a body that is
        ``retry_safe`` is repeated once, on a new connection, when a reused one closed before any byte of an answer.
        Raises UpstreamError and its kinds, RequestError for a body of the wrong length, and whatever ``body`` raises;
        in each case, as on cancellation, the connection is gone.
        """
        connection = self._take_idle() or await self._acquire(fresh=False)
        reused = connection.exchanges > 0
        exchange = connection.start(method, head, has_body=body is not None)
        try:
            return await self._answer(connection, exchange, body, chunked, content_length, on_informational)
        except UnansweredError:
            if not (reused and retry_safe and body is None):
                raise
        return await self._once_more(method, head, on_informational)

    def withdraw(self, number: int) -> Connection:
        """A lent connection on which a request is under way, for :meth:`go_on`; or to be aborted."""
        assert self._loans is not None, "only what was lent has a number"
        return self._loans.withdraw(number)

    async def go_on(
        self,
        connection: Connection,
        method: bytes,
        head: bytes,
        *,
        unsent: bytes,
        received: bytes,
        seconds: float,
        on_informational: OnInformational | None = None,
    ) -> Response:
        """As :meth:`request` of a request without a body that is safe to repeat, for one that was sent ``seconds`` ago
        on a lent connection, but for ``unsent``; ``received`` is what has come."""
        exchange = connection.go_on(method, unsent=unsent, received=received, seconds=seconds)
        try:
            return await self._answer(connection, exchange, None, False, None, on_informational)
        except UnansweredError:
            return await self._once_more(method, head, on_informational)

    def take_returned(self) -> None:
        """Connections that were lent have come back."""
        for connection in [] if self._loans is None else self._loans.returned():
            if self._waiters and connection.is_usable():
                self._pass_on(connection)
            else:
                connection.abort()

    async def _once_more(self, method: bytes, head: bytes, on_informational: OnInformational | None) -> Response:
        self._metrics.request_retried(method)
        connection = await self._acquire(fresh=True)
        exchange = connection.start(method, head, has_body=False)
        return await self._answer(connection, exchange, None, False, None, on_informational)

    async def _answer(
        self,
        connection: Connection,
        exchange: Exchange,
        body: RequestBody | None,
        chunked: bool,
        content_length: int | None,
        on_informational: OnInformational | None,
    ) -> Response:
        sender: asyncio.Task[None] | None = None
        try:
            if body is not None:
                sender = connection.loop.create_task(
                    send_body(connection, exchange, body, chunked=chunked, content_length=content_length)
                )
                sender.add_done_callback(exchange.sender_done)
            while (head := await exchange.next_head()).status < 200:
                if on_informational is not None:
                    on_informational(head)
            if sender is not None:
                await _stop(sender)
            return Response(head, connection, exchange)
        except BaseException:
            connection.abort(exchange)
            if sender is not None:
                await _stop(sender)
            raise

    # Connections

    async def _acquire(self, *, fresh: bool) -> Connection:
        """An idle connection or, with ``fresh`` or when there is none, a new one; in turn when there is no slot."""
        while True:
            if self._closed:
                raise UpstreamError("the pool is closed", sent=False)
            connection = None if fresh else self._take_idle()
            if connection is not None:
                return connection
            if self._slots > 0 and not self._waiters:
                self._slots -= 1
                return await self._open()
            if fresh and self._idle:
                self._idle.popleft().abort()  # its slot comes to whoever waits, in turn
            connection = await self._wait_turn()
            if connection is None:
                return await self._open()
            if connection.is_usable():
                return connection
            connection.abort()

    def _take_idle(self) -> Connection | None:
        while self._idle and not self._waiters:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.abort()
        while self._loans is not None and not self._waiters and (lent := self._loans.take()) is not None:
            if lent.is_usable():
                return lent
            lent.abort()
        return None

    async def _wait_turn(self) -> Connection | None:
        """Wait for a connection, or for a slot (None) that is then the caller's."""
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._tell_waiting()
        try:
            async with asyncio.timeout(self._settings.queue_timeout):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._pass_on(waiter.result())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise UpstreamTimeoutError("no connection to the origin became free", sent=False) from None
            raise
        finally:
            self._tell_waiting()

    def _tell_waiting(self) -> None:
        if self._loans is not None:
            self._loans.owe(self.waiting)

    def _pass_on(self, granted: Connection | None) -> None:
        """Give a connection or a slot to the next who waits, or keep it."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(granted)
                return
        if granted is None:
            self._slots += 1
        elif self._closed or not granted.is_idle:  # what waits in its socket is looked at when it is taken
            granted.abort()
        else:
            if self._loans is None or not self._loans.offer(granted):
                granted.idle_since = granted.loop.time()
                self._idle.append(granted)
            self._trim()

    def _trim(self) -> None:
        """Drop idle connections, those used longest ago first, until there are not too many beside the lent ones."""
        while len(self._idle) > self._room():
            self._idle.popleft().abort()

    def _room(self) -> int:
        most = self._settings.max_idle
        return most if self._loans is None else max(0, most - self._loans.idle_beside(len(self._idle)))

    async def _open(self) -> Connection:
        """A new connection on a slot that is already taken."""
        try:
            connection = await self._connect()
        except BaseException as error:
            if isinstance(error, UpstreamError):
                self._metrics.connect_failed()
            self._pass_on(None)
            raise
        self._connections.add(connection)
        self._metrics.connection_opened()
        if self._sweeper is None:
            self._schedule_sweep()
        if self._closed:
            connection.abort()
            raise UpstreamError("the pool is closed", sent=False)
        return connection

    async def _connect(self) -> Connection:
        """Connect in a task of its own, so that close() can end it without cancelling the requester."""
        opening = asyncio.get_running_loop().create_task(self._connector.connect(self._its_resolver(), self._make))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            connection = await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                opening.result().abort()  # made in the moment in which the requester was cancelled
            requester = asyncio.current_task()
            if self._closed and requester is not None and not requester.cancelling():
                raise UpstreamError("the pool is closed", sent=False) from None
            raise
        if connection.is_closed:
            raise UpstreamConnectError(f"{self.origin} closed the connection at once")
        return connection

    def _make(self, sock: socket.socket) -> Connection:
        return Connection(self, self._settings, self._metrics, sock)

    def _its_resolver(self) -> Resolver:
        if self._resolver is None:
            clock = asyncio.get_running_loop().time
            self._resolver = Resolver(self.origin.host, self.origin.port, self._lookup, self._settings.dns_ttl, clock)
        return self._resolver

    def connection_idle(self, connection: Connection) -> None:
        """A connection has served its exchange and can serve another."""
        self._pass_on(connection)

    def connection_lost(self, connection: Connection) -> None:
        """A connection is gone; one that never got out of connecting is not counted."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._metrics.connection_closed()
        self._pass_on(None)
        if not self._connections and self._all_lost is not None and not self._all_lost.done():
            self._all_lost.set_result(None)

    # Time

    def _schedule_sweep(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep_interval, self._sweep)

    def _sweep(self) -> None:
        """One coarse look at all connections instead of a timer per byte."""
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        for connection in list(self._connections):
            connection.sweep(now)
        while self._idle and now - self._idle[0].idle_since >= self._settings.pool_idle:
            self._idle.popleft().abort()
        self._trim()
        if self._connections:
            self._schedule_sweep()

    async def close(self) -> None:
        """Abort every connection and request; returns when the connections are gone."""
        self._closed = True
        self._idle.clear()
        for opening in self._opening:
            opening.cancel()
        if self._resolver is not None:
            self._resolver.close()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(UpstreamError("the pool is closed", sent=False))
        self._waiters.clear()
        for connection in list(self._connections):
            connection.abort()
        if self._opening:
            await asyncio.wait(self._opening)
        if self._connections:
            self._all_lost = asyncio.get_running_loop().create_future()
            await self._all_lost
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


async def _stop(sender: asyncio.Task[None]) -> None:
    """End the sending, and with it the use of the request's body; its outcome is known to the exchange."""
    if not sender.done():
        sender.cancel()
        await asyncio.wait({sender})
