"""Fixtures of the whole suite: real origins, fastcache as a process, and what the machine must have."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from tests.harness import tools
from tests.harness.clients import boto3_client
from tests.harness.handles import nothing_stays
from tests.harness.origin import make_clean, running_origin
from tests.harness.proxy import FastcacheProcess
from tests.harness.swift import SwiftServer, running_swift

from fastcache._core import handles

if TYPE_CHECKING:
    from tests.harness.scheduling import Scheduling
    from xdist.remote import Producer

    from fastcache.origin.process import OriginProcess

# A busy two-core machine is slow, which is not what a property test is about.
settings.register_profile("fastcache", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastcache")

_LOGS: pytest.StashKey[list[Callable[[], str]]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    tools.required()
    build = os.environ.get("FASTCACHE_BUILD", "")
    if build == "sanitize" and f"build/{build}/" not in handles.__file__:
        raise pytest.UsageError(f"FASTCACHE_BUILD={build}, but the core is {handles.__file__}: use tools/sanitize")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    if config.getoption("dist") != "loadfile":
        return None
    # Here, because a run in one process needs no xdist.
    from tests.harness.scheduling import Scheduling

    return Scheduling(config, log)


def pytest_report_header(config: pytest.Config) -> str:
    return f"{tools.VARIABLE}: {', '.join(sorted(tools.required())) or 'not set: a missing tool is a skip'}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Put the logs of the servers a failed test used into its report."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.failed:
        for log in item.stash.get(_LOGS, []):
            report.sections.append(("servers' logs", log()))


def attach_log(request: pytest.FixtureRequest, log: Callable[[], str]) -> None:
    """``log()`` is added to the report of the requesting test if that fails."""
    request.node.stash.setdefault(_LOGS, []).append(log)


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """No test leaves a handle of the compiled core behind; a proxy of its own says so itself when it ends."""
    with nothing_stays():
        yield


@pytest.fixture
def require_tool() -> Callable[..., None]:
    """``require_tool("strace", "root")``: skip unless the machine has them, fail where they are required."""
    return tools.require_tool


@pytest.fixture(scope="session")
def swift() -> Iterator[SwiftServer]:
    """OpenStack Swift, one for the whole run: a test makes buckets of its own."""
    tools.require_tool("swift")
    with running_swift() as server:
        yield server


@pytest.fixture
def swift_client(swift: SwiftServer) -> Any:
    """boto3 straight to Swift, as its first user."""
    return boto3_client(swift.endpoint, swift.user.access_key, swift.user.secret_key)


@pytest.fixture
def swift_bucket(swift_client: Any) -> str:
    """The name of a new, empty bucket of Swift's first user."""
    name = f"bucket-{uuid.uuid4().hex}"
    swift_client.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="session")
def _origin_process() -> Iterator[OriginProcess]:
    with running_origin() as process:
        yield process


@pytest.fixture
def origin(_origin_process: OriginProcess) -> OriginProcess:
    """Our own S3 origin, empty and without faults: the same process for all tests, as clean as a new one.

    ``origin.control`` makes objects and faults, and tells what reached it. A test that needs other options starts its
    own with ``fastcache.origin.process.start_origin``.
    """
    make_clean(_origin_process)
    return _origin_process


@pytest.fixture
def start_fastcache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., FastcacheProcess]]:
    """``start_fastcache(endpoint, "--flag", ...)``: a running fastcache, stopped and checked when the test ends.

    Each has a cache directory of its own unless ``cache_directory`` names one.
    """
    started: list[FastcacheProcess] = []

    def start(endpoint: str, *arguments: str, cache_directory: Path | None = None, **options: Any) -> FastcacheProcess:
        number = len(started) + 1
        process = FastcacheProcess(
            endpoint,
            cache_directory or tmp_path / f"cache-{number}",
            tmp_path / f"log-{number}",
            arguments=arguments,
            **options,
        )
        started.append(process)
        attach_log(request, process.logs)
        return process

    yield start
    try:
        for process in started:
            if process.process.poll() is None:
                process.stop()
    finally:
        for process in started:
            process.kill()
