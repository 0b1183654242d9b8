"""A loop that is held up shows in the histogram; the sampler ends when told to."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from fastcache.observe.lag import LagSampler
from fastcache.observe.metrics import Metrics


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_blocked_loop_is_seen(factory: object) -> None:
    metrics = Metrics()

    async def run() -> None:
        sampler = LagSampler(metrics, interval=0.02)
        sampler.start()
        await asyncio.sleep(0)  # the sampler has to be asleep already
        time.sleep(0.25)  # noqa: ASYNC251 - this is what is to be detected
        while not metrics.loop_lag.count:  # noqa: ASYNC110 - a histogram has no event to wait for
            await asyncio.sleep(0.005)
        assert b"fastcache_loop_lag_last_seconds" in metrics.render()[0]
        await sampler.stop()
        await sampler.stop()

    with asyncio.Runner(loop_factory=factory) as runner:  # type: ignore[arg-type]
        runner.run(run())
    slowest = metrics.loop_lag.quantile(1.0)
    assert slowest is not None
    assert slowest > 0.15


async def test_starting_twice_is_refused() -> None:
    sampler = LagSampler(Metrics())
    sampler.start()
    with pytest.raises(RuntimeError):
        sampler.start()
    await sampler.stop()
