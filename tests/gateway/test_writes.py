"""Every shape in which clients send a body, verified here and signed again for an origin that verifies it too."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients.sites import status_of
from tests.clients.test_reads import some_bytes
from tests.clients.test_writes import OLD, OTHER, assert_holds
from tests.clients.writes import COPIERS, DELETERS, KIB, MIB, WRITERS, Target
from tests.gateway.conftest import Gate


@pytest.fixture
def target(gate: Gate, tmp_path: Path) -> Target:
    """An object that is cached, and another to copy from."""
    bucket = gate.new_bucket()
    gate.direct.put_object(Bucket=bucket, Key="dir/key", Body=OLD)
    gate.direct.put_object(Bucket=bucket, Key="other", Body=OTHER)
    made = Target(gate, bucket, "dir/key", "other", tmp_path)
    for _ in range(2):
        assert gate.through.get_object(**made.at)["Body"].read() == OLD
    return made


@pytest.mark.parametrize("name", WRITERS)
def test_a_write_is_what_the_next_read_gets(target: Target, name: str) -> None:
    for size in (0, KIB, 11 * MIB + 7) if "parts" in name or "upload" in name or "stream" in name else (0, KIB, MIB):
        body = some_bytes(f"{name}{size}", size)
        WRITERS[name](target, body)
        assert_holds(target, body)


@pytest.mark.parametrize("name", COPIERS)
def test_a_copy_is_what_the_next_read_gets(target: Target, name: str) -> None:
    COPIERS[name](target)
    assert_holds(target, OTHER)


@pytest.mark.parametrize("name", DELETERS)
def test_what_was_deleted_is_gone(target: Target, name: str) -> None:
    DELETERS[name](target)
    assert status_of(target.boto3.get_object, **target.at) == 404
    assert status_of(target.boto3.head_object, **target.at) == 404
    assert status_of(target.boto3.get_object, Bucket=target.bucket, Key=target.other) == 200
