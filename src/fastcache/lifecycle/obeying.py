"""A process of the supervisor's on its own loop: what it is told, and when it is to end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

from fastcache.lifecycle.channel import Channel
from fastcache.lifecycle.messages import Ask, Drain, Reopen, Told
from fastcache.observe.metrics import Metrics

_log = logging.getLogger("fastcache.lifecycle")

_HANDLED = (signal.SIGTERM, signal.SIGUSR1)


class Orders:
    """Follows the supervisor's messages until the end of the channel, which is that of the supervisor."""

    def __init__(self, channel: Channel, metrics: Metrics, reopen: Callable[[], None] = lambda: None) -> None:
        self._channel = channel
        self._metrics = metrics
        self._reopen = reopen
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self.others: Callable[[object], None] = lambda message: None
        """Told of messages that are for a role."""
        self.succeeded = False
        """Whether another process goes on with our socket."""

    def start(self) -> None:
        self._loop.add_reader(self._channel.fileno(), self._receive)
        # Sent to a whole group, these mean us too; a single process is asked to end by SIGTERM.
        self._loop.add_signal_handler(signal.SIGTERM, self._end.set)
        self._loop.add_signal_handler(signal.SIGUSR1, self._reopen)

    def stop(self) -> None:
        """Signals no longer mean anything: the process is about to end."""
        self._loop.remove_reader(self._channel.fileno())
        for number in _HANDLED:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    async def until_end(self) -> None:
        """Returns when the process is to finish what it does and end."""
        await self._end.wait()

    def _receive(self) -> None:
        try:
            received = self._channel.receive()
        except BlockingIOError:
            return
        if received is None:
            self._loop.remove_reader(self._channel.fileno())
            if not self._end.is_set():
                _log.error("the supervisor is gone: no new connections, and the end when the present ones are served")
                self._end.set()
            return
        message, _ = received
        if isinstance(message, Drain):
            self.succeeded = message.succeeded
            self._end.set()
        elif isinstance(message, Ask):
            self._channel.send(Told(message.number, self._metrics.snapshot()["gauges"]))
        elif isinstance(message, Reopen):
            self._reopen()
        else:
            self.others(message)
