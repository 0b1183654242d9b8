"""Buckets under names of our own (``mounts``), and as whom each endpoint is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fastcache.lifecycle.kinds import Mount
from fastcache.lifecycle.schema import Settings
from fastcache.model import OriginId
from fastcache.policy.mounts import Mounts, Place
from fastcache.protocol.aws_hosts import default_region
from fastcache.upstream.credentials.choosing import Choice


class Access(NamedTuple):
    """As whom an endpoint is asked."""

    endpoint: OriginId
    credentials: Choice
    region: str
    """As configured; empty for that in the endpoint's name."""

    @property
    def signing_region(self) -> str:
        """The region to begin with."""
        return self.region or default_region(self.endpoint.host)


def accesses(settings: Settings) -> dict[tuple[OriginId, str], Access]:
    """Every access there is, by endpoint and name as a Place has them; that of the setting ``endpoint`` first."""
    default = _default_access(settings)
    found = [default, *(_access_of(settings, mount) for mount in settings.mounts)]
    return {(access.endpoint, _name(access, default)): access for access in found}


def gap_access(settings: Settings) -> Access | None:
    """As whom the endpoint is asked for what a client's read lacks; None where only clients ask it."""
    choice = settings.gap_credentials
    return None if choice is None else Access(settings.endpoint, choice, settings.region)


def mounts_of(settings: Settings) -> Mounts | None:
    """The mounts, whose names are to be different; None where there are none."""
    if not settings.mounts:
        return None
    default = _default_access(settings)

    def places() -> Iterator[tuple[bytes, Place]]:
        for mount in settings.mounts:
            name = _name(_access_of(settings, mount), default)
            yield mount.name.encode(), Place(mount.endpoint, mount.bucket.encode(), name)

    return Mounts(settings.endpoint, places())


def _default_access(settings: Settings) -> Access:
    return Access(settings.endpoint, settings.credentials, settings.region)


def _access_of(settings: Settings, mount: Mount) -> Access:
    region = settings.region if mount.endpoint == settings.endpoint else ""
    return Access(mount.endpoint, mount.credentials or settings.credentials, mount.region or region)


def _name(access: Access, default: Access) -> str:
    return "" if access == default else f"{access.credentials} {access.region}"
