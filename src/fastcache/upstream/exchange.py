"""One request and its answer, as the connection and the requester share it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fastcache.errors import UpstreamError, UpstreamProtocolError
from fastcache.protocol.responses import ResponseHead
from fastcache.upstream.body import ReceivedBody


class UnansweredError(UpstreamProtocolError):
    """The connection closed before any byte of an answer: the one failure a repetition may cure (RFC 9112 9.3.1)."""


class Exchange:
    """Lives as long as its requester needs it, which may be longer than the connection serves it.

    A short answer is complete, and the connection in other hands, before the requester runs again: so nothing the
    requester needs is kept in the connection.
    """

    __slots__ = (
        "_error",
        "_heads",
        "_loop",
        "_waiter",
        "answered",
        "awaiting_client",
        "body",
        "final",
        "informational",
        "method",
        "request_complete",
    )

    def __init__(
        self, method: bytes, on_read: Callable[[int], None], loop: asyncio.AbstractEventLoop, *, has_body: bool
    ) -> None:
        self.method = method
        self._loop = loop
        self.body = ReceivedBody(on_read)
        self.request_complete = not has_body
        self.awaiting_client = False
        """The sender waits for the client's next piece: no time limit runs."""
        self.answered = False
        """Some byte of an answer has arrived."""
        self.final = False
        """The final head has arrived, or none will: nothing more is to be sent."""
        self.informational = 0
        self._heads: deque[ResponseHead] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    def put_head(self, head: ResponseHead) -> None:
        self._heads.append(head)
        if head.status >= 200:
            self.final = True
        self._wake()

    def fail(self, error: UpstreamError) -> None:
        """No more will come; the requester gets what has arrived, then ``error``."""
        self.final = True
        if self._error is None:
            self._error = error
        self.body.fail(error)
        self._wake()

    def sender_done(self, sender: asyncio.Task[None]) -> None:
        """Callback of the task that sends the request body: its failure is the requester's."""
        if not sender.cancelled() and (error := sender.exception()) is not None:
            self._error = error
            self._wake()

    async def next_head(self) -> ResponseHead:
        """The next head, informational or final. Raises what failed the exchange, the request body's own errors too."""
        while not self._heads:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._heads.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
