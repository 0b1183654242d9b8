"""One flag for each setting, made from the schema; and quantities for flags that are no settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fastcache.lifecycle.schema import SETTINGS, Setting, Settings
from fastcache.lifecycle.settings import load

_SHORT = {"endpoint": "-e", "port": "-p"}


class Parsed(click.ParamType[Any]):
    """A quantity as in the settings of `serve`."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _option(setting: Setting) -> click.Option:
    meaning = setting.meaning.replace("`", "")
    if setting.default_text:
        meaning += f"  [default: {setting.default_text}]"
    flags = [f"--{setting.flag_name}", *(short for name, short in _SHORT.items() if name == setting.flag_name)]
    # All values are text here: the schema parses them as it does those of the file, with the same errors.
    return click.Option(
        flags,
        metavar=setting.kind.label.replace(" ", "").upper(),
        multiple=setting.kind.repeated,
        help=meaning + (" May be repeated." if setting.kind.repeated else ""),
    )


def settings_command(run: Callable[[Callable[[], Settings]], None]) -> click.Command:
    """The command named and described as ``run``, with ``--config`` and a flag for each setting; ``run`` is given what
    reads them, as often as it is called."""

    def callback(config: Path | None, **values: Any) -> None:
        flags = {name.replace("_", "-"): value for name, value in values.items()}
        run(lambda: load(flags, os.environ, config))

    config = click.Option(
        ["-c", "--config"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="YAML file of settings; FASTCACHE_CONFIG names one too.",
    )
    return click.Command(run.__name__, callback=callback, params=[config, *map(_option, SETTINGS)], help=run.__doc__)
