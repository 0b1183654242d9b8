"""What one of several workers may have of what the settings allow all of them together."""

from __future__ import annotations

import os

from fastcache.lifecycle.kinds import AUTO, MOST_WORKERS
from fastcache.lifecycle.schema import Settings


def worker_count(settings: Settings) -> int:
    """How many workers there are to be."""
    return min(MOST_WORKERS, len(os.sched_getaffinity(0))) if settings.workers == AUTO else settings.workers


def share_of(settings: Settings, workers: int) -> Settings:
    """The settings of one of ``workers``. Connections are balanced between them, and so are rounded up."""
    if workers == 1:
        return settings

    def part(whole: int) -> int:
        return -(-whole // workers)

    limits, fill, hit = settings.limits, settings.fill, settings.hit
    return settings.but(
        limits=limits.but(
            max_connections=part(limits.max_connections),
            max_requests_in_flight=part(limits.max_requests_in_flight),
        ),
        fill=fill.but(window_budget=max(part(fill.window_budget), fill.window)),
        hit=hit.but(memory=hit.memory // workers, leases=part(hit.leases), files=part(hit.files)),
        io_threads=part(settings.io_threads),
    )
