"""A gateway in front of an origin that verifies: clients with keys of the gateway, which the origin does not know."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.clients.sites import Site
from tests.conftest import attach_log
from tests.engine.conftest import embed  # noqa: F401 - the fixture
from tests.harness import tools
from tests.harness.clients import boto3_client
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawResponse
from tests.upstream.certificates import make_authority

from fastcache.origin.process import OriginProcess, start_origin

if TYPE_CHECKING:
    from tests.harness.swift import SwiftServer

MODES = {
    "verify-sign": ("--authorization", "verify", "--upstream", "sign"),
    "none-sign": ("--authorization", "none", "--upstream", "sign"),
    "verify-sign-widen": ("--authorization", "verify", "--upstream", "sign", "--widen", "1MiB"),
    "verify-sign-ahead": ("--authorization", "verify", "--upstream", "sign", "--read-ahead", "16MiB"),
    "verify-passthrough": ("--authorization", "verify"),
    "verify-passthrough-unlisted": ("--authorization", "verify"),
}
PATIENT = ("--ttl", "1h", "--fill-detach-after", "60s", "--fill-follow-wait", "30s", "--read-ahead", "0")


@dataclass(frozen=True)
class Key:
    """A client's key, and the resources it may use; ``actions`` on all of them."""

    access_key: str
    secret_key: str
    resources: tuple[str, ...] = ("*",)
    actions: tuple[str, ...] = ("read", "write", "list", "delete", "admin")
    session_token: str | None = None
    enabled: bool = True
    more: tuple[Mapping[str, Any], ...] = field(default=())
    """Further rules."""

    def row(self) -> dict[str, Any]:
        """As in a keys file."""
        row: dict[str, Any] = {
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "enabled": self.enabled,
            "allow": [{"actions": list(self.actions), "resources": list(self.resources)}, *self.more],
        }
        return row if self.session_token is None else {**row, "session_token": self.session_token}


FULL = Key("GATEFULLACCESS", "the-full-secret/+=")


OTHER_PREFIX = Key("GATEPREFIX", "prefix-secret", ("*/elsewhere/*",), ("read", "write", "list", "delete"))
READER = Key("GATEREADER", "reader-secret", ("*/k*", "*/elsewhere/*"), ("read", "list"))
WRITER = Key("GATEWRITER", "writer-secret", ("*/k*",), ("read", "write", "delete"))
DISABLED = Key("GATEDISABLED", "disabled-secret", enabled=False)
TEMPORARY = Key("GATETEMPORARY", "temporary-secret", session_token="the-session-token/+==")
KEYS = [FULL, OTHER_PREFIX, READER, WRITER, DISABLED, TEMPORARY]


def write_keys(path: Path, keys: list[Key]) -> Path:
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump([key.row() for key in keys]))
    return path


def upstream_environment(access_key: str, secret_key: str) -> dict[str, str]:
    """Where the gateway finds its own credentials, and nothing of this user's."""
    return {
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_SESSION_TOKEN": "",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass(frozen=True, eq=False)
class Gate(Site):
    """A site whose clients have a key of the gateway's, which the origin does not know; the origin knows the
    gateway's."""

    own: tuple[str, str] = ("", "")
    """Access key and secret of the gateway at the origin."""

    @functools.cached_property
    def direct(self) -> Any:
        return boto3_client(self.origin_endpoint, *self.own)

    def raw(self, method: str, target: str, *, direct: bool = False, **options: Any) -> RawResponse:
        if direct:
            raise ValueError("raw requests to the origin would be signed with the client's key")
        return super().raw(method, target, **options)

    def uploaded_as(self, key: str) -> str:
        """What the newest PUT of ``key`` promised our own origin of its body."""
        assert self.control is not None
        puts = [entry for entry in self.control.log() if (entry["method"], entry["key"]) == ("PUT", key)]
        return str(puts[-1]["payload"])

    @property
    def origin_requests(self) -> int:
        """Requests that have reached our own origin so far; of another, those that the gateway says it has sent."""
        if self.control is not None:
            return self.control.requests()
        return int(self.proxy.metric("fastcache_origin_requests_total"))


StartGate = Callable[..., Gate]


@pytest.fixture(scope="session")
def _tls_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OriginProcess, str]]:
    """Our own origin behind TLS, and the file of the authority that vouches for it."""
    authority = make_authority(tmp_path_factory.mktemp("authority"))
    certificate, key = authority.server_files("DNS:localhost", "IP:127.0.0.1")
    with start_origin("--tls-certificate", certificate, "--tls-key", key) as process:
        yield process, authority.ca_file


@pytest.fixture(scope="session")
def start_gate(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _origin_process: OriginProcess
) -> Iterator[StartGate]:
    """``start_gate(kind, mode)``: the one gateway of that mode in front of ``swift`` or of our ``own`` origin, started
    when it is first asked for."""
    proxies: list[FastcacheProcess] = []

    @functools.cache
    def start(kind: str, mode: str) -> Gate:
        directory = tmp_path_factory.mktemp(f"gate-{kind}-{mode}")
        control = None
        arguments = [*PATIENT, *MODES[mode]]
        if kind == "swift":
            tools.require_tool("swift")
            server: SwiftServer = request.getfixturevalue("swift")
            endpoint, own = server.endpoint, (server.user.access_key, server.user.secret_key)
        else:
            process = _origin_process
            if kind == "tls":
                process, authority = request.getfixturevalue("_tls_origin")
                arguments += ["--ca-file", authority]
            endpoint, own, control = process.endpoint, (process.access_key, process.secret_key), process.control
        if mode.startswith("verify"):
            known = [*KEYS, Key(*own)] if mode == "verify-passthrough" else KEYS
            arguments += ["--keys", str(write_keys(directory / "keys.yaml", known))]
        environment = upstream_environment(*own)
        proxy = FastcacheProcess(
            endpoint, directory / "cache", directory / "log", arguments=arguments, environment=environment
        )
        proxies.append(proxy)
        client = (FULL.access_key, FULL.secret_key) if "-sign" in mode else own
        return Gate(kind, mode, endpoint, proxy, *client, control.body_sent if control else None, control, own)

    yield start
    try:
        for proxy in proxies:
            proxy.stop()
    finally:
        for proxy in proxies:
            proxy.kill()


@pytest.fixture(params=["swift", "own"])
def gate(request: pytest.FixtureRequest, start_gate: StartGate, origin: OriginProcess) -> Gate:
    """``verify`` with ``sign`` in front of each origin; our own origin is empty."""
    started = start_gate(request.param, "verify-sign")
    attach_log(request, started.proxy.logs)
    return started


@pytest.fixture
def own_gate(request: pytest.FixtureRequest, start_gate: StartGate, origin: OriginProcess) -> Gate:
    """``verify`` with ``sign`` in front of our own origin, which counts what reaches it."""
    started = start_gate("own", getattr(request, "param", "verify-sign"))
    attach_log(request, started.proxy.logs)
    return started
