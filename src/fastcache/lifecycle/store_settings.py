"""How the cache directory is used, by the settings."""

from __future__ import annotations

from fastcache.lifecycle.schema import Settings
from fastcache.lifecycle.shares import worker_count
from fastcache.storage.settings import StoreSettings


def store_settings(settings: Settings, *, idle_descriptors: int) -> StoreSettings:
    """For one store; all on a directory agree on what is not theirs alone."""
    return StoreSettings(
        directory=settings.cache_dir,
        capacity=settings.cache_size,
        io_threads=settings.io_threads,
        durability="fsync" if settings.durability == "fsync" else "none",
        index_memory=settings.index_memory // (worker_count(settings) + 1),  # the keeper knows them all
        idle_descriptors=idle_descriptors,
        upload_expiry=settings.upload_expiry,
    )
