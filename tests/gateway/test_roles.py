"""Keys that stand for roles: the origin is asked by the role's session of the client who asks, or not at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.clients.sites import status_of
from tests.conftest import attach_log
from tests.credentials.services import CANARY, Service, Sts, named, running, token_file
from tests.engine.conftest import Embed, Embedded, until
from tests.gateway.conftest import FULL, MODES, PATIENT, Gate, Key, upstream_environment, write_keys
from tests.gateway.mounted import credentials_file
from tests.harness.clients import boto3_client
from tests.harness.origin import running_origin
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess
from tests.harness.signing import signed_request
from tests.hits.test_takeover import forget_pages

from fastcache.origin.pattern import pattern
from fastcache.origin.process import AccountSpec, OriginProcess

MIB = 1024 * 1024
SIZE = 3 * MIB
LARGE = 12 * MIB
"""More than the kernel takes for a client that takes nothing."""
TOKEN = "canaryHeader.payload+/=.signature"
ARN = "arn:aws:iam::123456789012:role/"
READS, WRITES = f"{ARN}reads", f"{ARN}writes"
LABELS = {READS: "READS", WRITES: "WRITES"}
PREFIXES = {READS: ("bkt/reads/",), WRITES: ("bkt/",)}
OWN = AccountSpec("GATEOWNKEY", "gate-own-secret")


@dataclass(frozen=True)
class RoleKey(Key):
    """A key that stands for a role, with the token of ``token_file``."""

    role: str = ""
    token_file: str = "token"

    def row(self) -> dict[str, Any]:
        return {**super().row(), "role_arn": self.role, "web_identity_token_file": self.token_file}


READER = RoleKey("ROLEREADER", "role-reader-secret", role=READS)
WRITER = RoleKey("ROLEWRITER", "role-writer-secret", role=WRITES)
REFUSED = RoleKey("ROLEREFUSED", "role-refused-secret", role=f"{ARN}of-others")
KEYS = [FULL, READER, WRITER, REFUSED]


def accounts() -> tuple[AccountSpec, ...]:
    """The gateway's own, and every session that is issued here."""
    issued = [AccountSpec(*named(LABELS[role], n), PREFIXES[role]) for role in LABELS for n in range(1, 10)]
    return OWN, *issued


@dataclass(frozen=True, eq=False)
class RoleGate(Gate):
    """A gateway whose clients have roles at its origin."""

    service: Service | None = None
    keys: Path = Path()

    def by(self, key: Key) -> Any:
        return boto3_client(self.endpoint, key.access_key, key.secret_key)

    def issued(self, label: str) -> int:
        assert self.service is not None
        return sum(key.startswith(f"ASIA{label}") for key in self.service.issued)

    @property
    def askers(self) -> set[str]:
        """Who has asked the origin, numbers left out."""
        assert self.control is not None
        return {entry["account"].rstrip("0123456789") for entry in self.control.log()}

    def install(self, *known: Key) -> None:
        before = self.proxy.metric("fastcache_keys_reloads_total", outcome="loaded")
        write_keys(self.keys, list(known))
        loaded = lambda: self.proxy.metric("fastcache_keys_reloads_total", outcome="loaded") > before  # noqa: E731
        wait_until(loaded, 20, "the keys were read again", step=0.05)


@pytest.fixture(scope="module")
def _origin() -> Iterator[OriginProcess]:
    with running_origin(accounts=accounts()) as process:
        yield process


@pytest.fixture(scope="module")
def _service() -> Iterator[Service]:
    service = Service()
    with running(Sts, service) as handler:
        handler.roles, handler.identity = LABELS, TOKEN  # type: ignore[attr-defined]
        yield service


@pytest.fixture(scope="module")
def _gate(tmp_path_factory: pytest.TempPathFactory, _origin: OriginProcess, _service: Service) -> Iterator[RoleGate]:
    directory = tmp_path_factory.mktemp("roles")
    token_file(directory, TOKEN)
    keys = write_keys(directory / "keys.yaml", KEYS)
    others = credentials_file(directory / "own", OWN.access_key, OWN.secret_key)
    proxy = FastcacheProcess(
        _origin.endpoint, directory / "cache", directory / "log",
        arguments=[
            *MODES["verify-sign"], *PATIENT, "--keys", str(keys), "--sts-endpoint", _service.url,
            *("--mounts", f"mounted={_origin.endpoint}/bkt {others}", "--mounts", f"renamed={_origin.endpoint}/bkt"),
            *("--log-level", "debug", "--access-log", "all"),
        ],
        environment=upstream_environment(OWN.access_key, OWN.secret_key),
    )  # fmt: skip
    try:
        yield RoleGate(
            "own", "verify-sign", _origin.endpoint, proxy, FULL.access_key, FULL.secret_key,
            _origin.control.body_sent, _origin.control, (OWN.access_key, OWN.secret_key), _service, keys,
        )  # fmt: skip
        log = proxy.stderr.read_text()
        proxy.stop()
    finally:
        proxy.kill()
    assert "the token service refused with AccessDenied" in log
    for secret in (CANARY, TOKEN, OWN.secret_key, *(key.secret_key for key in KEYS)):
        assert secret not in log


@pytest.fixture
def gate(request: pytest.FixtureRequest, _gate: RoleGate) -> RoleGate:
    attach_log(request, _gate.proxy.logs)
    assert _gate.control is not None
    _gate.control.reset(store=True)
    _gate.control.bucket("bkt")
    return _gate


def at(key: str, bucket: str = "bkt") -> dict[str, str]:
    return {"Bucket": bucket, "Key": key}


def synthetic(gate: RoleGate, key: str, size: int = SIZE) -> dict[str, str]:
    assert gate.control is not None
    gate.control.synthetic("bkt", key, size)
    return at(key)


def refusal(call: Any, **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"], caught.value.response["Error"]["Code"]


def test_whatever_a_client_asks_for_is_asked_by_its_own_role(gate: RoleGate) -> None:
    writer, asked = gate.by(WRITER), synthetic(gate, "reads/gaps")
    writer.put_object(**at("a"), Body=b"content")
    upload = writer.create_multipart_upload(**at("parts"))["UploadId"]
    part = writer.upload_part(**at("parts"), UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    writer.complete_multipart_upload(
        **at("parts"), UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]}
    )
    writer.copy_object(**at("b"), CopySource=at("a"))
    writer.head_object(**at("b"))
    assert writer.get_object(**at("b"))["Body"].read() == b"content"
    assert {one["Key"] for one in writer.list_objects_v2(Bucket="bkt")["Contents"]} >= {"a", "b", "parts"}
    for first, last in ((0, MIB - 1), (2 * MIB, SIZE - 1), (100, SIZE - 101)):
        got = writer.get_object(**asked, Range=f"bytes={first}-{last}")
        assert got["Body"].read() == pattern(b"reads/gaps", 1, first, last + 1 - first)
    assert got["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == "PARTIAL"
    writer.delete_objects(Bucket="bkt", Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
    assert gate.askers == {"ASIAWRITES"}
    gate.by(FULL).get_object(**synthetic(gate, "plain"))["Body"].read()
    assert gate.askers == {"ASIAWRITES", OWN.access_key}


def test_a_role_decides_what_is_brought_and_rules_who_gets_what_is_here(gate: RoleGate) -> None:
    wanted, content = synthetic(gate, "writes/x"), pattern(b"writes/x", 1, 0, SIZE)
    reader, writer = gate.by(READER), gate.by(WRITER)
    assert refusal(reader.get_object, **wanted) == (403, "AccessDenied")
    assert gate.askers == {"ASIAREADS"}
    assert writer.get_object(**wanted, Range=f"bytes=0-{MIB - 1}")["Body"].read() == content[:MIB]
    for _ in range(3):  # by the engine, and under a lease
        answer = reader.get_object(**wanted, Range="bytes=5-9")
        assert answer["Body"].read() == content[5:10]
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == "HIT"
    assert refusal(reader.get_object, **wanted) == (403, "AccessDenied"), "the rest is missing"
    assert refusal(reader.put_object, **wanted, Body=b"") == (403, "AccessDenied")
    assert gate.askers == {"ASIAREADS", "ASIAWRITES"}
    assert writer.get_object(**wanted)["Body"].read() == content
    assert gate.moved("bkt") == SIZE, "what a role was refused cost others what they had"


def test_a_role_that_is_refused_is_not_replaced_by_our_own_credentials(gate: RoleGate) -> None:
    wanted, refused = synthetic(gate, "reads/r"), gate.by(REFUSED)
    for ask in (refused.get_object, refused.head_object, refused.put_object, refused.delete_object):
        assert refusal(ask, **wanted)[0] == 403
    assert refusal(refused.get_object, **wanted) == (403, "AccessDenied")
    assert refusal(refused.list_objects_v2, Bucket="bkt") == (403, "AccessDenied")
    assert gate.origin_requests == 0
    gate.by(READER).get_object(**wanted)["Body"].read()
    assert refused.get_object(**wanted)["Body"].read() == pattern(b"reads/r", 1, 0, SIZE)
    assert gate.askers == {"ASIAREADS"}


def test_sessions_outlive_a_reload_and_end_with_their_keys(gate: RoleGate) -> None:
    wanted, late = synthetic(gate, "reads/l"), RoleKey("ROLELATE", "role-late-secret", role=READS)
    client, service = gate.by(late), gate.service
    assert service is not None
    before = {label: gate.issued(label) for label in LABELS.values()}
    service.failing = (503, "<Error/>")
    try:
        gate.install(*KEYS, late)
        assert refusal(client.get_object, **wanted) == (503, "ServiceUnavailable")
        assert gate.origin_requests == 0
        assert gate.by(READER).head_object(**wanted)["ContentLength"] == SIZE
    finally:
        service.failing = None
    wait_until(lambda: status_of(client.get_object, **wanted) == 200, 20, "the service answers again", step=0.1)
    gate.install(*KEYS, replace(late, resources=("bkt/*",)))
    assert client.get_object(**at("reads/l"), IfNoneMatch="x")["Body"].read()
    assert {label: gate.issued(label) for label in LABELS.values()} == {**before, "READS": before["READS"] + 1}
    gate.install(*KEYS)
    assert refusal(client.get_object, **wanted) == (403, "InvalidAccessKeyId")
    gate.install(*KEYS, late)
    wait_until(lambda: gate.issued("READS") == before["READS"] + 2, 20, "a session of its own again")
    gate.install(*KEYS)


def test_the_credentials_of_a_mount_are_for_keys_without_a_role(gate: RoleGate) -> None:
    synthetic(gate, "reads/m")
    for _ in range(2):
        assert refusal(gate.by(READER).get_object, **at("reads/m", "mounted")) == (403, "AccessDenied")
        assert gate.origin_requests == 0
    assert gate.by(READER).get_object(**at("reads/m", "renamed"))["Body"].read() == pattern(b"reads/m", 1, 0, SIZE)
    assert gate.askers == {"ASIAREADS"}
    assert gate.by(FULL).get_object(**at("reads/m", "mounted"))["Body"].read() == pattern(b"reads/m", 1, 0, SIZE)
    assert refusal(gate.by(READER).get_object, **at("reads/m", "mounted")) == (403, "AccessDenied")


@pytest.mark.parametrize("lost", ["nothing", "the key", "the permission"])
async def test_the_rest_of_a_hit_is_asked_for_by_the_role_of_its_client(
    gate: RoleGate,
    embed: Embed,
    tmp_path: Path,
    lost: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The hit branch has begun the answer; when its rest is missing, something else may be gone too."""
    synthetic(gate, "reads/large", LARGE)
    assert gate.control is not None
    assert gate.service is not None
    token_file(tmp_path, TOKEN)
    own = credentials_file(tmp_path / "own", OWN.access_key, OWN.secret_key).partition("=")[2]
    settings: Mapping[str, str] = {
        "endpoint": gate.origin_endpoint, "authorization": "verify", "upstream": "sign", "ttl": "1h",
        "keys": str(write_keys(tmp_path / "keys.yaml", [FULL, READER])), "credentials": own,
        "sts_endpoint": gate.service.url, "cache_size": "1GiB", "read_ahead": "0",
    }  # fmt: skip
    async with embed(**settings) as proxy:
        ctx = proxy.worker.ctx
        reader, writer = await begun_by_the_hit_branch(proxy, "reads/large")
        gate.control.reset()
        if lost == "the permission":
            gate.control.fault("status", status=403)
        if lost == "the key":
            known = ctx.gateway and ctx.gateway.hit_keys
            assert known is not None
            serial = known.serial
            write_keys(tmp_path / "keys.yaml", [FULL])
            await until(lambda: known.serial > serial, "the keys were read again")
        forget_pages(tmp_path / "cache")
        assert ctx.store is not None
        ctx.store.drop(ctx.object_id(b"bkt", b"reads/large"))
        got = b""
        async with asyncio.timeout(120):
            try:
                while len(got) < LARGE and (piece := await reader.read(MIB)):
                    got += piece
            except ConnectionResetError:
                assert lost != "nothing"
        assert got == pattern(b"reads/large", 1, 0, len(got))
        assert (len(got) == LARGE) is (lost == "nothing")
        assert gate.askers == (set() if lost == "the key" else {"ASIAREADS"})
        writer.close()
    assert not any(record.exc_info for record in caplog.records)


async def begun_by_the_hit_branch(proxy: Embedded, key: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which the hit branch waits for its client, who takes nothing."""
    raw = signed_request("GET", f"{proxy.worker.url}/bkt/{key}", READER.access_key, READER.secret_key)
    async with asyncio.timeout(120):
        while True:
            plain = socket.socket()
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            plain.connect(proxy.address)
            reader, writer = await asyncio.open_connection(sock=plain, limit=65536)
            writer.write(raw)
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.3)  # longer than pages that were seen are taken to be there still
            if proxy.worker.frontend.reactor.answering():
                return reader, writer
            await reader.readexactly(LARGE)
            writer.close()
