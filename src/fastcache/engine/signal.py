"""Wake everyone who waits for something to move; nobody keeps a turn."""

from __future__ import annotations

import asyncio


class Signal:
    """A broadcast without memory: waiters re-check their own condition after every wake-up."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Wake all present waiters."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next :meth:`notify`; False when ``timeout`` seconds passed first."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if timeout is None:
            await waiter
            return True
        handle = asyncio.get_running_loop().call_later(timeout, _expire, waiter)
        try:
            return await waiter is None
        except TimeoutError:
            return False
        finally:
            handle.cancel()


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
