"""What a signature of our own allows beyond a client's: asking for just what is missing, whatever the client signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.gateway.conftest import FULL, MODES, Gate, upstream_environment, write_keys
from tests.harness import processes
from tests.harness.proxy import FastcacheProcess

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess

MIB = 1024 * 1024
SIZE = 3 * MIB


def content(key: str, start: int = 0, end: int = SIZE) -> bytes:
    return pattern(key.encode(), 1, start, end - start)


@pytest.fixture
def synthetic(own_gate: Gate) -> Callable[[str], dict[str, str]]:
    def make(key: str) -> dict[str, str]:
        assert own_gate.control is not None
        own_gate.control.synthetic("reads", key, SIZE)
        return {"Bucket": "reads", "Key": key}

    return make


def test_between_ranges_that_are_here_only_the_gap_is_asked_for(
    own_gate: Gate, synthetic: Callable[[str], dict[str, str]]
) -> None:
    """boto3 signs Range, so that a client's own request could not ask for it."""
    at = synthetic("gaps")
    for start, end in ((0, MIB), (2 * MIB, SIZE)):
        part = own_gate.through.get_object(**at, Range=f"bytes={start}-{end - 1}")
        assert part["Body"].read() == content("gaps", start, end)
    asked = own_gate.through.get_object(**at, Range=f"bytes=100-{SIZE - 101}")
    assert asked["Body"].read() == content("gaps", 100, SIZE - 100)
    assert asked["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == "PARTIAL"
    assert own_gate.moved("reads") == SIZE
    assert own_gate.through.get_object(**at)["Body"].read() == content("gaps")
    assert own_gate.moved("reads") == SIZE


def test_an_answer_that_breaks_off_goes_on_where_it_broke(
    own_gate: Gate, synthetic: Callable[[str], dict[str, str]]
) -> None:
    at = synthetic("cut")
    assert own_gate.control is not None
    own_gate.control.fault("cut-body", key="cut", after=MIB)
    part = own_gate.through.get_object(**at, Range=f"bytes=7-{SIZE - 8}")
    assert part["Body"].read() == content("cut", 7, SIZE - 7)
    assert own_gate.moved("reads") < SIZE + MIB


def test_what_is_stale_is_proved_in_our_name_while_it_is_served(
    origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path
) -> None:
    origin.control.synthetic("reads", "stale", SIZE)
    keys = write_keys(tmp_path / "keys.yaml", [FULL])
    proxy = start_fastcache(
        origin.endpoint,
        *(*MODES["verify-sign"], "--keys", str(keys), "--ttl", "0", "--stale-while-revalidate", "1h"),
        environment=upstream_environment(origin.access_key, origin.secret_key),
    )
    gate = Gate("own", "verify-sign", origin.endpoint, proxy, FULL.access_key, FULL.secret_key)
    at = {"Bucket": "reads", "Key": "stale"}
    for wanted in ("MISS", "HIT"):
        answer = gate.through.get_object(**at)
        assert answer["Body"].read() == content("stale")
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-cache"] == wanted

    def proved() -> bool:
        return any(entry["status"] == 304 and entry["auth"] == "v4" for entry in origin.control.log())

    processes.wait_until(proved, 20, "the origin was asked behind the answer")


@pytest.mark.parametrize("condition", ["IfMatch", "IfNoneMatch", "IfModifiedSince", "PartNumber", "VersionId"])
def test_conditions_parts_and_versions_are_answered_as_by_the_origin(own_gate: Gate, condition: str) -> None:
    assert own_gate.control is not None
    own_gate.control.bucket("reads", versioning="Enabled" if condition == "VersionId" else "")
    put = own_gate.through.put_object(Bucket="reads", Key="k", Body=b"content")
    at = {"Bucket": "reads", "Key": "k"}
    values = {
        "IfMatch": '"other"',
        "IfNoneMatch": put["ETag"],
        "IfModifiedSince": "Wed, 01 Jan 2070 00:00:00 GMT",
        "PartNumber": 1,
        "VersionId": put.get("VersionId", ""),
    }

    def outcome(client: object) -> tuple[object, ...]:
        try:
            answer = client.get_object(**at, **{condition: values[condition]})  # type: ignore[attr-defined]
        except own_gate.direct.exceptions.ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read(), answer.get("ContentRange")

    direct = outcome(own_gate.direct)
    for _ in range(2):
        assert outcome(own_gate.through) == direct
        assert own_gate.through.get_object(**at)["Body"].read() == b"content"


def test_overrides_are_applied_to_what_is_cached(own_gate: Gate, synthetic: Callable[[str], dict[str, str]]) -> None:
    at = synthetic("overridden")
    own_gate.through.get_object(**at)["Body"].read()
    for _ in range(2):
        answer = own_gate.through.get_object(**at, ResponseContentType="text/other")
        assert answer["Body"].read() == content("overridden")
        assert answer["ContentType"] == "text/other"
    assert own_gate.moved("reads") == SIZE
    assert own_gate.through.get_object(**at)["ContentType"] != "text/other"
