"""``fastcache check``."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import click

from fastcache.cli.options import settings_command
from fastcache.clock import SystemClock
from fastcache.lifecycle.credentials import provider_of, tell_credentials
from fastcache.lifecycle.mounting import Access, accesses, gap_access
from fastcache.lifecycle.settings import Settings, render_effective


@settings_command
def check(load: Callable[[], Settings]) -> None:
    """Print the settings that `serve` would run with, and where each comes from; or say what is wrong.

    Credentials of this cache's own are asked for once, where something is signed with them or a setting names them.
    """
    settings = load()
    for notice in settings.notices:
        click.echo(f"fastcache: note: {notice}", err=True)
    click.echo(render_effective(settings), nl=False)
    if settings.upstream == "sign" or "credentials" in settings.explicit:
        for (_, name), access in accesses(settings).items():
            _tell(settings, "credentials" + (f" for {access.endpoint}" if name else ""), access)
    gaps = gap_access(settings)
    if gaps is not None:
        _tell(settings, "gap-credentials", gaps)


def _tell(settings: Settings, what: str, access: Access) -> None:
    provider = provider_of(access, os.environ, SystemClock(), sts=settings.sts_endpoint)
    found = asyncio.run(tell_credentials(provider))
    click.echo(f"# {what}: {found}")
