"""The process's limit of open descriptors, and what of it client connections may have."""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger("fastcache.lifecycle")

RESERVE = 2048
"""Kept back for the origin's connections, cache files, the admin address and logs."""


def connections_within_limit(wanted: int, leased: int = 0) -> int:
    """How many of ``wanted`` client connections can be had; the soft limit is raised as far as needed, for ``leased``
    cache files too.

    Without descriptors for the rest of the process every request that is not a hit would fail, so that connections
    beyond the answer are refused instead. At least half of the limit stays back when it is small.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVE + leased
    if soft != resource.RLIM_INFINITY and soft < needed and (hard == resource.RLIM_INFINITY or soft < hard):
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    possible = max(1, soft - min(RESERVE, soft // 2))
    if possible < wanted:
        _log.warning(
            "only %d client connections instead of %d: the limit of open files is %d (ulimit -n)",
            possible,
            wanted,
            soft,
        )
    return min(wanted, possible)


def idle_cache_files_within_limit(wanted: int) -> int:
    """How many of ``wanted`` cache files may stay open without a reader: an eighth of the limit at most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, soft // 8)


def leased_files_within_limit(wanted: int, connections: int) -> int:
    """How many of ``wanted`` cache files may be kept open for leases beside so many connections. What the limit does
    not allow costs hits their speed, so that they come last; a few there are always."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, max(soft - connections - RESERVE, min(RESERVE, soft // 2) // 4)))
