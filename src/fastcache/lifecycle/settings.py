"""Settings from flags, environment and file, in this order of precedence, then the defaults."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from fastcache.errors import ConfigError
from fastcache.lifecycle import rules, sources
from fastcache.lifecycle.cache_directory import default_cache_directory
from fastcache.lifecycle.groups import Fill, Limits, Timeouts
from fastcache.lifecycle.schema import BY_PATH, SETTINGS, Setting, Settings
from fastcache.lifecycle.sources import Given

__all__ = ["Fill", "Limits", "Settings", "Timeouts", "load", "render_effective"]

_PLAIN = re.compile(r"[A-Za-z0-9/][A-Za-z0-9/._:+-]*(?<!:)")
_CACHE_DIR = ("cache-dir",)
_CHECKED = TypeAdapter(Settings)


def load(argv_values: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """The settings to run with, all rules checked. Nothing is written or bound.

    ``argv_values`` is by flag name without dashes (``fill-window``); ``file`` defaults to ``FASTCACHE_CONFIG``. Raises
    ConfigError with a line for each problem found.
    """
    if file is None and environ.get(sources.CONFIG_VARIABLE):
        file = Path(environ[sources.CONFIG_VARIABLE])
    readings = [
        sources.Reading() if file is None else sources.read_file(file),
        sources.read_environment(environ),
        sources.read_flags(argv_values),
    ]
    given: dict[tuple[str, ...], Given] = {}
    for reading in readings:
        given.update(reading.given)
    problems = [problem for reading in readings for problem in reading.problems]
    settings = _validated(given, environ, problems)
    notices = [notice for reading in readings for notice in reading.notices]
    return settings.but(notices=(*notices, *rules.notices(settings)))


def _validated(given: Mapping[tuple[str, ...], Given], environ: Mapping[str, str], problems: list[str]) -> Settings:
    """``given`` as Settings; ``problems`` are those already known, all are told at once."""
    tree, decided_by = _tree(given), None
    if _CACHE_DIR not in given:
        directory, decided_by = default_cache_directory(environ, os.geteuid())
        tree["cache-dir"] = str(directory)
    try:
        settings = _CHECKED.validate_python(tree)
    except ValidationError as error:
        problems += [_problem(details, given, decided_by) for details in error.errors()]
        raise ConfigError("\n".join(problems)) from None
    settings = settings.but(places={BY_PATH[path].name: value.place for path, value in given.items()})
    problems += rules.refusals(settings)
    if problems:
        raise ConfigError("\n".join(problems))
    return settings


def _tree(given: Mapping[tuple[str, ...], Given]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in given.items():
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = value.texts if BY_PATH[path].kind.repeated else value.texts[0]
    return tree


def _problem(details: ErrorDetails, given: Mapping[tuple[str, ...], Given], decided_by: str | None) -> str:
    location = details["loc"]
    path = tuple(key for key in location if isinstance(key, str))
    if details["type"] == "missing":
        return "endpoint is missing; give -e URL, FASTCACHE_ENDPOINT, or the key endpoint in a file named with -c"
    # Kinds raise ValueError and nothing else, so its text is ours; pydantic's own may repeat a value.
    reason = str(details["ctx"]["error"])
    if path not in given:
        return f"variable {decided_by}: {reason}"
    index = location[-1] if isinstance(location[-1], int) else 0
    return f"{given[path].items[index][1]}: {reason}"


def render_effective(settings: Settings) -> str:
    """``settings`` as YAML that loads to the same, with the place of each value that is not a default."""
    lines = []
    group: tuple[str, ...] = ()
    for setting in SETTINGS:
        if setting.path[:-1] != group:
            group = setting.path[:-1]
            lines.append(f"{group[0]}:")
        line = f"{'  ' * len(group)}{setting.path[-1]}: {_rendered(setting, settings)}"
        if setting.name in settings.explicit:
            line += f"  # {settings.place(setting.name)}"
        elif setting.name in rules.TTL_SETTINGS and settings.authorization == "revalidate":
            # Written out it would be refused (SEMANTICS 7).
            line = f"# {line}  (with authorization: none or verify)"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _rendered(setting: Setting, settings: Settings) -> str:
    value = setting.value_in(settings)
    if setting.kind.repeated:
        return f"[{', '.join(_quoted(setting.kind.render(item)) for item in value)}]"
    return _quoted(setting.kind.render(value))


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
