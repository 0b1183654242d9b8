"""What goes out on a connection to the origin, and when it has to wait."""

from __future__ import annotations

import asyncio

from fastcache.upstream.exchange import Exchange
from fastcache.upstream.metrics import UpstreamMetrics


class Sending(asyncio.BufferedProtocol):
    """The sending half of a connection."""

    def __init__(self, metrics: UpstreamMetrics) -> None:
        self._metrics = metrics
        self.loop = asyncio.get_running_loop()
        """Asked for once: in CPython 3.11 each question is a system call too."""
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._progressed = False
        """Something happened that counts as progress, since somebody looked."""
        self._write_paused = False
        self._write_waiter: asyncio.Future[None] | None = None

    def write(self, exchange: Exchange, *pieces: bytes | memoryview, last: bool = False) -> None:
        """Queue ``pieces`` of the request; nothing when the exchange is over. ``last``: with them it is complete."""
        if self._exchange is not exchange or self._transport is None:
            return
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)
        self._metrics.bytes_sent(sum(map(len, pieces)))
        self._progressed = True
        if last:
            exchange.request_complete = True

    async def drained(self, exchange: Exchange) -> None:
        """Wait until more may be written, or nothing more is to be."""
        while self._write_paused and self._exchange is exchange and not exchange.final:
            self._write_waiter = self.loop.create_future()
            await self._write_waiter

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._write_waiter is not None and not self._write_waiter.done():
            self._write_waiter.set_result(None)
