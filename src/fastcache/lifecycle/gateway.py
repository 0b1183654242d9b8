"""The gateway from the settings: keys, credentials, regions, and what goes out in our name."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Callable, Mapping

from fastcache._core.access_keys import AccessKeys
from fastcache.clock import Clock
from fastcache.engine.gateway import Gateway
from fastcache.engine.signing import Signer
from fastcache.lifecycle.credentials import provider_of
from fastcache.lifecycle.key_ring import KeyRing
from fastcache.lifecycle.mounting import Access, accesses, gap_access, mounts_of
from fastcache.lifecycle.schema import Settings
from fastcache.lifecycle.token_service import no_roles, token_service
from fastcache.model import OriginId
from fastcache.observe.catalogue import GAUGES
from fastcache.observe.metrics import Metrics
from fastcache.policy.access import KeySet, Role
from fastcache.policy.admission import Rules
from fastcache.policy.freshness import Authorization
from fastcache.policy.own_request import BucketPlace
from fastcache.upstream.credentials.choosing import Choice
from fastcache.upstream.credentials.exchange import RoleSessions, TokenService
from fastcache.upstream.credentials.provider import CredentialProvider
from fastcache.upstream.endpoints import Endpoints
from fastcache.upstream.pool import Pool


@contextlib.asynccontextmanager
async def running_gateway(
    settings: Settings, clock: Clock, metrics: Metrics, pool: Pool, make_pool: Callable[[OriginId], Pool]
) -> AsyncIterator[Gateway | None]:
    """The gateway of these settings, as long as it is needed; None where every request goes to the origin as it came.

    ``pool`` is that of the endpoint, ``make_pool`` makes those of its other regions. ConfigError when there can be no
    credentials, or the keys cannot be read.
    """
    rules = _rules(settings)
    if rules.authorization is not Authorization.VERIFY and not rules.signs and not rules.read_only:
        yield None
        return
    async with contextlib.AsyncExitStack() as stack:
        keys = signer = hit_keys = sites = sessions = None
        if settings.keys is not None:
            keys = KeyRing(settings.keys, metrics, no_roles=no_roles(settings, os.environ))
            hit_keys = AccessKeys()
            _load(hit_keys, keys.current)
            keys.on_change(functools.partial(_load, hit_keys))
            sessions = _sessions(stack, settings, keys, clock, metrics, make_pool)
            stack.push_async_callback(keys.close)
            keys.start()
        if rules.signs:
            wanted = accesses(settings)
            sites = await _sites(stack, settings, wanted, clock, metrics, pool, make_pool, sessions=sessions)
            signer = sites[settings.endpoint, ""]
        yield Gateway(rules, keys, signer, clock, metrics, hit_keys=hit_keys, mounts=mounts_of(settings), sites=sites)


def _sessions(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    keys: KeyRing,
    clock: Clock,
    metrics: Metrics,
    make_pool: Callable[[OriginId], Pool],
) -> RoleSessions | None:
    """The sessions of the roles that keys stand for, now and after each reload; None where they can stand for none."""
    if no_roles(settings, os.environ):
        return None
    origin = token_service(settings, os.environ)
    assert origin is not None, "or no key could stand for a role"
    pool = make_pool(origin)
    stack.push_async_callback(pool.close)
    sessions = RoleSessions(TokenService(pool), clock, on_refresh=metrics.credentials_refreshed)
    stack.push_async_callback(sessions.close)
    sessions.update(_roles(keys.current))
    keys.on_change(lambda changed: sessions.update(_roles(changed)))
    return sessions


def _roles(keys: KeySet) -> dict[bytes, Role]:
    return {key.access_key: key.role for key in keys if key.enabled and key.role is not None}


@contextlib.asynccontextmanager
async def running_gap_signer(
    settings: Settings, clock: Clock, metrics: Metrics, pool: Pool, make_pool: Callable[[OriginId], Pool]
) -> AsyncIterator[Signer | None]:
    """Who asks for what a client's read lacks, as long as it is needed; None where only clients ask.

    ``pool`` and ``make_pool`` as for ``running_gateway``. ConfigError when there can be no credentials.
    """
    access = gap_access(settings)
    if access is None:
        yield None
        return
    async with contextlib.AsyncExitStack() as stack:
        place = access.endpoint, ""
        sites = await _sites(stack, settings, {place: access}, clock, metrics, pool, make_pool)
        yield sites[place]


async def _sites(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    wanted: Mapping[tuple[OriginId, str], Access],
    clock: Clock,
    metrics: Metrics,
    pool: Pool,
    make_pool: Callable[[OriginId], Pool],
    *,
    sessions: RoleSessions | None = None,
) -> dict[tuple[OriginId, str], Signer]:
    """Who signs for each place, with credentials that are there; ``pool`` is that of the setting ``endpoint``. Sessions
    stand in the place of the setting ``credentials``, and of no others."""
    ways = {settings.endpoint: Endpoints(pool, make_pool)}
    providers: dict[tuple[Choice, str], CredentialProvider] = {}
    for access in wanted.values():
        if access.endpoint not in ways:
            ways[access.endpoint] = Endpoints(make_pool(access.endpoint), make_pool)
        source = access.credentials, access.signing_region
        if source not in providers:
            count, sts = metrics.credentials_refreshed, settings.sts_endpoint
            providers[source] = provider_of(access, os.environ, clock, count, sts=sts)
    for way in ways.values():
        stack.push_async_callback(way.close)
    for provider in providers.values():
        stack.push_async_callback(provider.close)
    ready = () if sessions is None else (sessions.ready(),)
    await asyncio.gather(*(provider.start() for provider in providers.values()), *ready)
    gauge = GAUGES["fastcache_credentials_expiry_seconds"]
    metrics.gauge(gauge.name, gauge.help, lambda: min(provider.seconds_left() for provider in providers.values()))
    return {
        place: Signer(
            access.endpoint,
            BucketPlace(settings.addressing),
            providers[access.credentials, access.signing_region],
            ways[access.endpoint],
            clock,
            region=access.region,
            sessions=sessions if access.credentials == settings.credentials else None,
        )
        for place, access in wanted.items()
    }


def _load(hit_keys: AccessKeys, keys: KeySet) -> None:
    hit_keys.load(keys.serial, [key for key in keys if key.enabled])


def _rules(settings: Settings) -> Rules:
    authorization = Authorization(settings.authorization)
    signs = settings.upstream == "sign"
    auto = signs and authorization is Authorization.NONE
    return Rules(
        authorization=authorization,
        signs=signs,
        read_only=settings.read_only == "on" or (settings.read_only == "auto" and auto),
        per_key=settings.namespace == "per-key",
    )
