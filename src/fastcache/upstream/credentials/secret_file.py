"""Credentials in a file of their own, which somebody else may write anew at any time."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from fastcache.errors import ConfigError
from fastcache.upstream.credentials.off_the_loop import in_thread
from fastcache.upstream.credentials.private_file import Stamp, current_stamp, read_private
from fastcache.upstream.credentials.profiles import LOOK_EVERY, parse_sections, profile_credentials
from fastcache.upstream.credentials.source import Obtained
from fastcache.upstream.credentials.text import key_pair


class FileSource:
    """A file that is private, in one of two forms: a section ``default`` as in ``~/.aws/credentials``, or the JSON that
    a ``credential_process`` writes (Version 1), whose ``Expiration`` is honoured."""

    look_every = LOOK_EVERY

    def __init__(self, path: Path) -> None:
        self.name = f"file {path}"
        self._path = path
        self._stamp: Stamp | None = None

    async def changed(self) -> bool:
        return await in_thread(lambda: current_stamp(self._path)) != self._stamp

    async def load(self) -> Obtained:
        return await in_thread(self._read)

    def _read(self) -> Obtained:
        data, self._stamp = read_private(self._path)
        try:
            text = data.decode()
            return parse_document(text) if text.lstrip().startswith("{") else _from_section(text)
        except UnicodeDecodeError:
            raise ConfigError(f"{self._path}: not UTF-8") from None
        except ValueError as error:
            raise ConfigError(f"{self._path}: {error}") from None


def _from_section(text: str) -> Obtained:
    section = parse_sections(text).get("default")
    if section is None:
        raise ValueError("there is no section [default]")
    return Obtained(profile_credentials(section))


def parse_document(text: str) -> Obtained:
    """Credentials as a ``credential_process`` writes them; ValueError, which repeats none of it, for anything else."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON, line {error.lineno}") from None
    except RecursionError:
        raise ValueError("not JSON that credentials need") from None
    if document.get("Version") != 1:
        raise ValueError("Version is not 1")
    pair = key_pair(_text(document, "AccessKeyId"), _text(document, "SecretAccessKey"), _text(document, "SessionToken"))
    return Obtained(pair, expiration(_text(document, "Expiration")))


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def expiration(text: str) -> float | None:
    """An ISO 8601 time with its zone as seconds since the epoch, None for no text; ValueError for anything else."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("the expiration is not an ISO 8601 time") from None
    if when.tzinfo is None:
        raise ValueError("the expiration has no time zone")
    return when.timestamp()
