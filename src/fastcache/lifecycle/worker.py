"""One worker: everything that serves, built from the settings and taken down again.

A supervisor's worker is given its socket, the cache directory and the shared memory. One that is alone, inside of a
test, has them to itself, and an admin endpoint of its own.
"""

from __future__ import annotations

import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Callable, Sequence

from fastcache._core.fences import Fences
from fastcache._core.hit_log import HitLog
from fastcache._core.hits import Hits
from fastcache._core.leases import Leases
from fastcache._core.ordering import Numbers
from fastcache._core.sigv4 import Verifier
from fastcache.clock import SystemClock
from fastcache.engine.ahead import ReadingAhead
from fastcache.engine.context import Context
from fastcache.engine.elsewhere import Elsewhere
from fastcache.engine.fill_limits import FillLimits, WindowBudget
from fastcache.engine.leasing import GRANTS, Lessor
from fastcache.lifecycle.addresses import is_aws, url_of
from fastcache.lifecycle.descriptors import (
    connections_within_limit,
    idle_cache_files_within_limit,
    leased_files_within_limit,
)
from fastcache.lifecycle.gateway import running_gap_signer, running_gateway
from fastcache.lifecycle.inherited import Inherited
from fastcache.lifecycle.mounting import mounts_of
from fastcache.lifecycle.schema import Settings
from fastcache.lifecycle.shares import worker_count
from fastcache.lifecycle.store_settings import store_settings
from fastcache.lifecycle.tallies import StoreTally
from fastcache.model import OriginId
from fastcache.observe.access_log import AccessLog
from fastcache.observe.catalogue import GAUGES
from fastcache.observe.lag import LagSampler
from fastcache.observe.metrics import Metrics
from fastcache.policy.freshness import Authorization, Ttls
from fastcache.policy.widening import Widening
from fastcache.protocol.requests import HeadLimits
from fastcache.protocol.targets import Addressing, bucket_aliases
from fastcache.server.frontend import Frontend
from fastcache.server.health import Health, Status
from fastcache.server.hit_branch import build_hits
from fastcache.server.listener import address_of, open_listener
from fastcache.storage.reports import Reports
from fastcache.storage.shared_store import SharedStore
from fastcache.storage.sharing import Share
from fastcache.storage.store import Store
from fastcache.upstream.pool import Pool
from fastcache.upstream.settings import UpstreamSettings

_LEAD_SHARE = 20
"""A fill is at most a twentieth of the tier ahead of its readers (DESIGN section 2)."""
_LEAD_FLOOR = 512 * 1024
_AHEAD_SHARE = 20
"""What is fetched ahead of all readers together is at most a twentieth of the tier."""
_IDLE_CACHE_FILES = 1024
"""Cache files kept open without a reader, where the limit of open files allows it."""


class _OriginMetrics:
    """The upstream's callbacks as the product's metrics."""

    __slots__ = ("_metrics",)

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def connection_opened(self) -> None:
        self._metrics.origin_connection_opened()

    def connection_closed(self) -> None: ...

    def connect_failed(self) -> None:
        """Counted with the request that it fails."""

    def request_sent(self, method: bytes) -> None: ...

    def request_retried(self, method: bytes) -> None:
        self._metrics.origin_error("retried")

    def body_received(self, count: int) -> None:
        self._metrics.origin_bytes(count)

    def bytes_sent(self, count: int) -> None: ...


class State:
    """Where in its life the worker is; what ``/health`` answers from."""

    def __init__(self) -> None:
        self.status = Status.STARTING

    def health(self) -> Health:
        return Health(self.status)


class Worker:
    """What is running, for the main coroutine and for tests that embed it."""

    def __init__(self, ctx: Context, frontend: Frontend, state: State, url: str, admin_url: str) -> None:
        self.ctx = ctx
        self.frontend = frontend
        self.state = state
        self.url = url
        self.admin_url = admin_url


@contextlib.asynccontextmanager
async def _worker(settings: Settings, inherited: Inherited | None = None) -> AsyncIterator[Worker]:
    clock = SystemClock()
    metrics = Metrics() if inherited is None else inherited.metrics
    fences = Fences() if inherited is None else inherited.fences
    state = State()
    max_connections = connections_within_limit(settings.limits.max_connections, settings.hit.files)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(_listening(settings) if inherited is None else inherited.listener())
        store = await _open_store(settings, fences, clock, metrics, inherited) if settings.cache else None
        if store is not None:
            stack.push_async_callback(store.close)
        pools: list[Pool] = []

        def make_pool(origin: OriginId) -> Pool:
            pools.append(Pool(origin, settings=_upstream_settings(settings), metrics=_OriginMetrics(metrics)))
            return pools[-1]

        pool = make_pool(settings.endpoint)
        stack.push_async_callback(pool.close)
        access_log = AccessLog(settings.access_log, settings.access_log_file, metrics)
        stack.callback(access_log.close)
        ctx = _context(settings, pool, store, fences, clock, metrics, access_log)
        ctx.gateway = await stack.enter_async_context(running_gateway(settings, clock, metrics, pool, make_pool))
        ctx.watcher = _read_ahead(settings, ctx)
        own = running_gap_signer(settings, clock, metrics, pool, make_pool)
        ctx.gap_signer = await stack.enter_async_context(own)
        if isinstance(store, SharedStore):
            ctx.flights.elsewhere = Elsewhere(store, ctx.follow_wait, ctx.flights.store_behind)
        stack.push_async_callback(ctx.flights.close)
        if inherited is not None and inherited.generations is not None:
            ctx.numbers = Numbers(inherited.generations)
        limits = HeadLimits(
            bytes=settings.limits.head_bytes,
            fields=settings.limits.header_fields,
            target=settings.limits.target_bytes,
        )
        hits, log_of_hits = _hit_branch(settings, ctx, limits, max_connections)
        neighbours = None if inherited is None else inherited.neighbours()
        if neighbours is not None:
            stack.callback(neighbours.close)
        frontend = Frontend(
            ctx,
            limits=limits,
            max_connections=max_connections,
            head_timeout=settings.timeouts.head,
            idle_timeout=settings.timeouts.keep_alive,
            stall_timeout=settings.timeouts.client_stall,
            min_rate=settings.limits.min_client_rate,
            networks=settings.allow_from,
            hits=hits,
            hit_log=log_of_hits,
            neighbours=neighbours,
        )
        stack.push_async_callback(frontend.close)
        _register_gauges(metrics, ctx, frontend, pools)
        admin_url = ""
        if inherited is None:
            # Only here: a supervisor has it, and its workers can do without all that an HTTP framework brings.
            from fastcache.server.admin import AdminServer

            admin = AdminServer(settings.admin_host, settings.admin_port, state.health, metrics)
            await admin.start()
            stack.push_async_callback(admin.stop)
            admin_url = url_of(settings.admin_host, admin.port)
        sampler = LagSampler(metrics)
        sampler.start()
        stack.push_async_callback(sampler.stop)
        frontend.start([listener])
        state.status = Status.OK
        gc.collect()
        gc.freeze()  # what start-up made lives as long as the process: keep it out of every later collection
        host, port = address_of(listener)
        yield Worker(ctx, frontend, state, url_of(host, port), admin_url)


def _listening(settings: Settings) -> socket.socket:
    return open_listener(settings.host, settings.port, congestion=settings.tcp_congestion or None)


async def _open_store(
    settings: Settings, fences: Fences, clock: SystemClock, metrics: Metrics, inherited: Inherited | None
) -> Store:
    own = store_settings(settings, idle_descriptors=idle_cache_files_within_limit(_IDLE_CACHE_FILES))
    tally = StoreTally(metrics)
    if inherited is None:
        return await Store.open(own, fences, clock, tally)
    birth = inherited.birth
    reports = Reports(inherited.reports(), inherited.memory, birth.place)
    share = Share(inherited.memory, birth.place, birth.incarnation, reports, inherited.generations)
    return SharedStore(own, inherited.directory(), fences, clock, tally, share, reports)


def _upstream_settings(settings: Settings) -> UpstreamSettings:
    return UpstreamSettings(
        connect_timeout=settings.timeouts.connect,
        first_byte_timeout=settings.timeouts.first_byte,
        idle_timeout=settings.timeouts.origin_idle,
        pool_idle=settings.timeouts.pool_idle,
        ca_file=None if settings.ca_file is None else str(settings.ca_file),
        tcp_congestion=settings.tcp_congestion or None,
    )


def _context(
    settings: Settings,
    pool: Pool,
    store: Store | None,
    fences: Fences,
    clock: SystemClock,
    metrics: Metrics,
    access_log: AccessLog,
) -> Context:
    lead = max(_LEAD_FLOOR, min(settings.fill.lead, settings.cache_size // _LEAD_SHARE))
    return Context(
        origin=settings.endpoint,
        addressing=Addressing(
            accepted_hosts=(*_own_names(), *(name.encode("ascii") for name in settings.hosts)),
            virtual_host_suffixes=tuple(name.encode("ascii") for name in settings.virtual_host_suffixes),
            endpoint_host=settings.endpoint.host.encode("ascii"),
            only_endpoint=is_aws(settings.endpoint.host) and settings.upstream == "passthrough",
        ),
        pool=pool,
        store=store,
        fences=fences,
        clock=clock,
        metrics=metrics,
        access_log=access_log,
        authorization=Authorization(settings.authorization),
        ttls=Ttls(
            settings.ttl,
            settings.head_ttl,
            settings.stale_while_revalidate,
            settings.stale_if_error,
            settings.object_max_age == "honour",
        ),
        follow_wait=settings.fill.follow_wait,
        fill_limits=FillLimits(
            lead=lead,
            window=settings.fill.window,
            linger_bytes=settings.fill.linger_bytes,
            linger=settings.fill.linger,
            detach_after=settings.fill.detach_after,
        ),
        window_budget=WindowBudget(settings.fill.window_budget),
        max_requests=settings.limits.max_requests_in_flight,
        allow_kms=settings.kms == "allow",
        aliases=bucket_aliases(settings.aliases),
        mounts=mounts_of(settings),
        multi_range=settings.multi_range == "multipart",
        write_through_backlog=settings.write_through_backlog,
        write_through_max=settings.write_through_max if settings.write_through else 0,
        widening=Widening(settings.widen, settings.widen - 1) if settings.widen else None,
    )


def _read_ahead(settings: Settings, ctx: Context) -> ReadingAhead | None:
    """What fetches ahead of readers, where requests of our own can be made for that."""
    if not ctx.signs or ctx.store is None or not settings.read_ahead:
        return None
    share = settings.cache_size // _AHEAD_SHARE // worker_count(settings)
    return ReadingAhead(ctx, ctx.store, settings.read_ahead, share)


def _hit_branch(
    settings: Settings, ctx: Context, limits: HeadLimits, max_connections: int
) -> tuple[Hits | None, HitLog | None]:
    """The compiled hit branch; ``ctx`` gets the lessor that feeds it. None where the origin is asked about hits, and in
    a way that only the engine knows."""
    if not settings.hit.branch or ctx.store is None:
        return None, None
    asking = not ctx.authorization.has_ttl
    origins = ctx.pool.lend(ctx.numbers) if asking and ctx.gateway is None else None
    if asking and origins is None:
        return None, None
    keys = None if ctx.gateway is None else ctx.gateway.hit_keys
    files = leased_files_within_limit(settings.hit.files, max_connections)
    grants = 0 if keys is None else GRANTS
    leases = Leases(ctx.fences, settings.hit.leases, settings.hit.memory, files, grants)
    generations = ctx.numbers.shared
    ctx.lessor = Lessor(leases, ctx.store, ctx.clock, ctx.ttls, keys, must_prove=asking, generations=generations)
    verifier = None if keys is None else Verifier(keys)
    return build_hits(
        leases, ctx.metrics, ctx.access_log, limits, parser=settings.hit.parser, verifier=verifier, origins=origins
    )


def _own_names() -> tuple[bytes, ...]:
    """This machine's own names, which clients may use as Host (SEMANTICS 3)."""
    name = socket.gethostname()
    names = {name, socket.getfqdn(name)}
    return tuple(n.encode("idna") if not n.isascii() else n.encode("ascii") for n in sorted(names) if n)


def _register_gauges(metrics: Metrics, ctx: Context, frontend: Frontend, pools: Sequence[Pool]) -> None:
    values: dict[str, Callable[[], float]] = {
        "fastcache_open_connections": frontend.reactor.connections,
        "fastcache_fills_active": ctx.flights.active,
        "fastcache_window_bytes": lambda: ctx.window_budget.used,
        "fastcache_origin_pool_connections": lambda: sum(pool.open_connections for pool in pools),
    }
    store = ctx.store
    if store is not None:
        values |= {
            "fastcache_cache_bytes": lambda: store.stats().used,
            "fastcache_cache_capacity_bytes": lambda: store.stats().capacity,
            "fastcache_memory_objects": lambda: store.stats().objects_in_memory,
            "fastcache_memory_extents": lambda: store.stats().extents_in_memory,
        }
    lessor = ctx.lessor
    if lessor is not None:
        values |= {
            "fastcache_leases": lambda: len(lessor.leases),
            "fastcache_lease_memory_bytes": lambda: lessor.leases.memo_bytes,
            "fastcache_leased_files": lambda: lessor.leases.open_extents,
        }
    for name, value in values.items():
        metrics.gauge(name, GAUGES[name].help, value)
