"""Buckets of several endpoints under one roof: where requests go, and what their answers call things (SEMANTICS 37)."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.clients.program_readers import credentials_only
from tests.clients.readers import READERS
from tests.clients.sites import status_of
from tests.conftest import attach_log
from tests.gateway.conftest import FULL, MODES, PATIENT, Key, upstream_environment, write_keys
from tests.gateway.mounted import MountedGate, There, credentials_file
from tests.gateway.test_matrix import code_of
from tests.harness.clients import boto3_client, obstore_store
from tests.harness.origin import running_origin
from tests.harness.processes import wait_until
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import exchange
from tests.harness.swift import SwiftServer
from tests.harness.tools import require_tool

from fastcache.origin.process import AccountSpec

MIB = 1024 * 1024
HOME = AccountSpec("HOMEKEYCANARY", "home-secret-canary")
AWAY = AccountSpec("AWAYKEYCANARY", "away-secret-canary")
ONLY_AWAY = Key("MOUNTONLYAWAY", "only-away-secret", ("away", "away/*"), ("read", "write", "list", "delete"))
NAMES_THERE = Key("MOUNTNAMESTHERE", "names-there-secret", ("real-away", "real-away/*"))
PLACES = ["away", "lake", "short"]
"""Another endpoint of ours with credentials of its own, Swift with others, and the main endpoint by another name."""


@pytest.fixture(scope="module")
def _gate(tmp_path_factory: pytest.TempPathFactory, swift: SwiftServer) -> Iterator[MountedGate]:
    directory = tmp_path_factory.mktemp("mounts")
    lake = f"real-lake-{uuid.uuid4().hex[:12]}"
    user = swift.user
    with running_origin(accounts=(HOME,)) as home, running_origin(accounts=(AWAY,)) as away:
        at_home = boto3_client(home.endpoint, HOME.access_key, HOME.secret_key)
        at_away = boto3_client(away.endpoint, AWAY.access_key, AWAY.secret_key)
        at_swift = boto3_client(swift.endpoint, user.access_key, user.secret_key)
        mounts = {
            "away": There("real-away", at_away, away.control),
            "twin": There("real-away", at_away, away.control),
            "second": There("real-second", at_away, away.control),
            "short": There("a-much-longer-name", at_home, home.control),
            "lake": There(lake, at_swift),
        }
        options = {
            away.endpoint: credentials_file(directory / "away", AWAY.access_key, AWAY.secret_key),
            swift.endpoint: credentials_file(directory / "swift", user.access_key, user.secret_key),
            home.endpoint: "",
        }
        urls = {"short": home.endpoint, "lake": swift.endpoint}
        items = []
        for name, there in mounts.items():
            url = urls.get(name, away.endpoint)
            items.append(f"{name}={url}/{there.bucket} {options[url]}".strip())
            if name != "twin":
                there.direct.create_bucket(Bucket=there.bucket)
        keys = write_keys(directory / "keys.yaml", [FULL, ONLY_AWAY, NAMES_THERE])
        arguments = [*MODES["verify-sign"], *PATIENT, "--log-level", "debug", "--access-log", "all"]
        arguments += ["--keys", str(keys), "--mounts", ",".join(items)]
        proxy = FastcacheProcess(
            home.endpoint,
            directory / "cache",
            directory / "log",
            arguments=arguments,
            environment=upstream_environment(HOME.access_key, HOME.secret_key),
        )
        try:
            yield MountedGate(
                "own", "verify-sign", home.endpoint, proxy, FULL.access_key, FULL.secret_key,
                home.control.body_sent, home.control, (HOME.access_key, HOME.secret_key), mounts,
            )  # fmt: skip
            proxy.stop()
        finally:
            proxy.kill()


@pytest.fixture
def gate(request: pytest.FixtureRequest, _gate: MountedGate) -> MountedGate:
    attach_log(request, _gate.proxy.logs)
    for there in _gate.mounts.values():
        if there.control is not None:
            there.control.reset()
    return _gate


def new_key() -> str:
    return f"a/{uuid.uuid4().hex}"


def once_listed(list_objects: Callable[..., dict[str, Any]], **asked: str) -> dict[str, Any]:
    """A list with something in it: Swift lists what was written a moment ago a moment later."""
    wait_until(lambda: "Contents" in list_objects(**asked), 30, "something is listed")
    return list_objects(**asked)


def x_cache(answer: dict[str, Any]) -> str:
    return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-cache"])


@pytest.mark.parametrize("name", PLACES)
def test_what_is_written_here_is_there_and_is_read_and_cached_here(gate: MountedGate, name: str) -> None:
    there, s3, at = gate.mounts[name], gate.through, {"Bucket": name, "Key": new_key()}
    s3.put_object(**at, Body=b"first", Metadata={"a": "b"})
    assert there.direct.get_object(Bucket=there.bucket, Key=at["Key"])["Body"].read() == b"first"
    for wanted in (("MISS", "REVALIDATED", "HIT"), ("HIT",)):  # what was uploaded may have been kept
        answer = s3.get_object(**at)
        assert (answer["Body"].read(), answer["Metadata"]) == (b"first", {"a": "b"})
        assert x_cache(answer) in wanted
    s3.put_object(**at, Body=b"second")
    assert s3.get_object(**at)["Body"].read() == b"second"
    s3.delete_object(**at)
    assert status_of(s3.get_object, **at) == 404
    assert status_of(there.direct.head_object, Bucket=there.bucket, Key=at["Key"]) == 404


@pytest.mark.parametrize("name", PLACES)
def test_lists_and_uploads_in_parts_speak_of_the_bucket_here(gate: MountedGate, name: str) -> None:
    s3, at = gate.through, {"Bucket": name, "Key": f"{new_key()} ö%"}
    created = s3.create_multipart_upload(**at)
    assert (created["Bucket"], created["Key"]) == (name, at["Key"])
    upload = {**at, "UploadId": created["UploadId"]}
    bodies = [b"1" * 5 * MIB, b"2"]
    tags = [s3.upload_part(**upload, PartNumber=n, Body=body)["ETag"] for n, body in enumerate(bodies, 1)]
    assert s3.list_parts(**upload)["Bucket"] == name
    pending = s3.list_multipart_uploads(Bucket=name)
    assert pending["Bucket"] == name
    assert at["Key"] in [entry["Key"] for entry in pending["Uploads"]]
    parts = {"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]}
    completed = s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert completed["Bucket"] == name
    assert completed["Location"].startswith(f"{gate.endpoint}/{name}/a/")
    assert s3.get_object(**at)["Body"].read() == b"".join(bodies)
    for list_objects in (s3.list_objects_v2, s3.list_objects):
        listed = once_listed(list_objects, Bucket=name, Prefix=at["Key"][:10])
        assert (listed["Name"], [entry["Key"] for entry in listed["Contents"]]) == (name, [at["Key"]])
    deleted = s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": at["Key"]}]})
    assert [entry["Key"] for entry in deleted["Deleted"]] == [at["Key"]]
    assert status_of(s3.head_object, **at) == 404


@pytest.mark.parametrize("name", PLACES)
def test_no_answer_names_the_bucket_there(gate: MountedGate, name: str) -> None:
    """As it is on the wire, errors included."""
    there = gate.mounts[name].bucket.encode()
    gate.through.put_object(Bucket=name, Key="k/named", Body=b"x")
    asked = [
        ("GET", f"/{name}/k/missing"),
        ("GET", f"/{name}?list-type=2&prefix=k"),
        ("GET", f"/{name}?versions"),
        ("GET", f"/{name}?uploads"),
        ("GET", f"/{name}/k/missing?uploadId=none"),
        ("POST", f"/{name}/k/named?uploads="),
        ("DELETE", f"/{name}/k/missing?uploadId=none"),
    ]
    for method, target in asked:
        answer = gate.raw(method, target)
        assert answer.status in (200, 404, 501), (method, target)
        assert there not in answer.body, (method, target)
        assert not [value for _, value in answer.headers if there in value]
    missing = gate.raw("GET", f"/{name}/k/missing")
    assert (missing.status, code_of(missing)) == (404, "NoSuchKey")


def test_a_copy_within_an_endpoint_is_made_there(gate: MountedGate) -> None:
    s3, at = gate.through, {"Bucket": "away", "Key": new_key()}
    s3.put_object(**at, Body=b"to be copied")
    for bucket in ("away", "second", "twin"):
        copy = {"Bucket": bucket, "Key": f"{at['Key']}-copy"}
        assert "ETag" in s3.copy_object(**copy, CopySource=at)["CopyObjectResult"]
        assert s3.get_object(**copy)["Body"].read() == b"to be copied"
    part = {"Bucket": "second", "Key": new_key()}
    upload = {**part, "UploadId": s3.create_multipart_upload(**part)["UploadId"], "PartNumber": 1}
    assert "ETag" in s3.upload_part_copy(**upload, CopySource=at)["CopyPartResult"]


@pytest.mark.parametrize(
    ("bucket", "source"), [("away", "short"), ("lake", "away"), ("plain", "away"), ("away", "lake")]
)
def test_a_copy_between_endpoints_is_not_implemented_and_asks_nobody(
    gate: MountedGate, bucket: str, source: str
) -> None:
    with pytest.raises(ClientError) as caught:
        gate.through.copy_object(Bucket=bucket, Key="k", CopySource={"Bucket": source, "Key": "k"})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
    assert [there.control.requests() for there in gate.mounts.values() if there.control is not None] == [0] * 4


def test_a_request_goes_to_the_endpoint_of_its_bucket_alone(gate: MountedGate) -> None:
    home, away = gate.control, gate.mounts["away"].control
    assert home is not None
    assert away is not None
    gate.through.delete_object(Bucket="away", Key="k/counted")
    gate.through.list_objects_v2(Bucket="away")
    assert (home.requests(), away.requests()) == (0, 2)
    gate.through.list_objects_v2(Bucket="short")
    assert (home.requests(), away.requests()) == (1, 2)


def test_two_names_of_a_bucket_share_what_is_cached_and_what_is_written(gate: MountedGate) -> None:
    s3, key = gate.through, new_key()
    s3.put_object(Bucket="away", Key=key, Body=b"old")
    assert s3.get_object(Bucket="away", Key=key)["Body"].read() == b"old"
    answer = s3.get_object(Bucket="twin", Key=key)
    assert (answer["Body"].read(), x_cache(answer)) == (b"old", "HIT")
    s3.put_object(Bucket="twin", Key=key, Body=b"newer")
    assert s3.get_object(Bucket="away", Key=key)["Body"].read() == b"newer"
    s3.delete_objects(Bucket="away", Delete={"Objects": [{"Key": key}]})
    assert status_of(s3.get_object, Bucket="twin", Key=key) == 404


def test_rules_are_about_the_names_here(gate: MountedGate) -> None:
    away = gate.mounts["away"].control
    assert away is not None
    allowed = gate.as_client(ONLY_AWAY.access_key, ONLY_AWAY.secret_key)
    key = new_key()
    allowed.put_object(Bucket="away", Key=key, Body=b"x")
    assert allowed.get_object(Bucket="away", Key=key)["Body"].read() == b"x"
    allowed.delete_objects(Bucket="away", Delete={"Objects": [{"Key": key}]})
    away.reset()
    for bucket in ("twin", "second", "real-away"):
        assert status_of(allowed.get_object, Bucket=bucket, Key=key) == 403
        assert status_of(allowed.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": key}]}) == 403
    assert status_of(allowed.copy_object, Bucket="away", Key=key, CopySource=f"second/{key}") == 403
    by_name_there = gate.as_client(NAMES_THERE.access_key, NAMES_THERE.secret_key)
    assert status_of(by_name_there.get_object, Bucket="away", Key=key) == 403
    assert status_of(by_name_there.list_objects_v2, Bucket="away") == 403
    assert away.requests() == 0
    # The name there is one of the main endpoint's, where it names nothing.
    assert status_of(by_name_there.get_object, Bucket="real-away", Key=key) == 404
    assert away.requests() == 0


def test_the_list_of_buckets_has_the_mounts_and_those_of_the_main_endpoint(gate: MountedGate) -> None:
    assert gate.control is not None
    gate.control.bucket("plain-one")
    names = {entry["Name"] for entry in gate.through.list_buckets()["Buckets"]}
    assert {*gate.mounts, "plain-one", "a-much-longer-name"} <= names
    assert not names & {"real-away", "real-second", gate.mounts["lake"].bucket}
    answer = gate.raw("GET", "/?prefix=s")
    assert (answer.status, answer.body.count(b"<Name>")) == (200, 2)


@pytest.mark.parametrize("target", ["/away?policy", "/lake?logging", "/short?replication", "/short?inventory&id=x"])
def test_documents_that_name_buckets_are_not_implemented_under_another_name(gate: MountedGate, target: str) -> None:
    answer = gate.raw("GET", target)
    assert (answer.status, code_of(answer)) == (501, "NotImplemented")


def test_a_bucket_is_made_and_removed_under_its_name_here(gate: MountedGate) -> None:
    there = gate.mounts["second"]
    for listed in there.direct.list_objects_v2(Bucket=there.bucket).get("Contents", ()):
        there.direct.delete_object(Bucket=there.bucket, Key=listed["Key"])
    gate.through.delete_bucket(Bucket="second")
    assert status_of(there.direct.head_bucket, Bucket=there.bucket) == 404
    assert gate.through.create_bucket(Bucket="second")["Location"] in ("/second", f"{gate.endpoint}/second")
    assert status_of(there.direct.head_bucket, Bucket=there.bucket) == 200


def test_an_answer_of_another_length_reaches_a_client_that_knows_no_chunks(gate: MountedGate) -> None:
    url = gate.presigned("GET", "/away?list-type=2")
    host = gate.endpoint.removeprefix("http://")
    request = f"GET {url.removeprefix(gate.endpoint)} HTTP/1.0\r\nHost: {host}\r\n\r\n"
    answer = exchange(gate.endpoint, request.encode())
    assert answer.status == 200
    assert answer.get(b"transfer-encoding") is None
    assert answer.body.endswith(b"</ListBucketResult>")
    assert b"<Name>away</Name>" in answer.body


@pytest.mark.parametrize("name", ["away", "lake"])
@pytest.mark.parametrize("reader", ["boto3 get_object", "s5cmd cat", "obstore get"])
def test_real_clients_read_a_mount(gate: MountedGate, name: str, reader: str) -> None:
    there, key = gate.mounts[name], new_key()
    made = READERS[reader](gate)
    body = bytes(3 * MIB) + key.encode()
    there.direct.put_object(Bucket=there.bucket, Key=key, Body=body)
    assert made.whole(name, key) == body
    before = gate.proxy.metric("fastcache_origin_received_bytes_total")
    assert made.whole(name, key) == body
    assert gate.proxy.metric("fastcache_origin_received_bytes_total") - before < MIB, "it was read from the cache"


@pytest.mark.parametrize("name", ["away", "lake"])
def test_real_clients_write_and_list_a_mount(gate: MountedGate, name: str, tmp_path: Path) -> None:
    there, key = gate.mounts[name], new_key()
    store = obstore_store(gate.endpoint, name, gate.access_key, gate.secret_key)
    store.put(key, b"o" * 6 * MIB, use_multipart=True, chunk_size=5 * MIB)
    wait_until(lambda: bool(store.list(prefix=f"{key.rpartition('/')[0]}/").collect()), 30, "an object is listed")
    store.copy(key, f"{key}-copy")
    assert there.direct.head_object(Bucket=there.bucket, Key=f"{key}-copy")["ContentLength"] == 6 * MIB
    require_tool("s5cmd")
    file = tmp_path / "file"
    file.write_bytes(b"s" * 6 * MIB)

    def s5cmd(*arguments: str) -> str:
        done = subprocess.run(
            ["s5cmd", "--endpoint-url", gate.endpoint, *arguments],
            capture_output=True, env=credentials_only(gate), check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    s5cmd("cp", "--part-size", "5", str(file), f"s3://{name}/{key}-s5")
    assert there.direct.get_object(Bucket=there.bucket, Key=f"{key}-s5")["Body"].read() == file.read_bytes()
    short = key.rpartition("/")[2]
    wait_until(lambda: f"{short}-s5" in s5cmd("ls", f"s3://{name}/{key}*"), 30, "the upload is listed")
    s5cmd("cp", f"s3://{name}/{key}-s5", f"s3://{name}/{key}-s6")
    assert there.direct.head_object(Bucket=there.bucket, Key=f"{key}-s6")["ContentLength"] == 6 * MIB
    s5cmd("rm", f"s3://{name}/{key}-s5", f"s3://{name}/{key}-s6")
    assert status_of(there.direct.head_object, Bucket=there.bucket, Key=f"{key}-s6") == 404


def test_no_credentials_of_a_mount_are_told_anywhere(gate: MountedGate) -> None:
    logged = gate.proxy.stderr.read_bytes() + gate.proxy.stdout.read_bytes()
    assert not [secret for secret in (AWAY.secret_key, HOME.secret_key, HOME.access_key) if secret.encode() in logged]
