"""A worker as a process: serves until it is told to end, drains, and ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

import uvloop

from fastcache._core.allocator import keep_freed
from fastcache._core.handles import held_now
from fastcache.errors import ConfigError
from fastcache.lifecycle.inherited import Inherited
from fastcache.lifecycle.messages import Birth, Draining, Failed, Ready
from fastcache.lifecycle.obeying import Orders
from fastcache.lifecycle.shares import share_of
from fastcache.lifecycle.worker import _worker
from fastcache.observe import log

_log = logging.getLogger("fastcache.lifecycle")

_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that runs Python lets the loop have the interpreter: at Python's 5 ms what needs it
waits that long behind one that works for a disk."""
_YOUNG_OBJECTS = 10_000
"""New objects between two searches for cycles. Requests leave none behind, and at Python's 700 the objects of those
under way, still in use, are searched over and over."""
_FREED_MEMORY_KEPT = 8 * 1024 * 1024
_MAPPED_FROM = 4 * 1024 * 1024
"""Bytes. Bodies pass in pieces of up to 2 MiB, and some wait for a disk or a reader: what they took is taken again a
moment later. From the kernel it would come anew and zeroed, page by page, for a third of the CPU time of an upload that
is kept."""


def run(birth: Birth, fds: dict[str, int]) -> int:
    """Serve until told to end; the exit status."""
    log.configure(birth.settings.log_level, birth.settings.log_format)
    sys.setswitchinterval(_SWITCH_INTERVAL)
    keep_freed(_FREED_MEMORY_KEPT, _MAPPED_FROM)
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    inherited = Inherited(birth, fds)
    try:
        uvloop.run(_main(inherited))
    except ConfigError as error:
        inherited.channel.send(Failed(str(error)))
        return 2
    left = [f"{count} {kind}" for kind, count in held_now().items() if count]
    if left:
        _log.error("still held at the end: %s", ", ".join(left))
    return 0


async def _main(inherited: Inherited) -> None:
    settings = share_of(inherited.birth.settings, inherited.birth.workers)
    async with _worker(settings, inherited) as worker:
        orders = Orders(inherited.channel, inherited.metrics, worker.ctx.access_log.reopen)
        orders.start()
        inherited.channel.send(Ready())
        await orders.until_end()
        draining = asyncio.ensure_future(worker.frontend.drain(settings.timeouts.drain, succeeded=orders.succeeded))
        await asyncio.sleep(0)  # its first step: nothing is accepted any more
        inherited.channel.send(Draining())
        if not await draining:
            _log.warning("%d requests were still in flight after the drain limit", worker.frontend.in_flight)
    orders.stop()
