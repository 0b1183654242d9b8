"""What a range lacks is fetched in our own name, once the client's own request was told that it may have it."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.clients.sites import status_of
from tests.conftest import attach_log
from tests.gateway.conftest import Key, upstream_environment, write_keys
from tests.harness.clients import boto3_client
from tests.harness.origin import make_clean, running_origin
from tests.harness.processes import wait_until
from tests.harness.proxy import SharedProxies
from tests.harness.raw import RawResponse
from tests.reads.conftest import STORED, Reader, Start, content

from fastcache.origin.process import AccountSpec, OriginProcess

MIB = 1024 * 1024
CLIENT = AccountSpec("GAPCLIENT", "gap-client-secret")
OWN = AccountSpec("GAPOWNCANARY", "gap-own-secret-canary", prefixes=("bkt-",))
STRANGER = AccountSpec("GAPSTRANGER", "gap-stranger-secret", prefixes=("elsewhere/",))
NARROW = AccountSpec("GAPNARROWCANARY", "gap-narrow-secret-canary", prefixes=("elsewhere/",))


@pytest.fixture(scope="module")
def _origin() -> Iterator[OriginProcess]:
    with running_origin(accounts=(CLIENT, OWN, STRANGER, NARROW)) as process:
        yield process


@pytest.fixture
def start(request: pytest.FixtureRequest, _origin: OriginProcess, _proxies: SharedProxies) -> Start:
    """``start("--flag", own=account)``: a new bucket behind a proxy with credentials for gaps, and a client of another
    account."""
    make_clean(_origin)

    def begin(*flags: str, own: tuple[str, str] = (OWN.access_key, OWN.secret_key)) -> Reader:
        bucket = f"bkt-{uuid.uuid4().hex}"
        _origin.control.synthetic(bucket, "o", 8 * MIB)
        flags = (*STORED, "--gap-credentials", "environment", *flags)
        proxy = _proxies.get(_origin.endpoint, *flags, environment=upstream_environment(*own))
        attach_log(request, proxy.logs)
        return Reader(_origin, proxy, bucket)

    return begin


def verifying(tmp_path: Path, key: AccountSpec = CLIENT) -> tuple[str, ...]:
    """Flags of a proxy that knows a client's key, and asks each time."""
    keys = write_keys(tmp_path / "keys.yaml", [Key(key.access_key, key.secret_key)])
    return "--authorization", "verify", "--keys", str(keys), "--ttl", "0"


class Seen(NamedTuple):
    """A request as it reached the origin."""

    account: str
    status: int
    range: str
    condition: str
    """The name of the field."""


def seen(r: Reader) -> list[Seen]:
    return [
        Seen(entry["account"], entry["status"], entry["range"], "".join(entry["conditions"]))
        for entry in r.origin.control.log()
    ]


def warm(r: Reader, *ranges: tuple[int, int]) -> None:
    for start, end in ranges:
        assert r.get("o", f"bytes={start}-{end - 1}").body == content("o", start, end)
    r.origin.control.reset()


def cached(answer: RawResponse) -> bytes | None:
    return answer.get(b"x-cache")


@pytest.mark.parametrize("mode", ["revalidate", "verify"])
def test_a_partial_hit_of_a_signed_range_moves_what_is_missing_alone(start: Start, tmp_path: Path, mode: str) -> None:
    r = start(*(verifying(tmp_path) if mode == "verify" else ()))
    warm(r, (0, 3 * MIB), (5 * MIB, 6 * MIB))
    answer = r.get("o", f"bytes=1000-{6 * MIB - 1}")
    assert (answer.status, answer.body) == (206, content("o", 1000, 6 * MIB))
    assert (cached(answer), r.body_bytes("o")) == (b"PARTIAL", 2 * MIB)
    proof, gap = seen(r)
    assert proof == Seen(CLIENT.access_key, 304, f"bytes=1000-{6 * MIB - 1}", "if-none-match")
    assert gap == Seen(OWN.access_key, 206, f"bytes={3 * MIB}-{5 * MIB - 1}", "if-match")
    r.origin.control.reset()
    again = r.get("o", f"bytes=0-{6 * MIB - 1}")
    assert (again.body, cached(again)) == (content("o", 0, 6 * MIB), b"REVALIDATED")
    assert r.body_bytes("o") == 0


def test_several_gaps_are_fetched_each_for_itself(start: Start) -> None:
    r = start()
    warm(r, (2 * MIB, 3 * MIB), (5 * MIB, 6 * MIB))
    answer = r.get("o", f"bytes=0-{8 * MIB - 1}")
    assert (answer.status, answer.body) == (206, content("o", 0, 8 * MIB))
    assert r.body_bytes("o") == 6 * MIB
    first, *others = seen(r)
    assert (first.account, first.status) == (CLIENT.access_key, 304)
    assert {(one.account, one.condition) for one in others} == {(OWN.access_key, "if-match")}


def test_boto3_reads_on_over_what_it_has_read_before(start: Start) -> None:
    r = start()
    s3 = boto3_client(r.proxy.endpoint, CLIENT.access_key, CLIENT.secret_key)
    assert s3.get_object(Bucket=r.bucket, Key="o", Range=f"bytes=0-{4 * MIB - 1}")["Body"].read() == content(
        "o", 0, 4 * MIB
    )
    r.origin.control.reset()
    whole = s3.get_object(Bucket=r.bucket, Key="o", Range=f"bytes={3 * MIB}-{5 * MIB - 1}")["Body"].read()
    assert whole == content("o", 3 * MIB, 5 * MIB)
    assert r.body_bytes("o") == MIB


def test_a_client_that_may_not_read_gets_no_byte_and_causes_no_request_of_ours(start: Start) -> None:
    r = start()
    warm(r, (0, 3 * MIB), (5 * MIB, 6 * MIB))
    strangers = (STRANGER.access_key, STRANGER.secret_key), (CLIENT.access_key, "wrong"), ("UNKNOWNKEY", "secret")
    ranges = "bytes=0-6291455", "bytes=2097152-4194303", "bytes=100-200"
    for who, range_ in itertools.product(strangers, ranges):
        stranger = boto3_client(r.proxy.endpoint, *who)
        assert status_of(stranger.get_object, Bucket=r.bucket, Key="o", Range=range_) == 403
    assert r.body_bytes("o") == 0
    asked = seen(r)
    assert len(asked) == 9
    assert OWN.access_key not in [one.account for one in asked]


def test_an_object_that_was_overwritten_is_the_clients_own_answer(start: Start) -> None:
    r = start()
    warm(r, (0, 3 * MIB))
    r.origin.control.flip(r.bucket, "o")
    answer = r.get("o", f"bytes=0-{4 * MIB - 1}")
    assert (answer.status, answer.body) == (206, content("o", 0, 4 * MIB, generation=2))
    assert [(one.account, one.status) for one in seen(r)] == [(CLIENT.access_key, 206)]


def test_a_304_that_names_another_generation_is_no_proof_and_causes_no_request_of_ours(start: Start) -> None:
    r = start()
    warm(r, (0, 3 * MIB))
    r.origin.control.fault("etag", count=1, value='"other"')
    answer = r.get("o", f"bytes=0-{4 * MIB - 1}")
    assert (answer.status, answer.body) == (206, content("o", 0, 4 * MIB))
    assert [(one.account, one.status) for one in seen(r)] == [(CLIENT.access_key, 304), (CLIENT.access_key, 206)]


def test_an_object_that_is_overwritten_after_the_proof_is_asked_for_again_by_the_client(start: Start) -> None:
    r = start()
    warm(r, (0, 3 * MIB))
    r.origin.control.fault("latency", count=1, seconds=4.0)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(r.get, "o", f"bytes=0-{4 * MIB - 1}")
        wait_until(lambda: r.origin.control.requests() == 1, 20, "the client's own request has its answer")
        r.origin.control.flip(r.bucket, "o")
        answer = reading.result(60)
    assert (answer.status, answer.body) == (206, content("o", 0, 4 * MIB, generation=2))
    assert [(one.account, one.status) for one in seen(r)] == [
        (CLIENT.access_key, 304),
        (OWN.access_key, 412),
        (CLIENT.access_key, 206),
    ]


@pytest.mark.parametrize("own", [(NARROW.access_key, NARROW.secret_key), (OWN.access_key, "not-its-secret-canary")])
def test_what_we_may_not_read_is_read_as_the_client_asked(start: Start, own: tuple[str, str]) -> None:
    r = start(own=own)
    warm(r, (0, 3 * MIB))
    answer = r.get("o", f"bytes=0-{4 * MIB - 1}")
    assert (answer.status, answer.body) == (206, content("o", 0, 4 * MIB))
    proof, ours, theirs = seen(r)
    assert (proof.status, ours.status, theirs) == (304, 403, Seen(CLIENT.access_key, 206, proof.range, ""))
    told = b"".join(value for _, value in answer.headers) + r.proxy.stderr.read_bytes()
    assert own[0].encode() not in told
    assert b"canary" not in told


def test_a_version_is_asked_for_by_its_id(start: Start) -> None:
    r = start()
    control = r.origin.control
    control.bucket(r.bucket, versioning="Enabled")
    old = control.synthetic(r.bucket, "v", 2 * MIB)["version_id"]
    control.synthetic(r.bucket, "v", 2 * MIB, generation=2)
    s3 = boto3_client(r.proxy.endpoint, CLIENT.access_key, CLIENT.secret_key)
    at = {"Bucket": r.bucket, "Key": "v", "VersionId": old}
    assert s3.get_object(**at, Range=f"bytes=0-{MIB - 1}")["Body"].read() == content("v", 0, MIB)
    control.reset()
    assert s3.get_object(**at, Range=f"bytes=0-{2 * MIB - 1}")["Body"].read() == content("v", 0, 2 * MIB)
    assert r.body_bytes("v") == MIB


def test_nothing_of_it_without_credentials_for_it(reader: Start) -> None:
    """As before: the origin sends the whole range."""
    r = reader()
    r.origin.control.synthetic(r.bucket, "o", 8 * MIB)
    warm(r, (0, 3 * MIB))
    assert r.get("o", f"bytes=0-{4 * MIB - 1}").body == content("o", 0, 4 * MIB)
    assert r.body_bytes("o") == 4 * MIB
