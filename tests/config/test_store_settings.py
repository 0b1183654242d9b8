"""What of the settings one store gets, of several processes on one directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastcache.lifecycle.settings import load
from fastcache.lifecycle.shares import share_of
from fastcache.lifecycle.store_settings import store_settings


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_all_processes_together_know_no_more_than_the_index_memory(tmp_path: Path, workers: int) -> None:
    given = {"FASTCACHE_ENDPOINT": "http://127.0.0.1:1", "FASTCACHE_CACHE_DIR": str(tmp_path)}
    given |= {"FASTCACHE_WORKERS": str(workers), "FASTCACHE_INDEX_MEMORY": "900MiB"}
    settings = load({}, given)
    keeper = store_settings(settings, idle_descriptors=0).index_memory
    each = store_settings(share_of(settings, workers), idle_descriptors=0).index_memory
    assert keeper == each == (900 << 20) // (workers + 1)
