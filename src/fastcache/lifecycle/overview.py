"""All processes of a supervisor as one: one health, one exposition."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastcache._core.names import Names
from fastcache._core.shared import SharedMemory
from fastcache.lifecycle.children import Child, State
from fastcache.lifecycle.messages import Role
from fastcache.observe.metrics import Metrics
from fastcache.observe.snapshot import GaugeSample, Snapshot

_PATIENCE = 1.0
"""Seconds that a process has for telling its gauges."""
_LAG = "fastcache_loop_lag_last_seconds"


class Numbers:
    """The counters of all processes, living and dead, and the gauges of the living."""

    def __init__(self, memory: SharedMemory, own_place: int) -> None:
        names = Names(memory.names())
        self._places = [Metrics(memory.numbers(place), names) for place in range(memory.places)]
        self.own = self._places[own_place]
        """The supervisor's."""

    async def rendered(self, children: Sequence[Child]) -> tuple[bytes, str]:
        """The text exposition and its content type."""
        # Here: it brings prometheus_client, which can wait for the first who asks.
        from fastcache.observe.exposition import merged, render

        gauges = await gauges_of(children)
        for metrics in self._places:
            metrics.adopt_names()
        snapshots = [metrics.snapshot() for metrics in self._places]
        snapshots += [_only_gauges(told) for told in gauges if told is not None]
        return render(merged(snapshots))


async def gauges_of(children: Sequence[Child]) -> list[list[GaugeSample] | None]:
    """What each tells; None for one that does not answer within a second."""
    return await asyncio.gather(*(child.gauges(_PATIENCE) for child in children))


async def described(children: Sequence[Child]) -> tuple[dict[str, object], ...]:
    """Each process, for the health page."""
    told = await gauges_of(children)
    return tuple(_described(child, gauges) for child, gauges in zip(children, told, strict=True))


def _described(child: Child, gauges: list[GaugeSample] | None) -> dict[str, object]:
    told: dict[str, object] = {"role": child.birth.role.value, "pid": child.pid, "state": child.state.value}
    if child.birth.role is Role.WORKER:
        told["slot"] = child.birth.slot
        told["connections"] = _value(gauges, "fastcache_open_connections")
    if gauges is not None:
        told["loop_lag_seconds"] = round(_value(gauges, _LAG), 6)
    elif child.state in (State.READY, State.DRAINING):
        told["state"] = "does not answer"
    return told


def _value(gauges: list[GaugeSample] | None, name: str) -> float:
    return next((gauge["value"] for gauge in gauges or () if gauge["name"] == name), 0.0)


def _only_gauges(gauges: list[GaugeSample]) -> Snapshot:
    return {"counters": [], "histograms": [], "gauges": gauges}
