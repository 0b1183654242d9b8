"""The keeper: one process that counts what the cache directory holds, and evicts, for all workers."""

from __future__ import annotations

import logging

import uvloop

from fastcache.clock import SystemClock
from fastcache.lifecycle.inherited import Inherited
from fastcache.lifecycle.messages import Birth, Died, Ready
from fastcache.lifecycle.obeying import Orders
from fastcache.lifecycle.store_settings import store_settings
from fastcache.lifecycle.tallies import StoreTally
from fastcache.observe import log
from fastcache.observe.lag import LagSampler
from fastcache.storage.keeping import Keeping
from fastcache.storage.sharing import Share

_log = logging.getLogger("fastcache.lifecycle")


def run(birth: Birth, fds: dict[str, int]) -> int:
    """Keep until told to end; the exit status."""
    log.configure(birth.settings.log_level, birth.settings.log_format)
    uvloop.run(_main(Inherited(birth, fds)))
    return 0


async def _main(inherited: Inherited) -> None:
    birth = inherited.birth
    metrics = inherited.metrics
    share = Share(inherited.memory, birth.place, birth.incarnation, None)
    with inherited.reports() as reports:
        store = Keeping(
            store_settings(birth.settings, idle_descriptors=0),
            inherited.directory(),
            inherited.fences,
            SystemClock(),
            StoreTally(metrics),
            share,
            reports,
        )
        orders = Orders(inherited.channel, metrics)
        orders.others = lambda message: _told(store, message)
        orders.start()
        sampler = LagSampler(metrics)
        sampler.start()
        inherited.channel.send(Ready())
        await orders.until_end()
        await sampler.stop()
        orders.stop()
        await store.close()


def _told(store: Keeping, message: object) -> None:
    if isinstance(message, Died):
        store.died(message.incarnation, crashed=message.crashed)
