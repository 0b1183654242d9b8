"""``configure``: load settings the way a start does, with a file written for the test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fastcache.errors import ConfigError
from fastcache.lifecycle.settings import Settings, load


class Configure:
    """Loads with an endpoint and a cache directory that work unless the test says otherwise."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "fastcache.yaml"
        self.cache_dir = directory / "cache"
        self._keys_file = directory / "keys.yaml"

    @property
    def keys_file(self) -> Path:
        """A keys file with one key."""
        self._keys_file.touch(mode=0o600)
        self._keys_file.write_text(
            "- access_key: AKIAEXAMPLE\n"
            "  secret_key: example-secret\n"
            "  allow:\n"
            "    - {actions: [read], resources: ['bucket/*']}\n"
        )
        return self._keys_file

    def __call__(
        self, yaml: str | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
    ) -> Settings:
        base = {"CACHE_DIRECTORY": str(self.cache_dir)}
        if not re.search("^endpoint:", yaml or "", re.MULTILINE):
            base["ENDPOINT"] = "http://origin.test:9000"
        if yaml is not None:
            self.file.write_text(yaml)
        return load(flags or {}, {**base, **(environ or {})}, None if yaml is None else self.file)

    def refusal(
        self, yaml: str | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
    ) -> str:
        """The text of the ConfigError that loading ends in, without the test's own directory."""
        with pytest.raises(ConfigError) as caught:
            self(yaml, environ, flags)
        return str(caught.value).replace(f"{self.file.parent}/", "")


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    return Configure(tmp_path)
