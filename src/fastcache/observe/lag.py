"""How late the event loop runs its timers: the first sign of something that blocks it."""

from __future__ import annotations

import asyncio
import time

from fastcache.observe.metrics import Metrics

INTERVAL = 0.1
"""Seconds between samples."""


class LagSampler:
    """Samples the running loop until stopped, into ``metrics.loop_lag``."""

    def __init__(self, metrics: Metrics, interval: float = INTERVAL) -> None:
        self._metrics = metrics
        self._interval = interval
        self._task: asyncio.Task[None] | None = None
        self.last = 0.0
        """The newest sample in seconds."""

    def start(self) -> None:
        """Begin sampling in the running loop, and register the gauge of the newest sample."""
        if self._task is not None:
            raise RuntimeError("already started")
        name = "fastcache_loop_lag_last_seconds"
        self._metrics.gauge(name, "The newest sample of the event loop's lag.", lambda: self.last)
        self._task = asyncio.get_running_loop().create_task(self._run(), name="loop-lag")

    async def stop(self) -> None:
        """End sampling; what the sampler itself raised, if anything, is raised here."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.result()

    async def _run(self) -> None:
        while True:
            # Not loop.time(): uvloop caches it per iteration, so a blocked loop would not see itself being late.
            before = time.monotonic()
            await asyncio.sleep(self._interval)
            self.last = max(0.0, time.monotonic() - before - self._interval)
            self._metrics.loop_lag.record(self.last)
