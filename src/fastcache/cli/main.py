"""``fastcache``: the commands, each imported only when it is called, so that ``--version`` costs next to nothing."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from typing import Any

import click

from fastcache import __version__
from fastcache.errors import ConfigError

_COMMANDS = ("serve", "check", "keys", "demo", "bench")
"""Each is ``fastcache.cli.NAME``, a module with a click command called NAME."""


class _Commands(click.Group):
    """A group that finds its commands by module name and turns a ConfigError into exit status 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if importlib.util.find_spec(f"fastcache.cli.{name}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = getattr(importlib.import_module(f"fastcache.cli.{cmd_name}"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"fastcache.cli.{cmd_name}.{cmd_name} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            nearest = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for line in str(error).splitlines():
                click.echo(f"fastcache: {line}", err=True)
            ctx.exit(2)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="fastcache")
def main() -> None:
    """A transparent caching proxy for S3."""
