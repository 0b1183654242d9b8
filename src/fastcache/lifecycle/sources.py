"""What the file, the environment and the flags say, as text with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fastcache.errors import ConfigError
from fastcache.lifecycle.schema import BY_PATH, GROUPS, SETTINGS, Setting
from fastcache.lifecycle.yaml_nodes import compose, line_of, nearest_name, read_limited, scalar_text

CONFIG_VARIABLE = "FASTCACHE_CONFIG"
ALIASES = {"ENDPOINT": "endpoint", "PORT": "port"}
"""Variables without our prefix, as other S3 tools and platforms set them; ours win."""

_PREFIX = "FASTCACHE_"
_NOT_SETTINGS = re.compile(r"FASTCACHE_(?:TEST_.*|BUILD)")
# Kubernetes describes each Service of the namespace to every container (docker-links style); a Service called
# fastcache, or fastcache-admin, lands among our own variables.
_SERVICE_VARIABLE = re.compile(r"FASTCACHE_(?:.+_)?(?:SERVICE_(?:HOST|PORT(?:_.+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_.+)?)")
_SERVICE_PORT_VARIABLE = re.compile(r"FASTCACHE_(?:.+_)?PORT")
_SERVICE_PORT_VALUE = re.compile(r"(?:tcp|udp|sctp)://")


@dataclass(frozen=True)
class Given:
    """A value somebody wrote: one text per item, each with its place. A setting that is no list has one item."""

    items: tuple[tuple[str, str], ...]
    place: str

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(text for text, _ in self.items)


@dataclass
class Reading:
    """What one source says, what is wrong with it, and what was ignored on purpose."""

    given: dict[tuple[str, ...], Given] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def _given(setting: Setting, text: str, place: str) -> Given:
    texts = _split(text) if setting.kind.repeated else (text.strip(),)
    return Given(tuple((item, place) for item in texts), place)


def _split(text: str) -> tuple[str, ...]:
    return tuple(item for item in map(str.strip, text.split(",")) if item)


def read_flags(values: Mapping[str, Any]) -> Reading:
    """``values`` by flag name without dashes (``fill-window``); None and empty sequences were not given."""
    by_flag = {setting.flag_name: setting for setting in SETTINGS}
    reading = Reading()
    for name, value in values.items():
        setting = by_flag.get(name)
        if setting is None:
            nearest = nearest_name(name, by_flag)
            reading.problems.append(f"flag --{name} is not known" + (f"; did you mean --{nearest}?" if nearest else ""))
            continue
        texts = [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
        if value is None or not texts:
            continue
        reading.given[setting.path] = _given(setting, ",".join(texts), f"flag --{name}")
    return reading


def read_environment(environ: Mapping[str, str]) -> Reading:
    """Our variables in ``environ``. An empty one counts as not set, which is what ``VAR=`` in a unit file means."""
    by_variable = {setting.variable: setting for setting in SETTINGS}
    reading = Reading()
    for alias, name in ALIASES.items():
        if environ.get(alias):
            setting = BY_PATH[(name,)]
            reading.given[setting.path] = _given(setting, environ[alias], f"variable {alias}")
    injected = []
    for variable in sorted(name for name in environ if name.startswith(_PREFIX)):
        value = environ[variable]
        if variable == CONFIG_VARIABLE or _NOT_SETTINGS.fullmatch(variable):
            continue
        if _is_service_variable(variable, value):
            injected.append(variable)
        elif variable not in by_variable:
            # Without the prefix, which would make everything look alike.
            known = (name.removeprefix(_PREFIX) for name in (*by_variable, CONFIG_VARIABLE))
            nearest = nearest_name(variable.removeprefix(_PREFIX), known)
            hint = f"; did you mean {_PREFIX}{nearest}?" if nearest else ""
            reading.problems.append(f"variable {variable} is not known{hint}")
        elif value:
            setting = by_variable[variable]
            reading.given[setting.path] = _given(setting, value, f"variable {variable}")
    if injected:
        reading.notices.append(
            f"ignored what Kubernetes sets for a Service ({len(injected)}, such as {injected[0]}); "
            "enableServiceLinks: false turns it off"
        )
    return reading


def _is_service_variable(variable: str, value: str) -> bool:
    if _SERVICE_VARIABLE.fullmatch(variable):
        return True
    # The one name that both can mean: an address is Kubernetes', anything else is a setting (or a mistake in one).
    return bool(_SERVICE_PORT_VARIABLE.fullmatch(variable) and _SERVICE_PORT_VALUE.match(value))


def read_file(path: Path) -> Reading:
    """The settings in a YAML file. Raises ConfigError when it cannot be read as YAML at all."""
    root = compose(path, _content(path))
    reading = Reading()
    if root is None or root.tag == "tag:yaml.org,2002:null":
        return reading
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{line_of(path, root)}: not a mapping; write one `key: value` a line")
    _read_mapping(path, root, (), reading)
    return reading


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return read_limited(stream)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; give the configuration file with -c") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}; give the configuration file with -c") from None


def _read_mapping(path: Path, mapping: yaml.MappingNode, prefix: tuple[str, ...], reading: Reading) -> None:
    seen: dict[str, str] = {}
    for key_node, value_node in mapping.value:
        line = line_of(path, key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            reading.problems.append(f"{line}: a key is a plain word, not a list or mapping")
            continue
        key = key_node.value
        name = ".".join((*prefix, key))
        if key in seen:
            reading.problems.append(f"{line}: {name} is already set at {seen[key]}; keep one of the two")
            continue
        seen[key] = line
        if not prefix and key in GROUPS:
            if isinstance(value_node, yaml.MappingNode):
                _read_mapping(path, value_node, (key,), reading)
            else:
                reading.problems.append(f"{line}: {name} is a group; write its keys below it, indented")
        elif (*prefix, key) in BY_PATH:
            _read_setting(path, BY_PATH[(*prefix, key)], key_node, value_node, reading)
        else:
            reading.problems.append(f"{line}: unknown key {name}{_key_hint(prefix, key)}")


def _key_hint(prefix: tuple[str, ...], key: str) -> str:
    """The nearest key, first among those of the same group, then anywhere (``fill-window`` or ``window`` alone)."""
    siblings = [known[-1] for known in BY_PATH if known[:-1] == prefix] + ([] if prefix else list(GROUPS))
    normal = key.lower().replace("_", "-")
    elsewhere = [setting for setting in SETTINGS if normal in (setting.name, setting.flag_name, setting.path[-1])]
    if normal not in siblings and elsewhere:
        return f"; did you mean {': '.join(elsewhere[0].path)}?"
    nearest = nearest_name(normal, siblings)
    return f"; did you mean {nearest}?" if nearest else ""


def _read_setting(path: Path, setting: Setting, key: yaml.Node, value: yaml.Node, reading: Reading) -> None:
    place = f"{line_of(path, key)}, key {setting.name}"
    if isinstance(value, yaml.SequenceNode):
        if not setting.kind.repeated:
            reading.problems.append(f"{place}: takes one value, not a list")
            return
        items = tuple(_texts(path, setting, value, reading))
        if len(items) == len(value.value):
            reading.given[setting.path] = Given(items, place)
        return
    text = scalar_text(value)
    if text is None:
        what = "a list or one value" if setting.kind.repeated else "one value"
        reading.problems.append(f"{place}: has no value that can be used; write {what}, or remove the key")
        return
    reading.given[setting.path] = _given(setting, text, place)


def _texts(path: Path, setting: Setting, sequence: yaml.SequenceNode, reading: Reading) -> Iterator[tuple[str, str]]:
    for node in sequence.value:
        place = f"{line_of(path, node)}, key {setting.name}"
        text = scalar_text(node)
        if text is None:
            reading.problems.append(f"{place}: an item is one value, not a list, a mapping or nothing")
        else:
            yield text.strip(), place
