"""Which settings a reload changes, and which need a restart."""

from __future__ import annotations

import logging

from fastcache.lifecycle.schema import Settings

_log = logging.getLogger("fastcache.lifecycle")

FIXED = ("host", "port", "admin_host", "admin_port", "workers", "cache", "cache_dir", "tcp_congestion")
"""What the supervisor made its sockets, its memory and its directory of."""


def effective(now: Settings, wanted: Settings) -> Settings:
    """``wanted`` as far as a reload can give it; what it cannot is told."""
    kept = {name: getattr(now, name) for name in FIXED if getattr(now, name) != getattr(wanted, name)}
    if kept:
        names = ", ".join(name.replace("_", "-") for name in kept)
        _log.warning("reload: %s changed, which needs a restart; everything else is taken over", names)
    return wanted.but(**kept)
