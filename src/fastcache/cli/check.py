"""``fastcache check``."""

from __future__ import annotations

import click

from fastcache.cli.options import settings_command
from fastcache.lifecycle.settings import Settings, render_effective


@settings_command
def check(settings: Settings) -> None:
    """Print the settings that `serve` would run with, and where each comes from; or say what is wrong."""
    for notice in settings.notices:
        click.echo(f"fastcache: note: {notice}", err=True)
    click.echo(render_effective(settings), nl=False)
