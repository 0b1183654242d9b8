"""The four sites every client is tried at: two origins, and a proxy of each mode in front of each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from tests.clients.sites import LONG_TTL, Site
from tests.conftest import attach_log
from tests.harness import tools
from tests.harness.proxy import FastcacheProcess

if TYPE_CHECKING:
    from tests.harness.swift import SwiftServer

    from fastcache.origin.process import OriginProcess

# How fast this machine's disk is at the moment is not what is tested: nothing is left unstored or asked for twice.
PATIENT = ("--fill-detach-after", "60s", "--fill-follow-wait", "30s")
MODES = {"revalidate": PATIENT, "none": ("--authorization", "none", "--ttl", LONG_TTL, *PATIENT)}
SITES = [(kind, mode) for kind in ("swift", "own") for mode in MODES]
COUNTED = [("swift", "revalidate"), *(("own", mode) for mode in MODES)]

StartSite = Callable[[str, str], Site]


@pytest.fixture(scope="session")
def start_site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _origin_process: OriginProcess
) -> Iterator[StartSite]:
    """``start_site(kind, mode)``: the one site of that kind and mode, started when it is first asked for.

    Tests share proxies, because a bucket of its own is all that a test needs.
    """
    proxies: list[FastcacheProcess] = []

    @functools.cache
    def start(kind: str, mode: str) -> Site:
        directory = tmp_path_factory.mktemp(f"site-{kind}-{mode}")
        if kind == "swift":
            tools.require_tool("swift")
            server: SwiftServer = request.getfixturevalue("swift")
            endpoint, access_key, secret_key = server.endpoint, server.user.access_key, server.user.secret_key
            body_sent = None
        else:
            endpoint = _origin_process.endpoint
            access_key, secret_key = _origin_process.access_key, _origin_process.secret_key
            body_sent = _origin_process.control.body_sent
        proxy = FastcacheProcess(endpoint, directory / "cache", directory / "log", arguments=MODES[mode])
        proxies.append(proxy)
        return Site(kind, mode, endpoint, proxy, access_key, secret_key, body_sent)

    yield start
    try:
        for proxy in proxies:
            proxy.stop()
    finally:
        for proxy in proxies:
            proxy.kill()


@pytest.fixture(params=SITES, ids=["-".join(site) for site in SITES])
def site(request: pytest.FixtureRequest, start_site: StartSite, origin: OriginProcess) -> Site:
    """Each origin behind each mode; our own origin is empty."""
    started = start_site(*request.param)
    attach_log(request, started.proxy.logs)
    return started


@pytest.fixture(params=SITES[1:], ids=["-".join(site) for site in SITES[1:]])
def fewer_sites(request: pytest.FixtureRequest, start_site: StartSite, origin: OriginProcess) -> Site:
    """All sites but one: Swift is slow, and for writes and names the mode with a TTL is the harder one."""
    started = start_site(*request.param)
    attach_log(request, started.proxy.logs)
    return started


@pytest.fixture(params=COUNTED, ids=["-".join(site) for site in COUNTED])
def counted_site(request: pytest.FixtureRequest, start_site: StartSite, origin: OriginProcess) -> Site:
    """Swift, which verifies every signature, once; our own origin, which counts for each bucket, in each mode."""
    started = start_site(*request.param)
    attach_log(request, started.proxy.logs)
    return started


@pytest.fixture(params=list(MODES))
def own_site(request: pytest.FixtureRequest, start_site: StartSite, origin: OriginProcess) -> Site:
    """Our own origin behind each mode."""
    started = start_site("own", request.param)
    attach_log(request, started.proxy.logs)
    return started
