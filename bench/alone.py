"""``python -m bench.alone``: one worker as ``fastcache serve`` runs it, without its supervisor.

For tools that follow one process and know less of the kernel than it does: under valgrind there is no ``pidfd_open``,
by which the supervisor watches its processes. Flags are those of ``fastcache serve``.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import uvloop

from fastcache.cli.options import settings_command
from fastcache.lifecycle import cache_directory
from fastcache.lifecycle.settings import Settings
from fastcache.lifecycle.worker import _worker


async def _until_stopped(settings: Settings) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with _worker(settings) as worker:
        print(f"listening on {worker.url} (admin {worker.admin_url})", flush=True)
        await stop.wait()


@settings_command
def alone(load: Callable[[], Settings]) -> None:
    """Serve from one worker until told to stop."""
    settings = load()
    if settings.cache:
        cache_directory.prepare(settings.cache_dir)
    uvloop.run(_until_stopped(settings))


if __name__ == "__main__":
    alone()
