"""YAML as nodes: texts with the lines they stand on, whatever type YAML would make of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import yaml

from fastcache.errors import ConfigError

_LARGEST_FILE = 1024 * 1024
_TEXT_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "timestamp"))

# Keys are read again while requests are answered; the compiled loader takes a quarter of the time. Its errors say less.
_QUICK_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_limited(stream: BinaryIO) -> bytes:
    """All of it; ValueError when that is more than anybody writes by hand."""
    content = stream.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ValueError("larger than 1MiB")
    return content


def compose(path: Path, content: bytes, *, holds_secrets: bool = False) -> yaml.Node | None:
    """The root node of ``content``, None when it has none; ConfigError with ``path`` and line when it is not YAML.

    With ``holds_secrets`` no error repeats a word of the content, which YAML's own do (an unquoted ``*secret`` is an
    undefined alias to it).
    """
    try:
        return yaml.compose(content, Loader=_QUICK_LOADER if holds_secrets else yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = _QUOTE if holds_secrets else error.problem or error.context
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}") from (None if holds_secrets else error)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: not UTF-8 text, or it holds control characters") from (
            None if holds_secrets else error
        )
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid YAML: nested too deeply") from error


_QUOTE = "check the indentation, and put values that begin with one of & * ! | > % @ ` into quotes"


def line_of(path: Path, node: yaml.Node) -> str:
    """``path:line`` of where ``node`` begins."""
    return f"{path}:{node.start_mark.line + 1}"


def scalar_text(node: yaml.Node) -> str | None:
    """The text as written: whether YAML would make a number or a boolean of it does not matter here."""
    if isinstance(node, yaml.ScalarNode) and node.tag in _TEXT_TAGS:
        return str(node.value)
    return None


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``name`` may be a misspelling of."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
