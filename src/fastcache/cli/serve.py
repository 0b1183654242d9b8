"""``fastcache serve``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

from fastcache.cli.options import settings_command
from fastcache.lifecycle import cache_directory
from fastcache.lifecycle.settings import Settings


@settings_command
def serve(load: Callable[[], Settings]) -> None:
    """Serve S3 clients from the cache until told to stop."""
    settings = load()
    if settings.cache:
        cache_directory.prepare(settings.cache_dir)
    # Imported only now: a mistake in the settings is told without loading the whole proxy.
    sys.exit(importlib.import_module("fastcache.lifecycle.supervisor").run(load, settings))
