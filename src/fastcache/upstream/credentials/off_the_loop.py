"""Calls that may wait for a disk or for another program, each in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def in_thread(call: Callable[[], T]) -> asyncio.Future[T]:
    """Call ``call`` in a new thread; the future ends with its result or its exception.

    Not asyncio's own pool: it resolves the origin's name too, and a program that never answers would take one of its
    few threads for good. Nor does the end of the process wait for these.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = call()
        except BaseException as raised:  # noqa: BLE001 - not swallowed: it is raised where the future is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(_deliver, future, result, error)

    threading.Thread(target=work, name="fastcache-credentials", daemon=True).start()
    return future


def _deliver(future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
