"""Uploads far larger than any buffer, proved and signed on their way, and the memory that takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.clients.memory import watching
from tests.clients.test_large import GIB, GROWTH, MIB, upload_is_flat
from tests.conftest import attach_log
from tests.gateway.conftest import FULL, MODES, Gate, upstream_environment, write_keys
from tests.gateway.uploads import Upload, send
from tests.harness.proxy import FastcacheProcess

from fastcache.origin.process import start_origin
from fastcache.protocol.sigv4 import PayloadKind


@pytest.fixture
def large_gate(
    request: pytest.FixtureRequest, start_fastcache: Callable[..., FastcacheProcess], tmp_path: Path
) -> Iterator[Gate]:
    """In front of an origin that forgets uploads, so that their size costs it nothing."""
    keys = write_keys(tmp_path / "keys.yaml", [FULL])
    with start_origin("--discard-uploads") as origin:
        own = (origin.access_key, origin.secret_key)
        proxy = start_fastcache(
            origin.endpoint, *MODES["verify-sign"], "--keys", str(keys), environment=upstream_environment(*own)
        )
        attach_log(request, proxy.logs)
        client, control = (FULL.access_key, FULL.secret_key), origin.control
        yield Gate("own", "verify-sign", origin.endpoint, proxy, *client, control.body_sent, control, own)


def test_an_upload_that_is_signed_on_its_way_takes_no_memory(large_gate: Gate) -> None:
    upload_is_flat(large_gate, 256 * MIB)
    assert large_gate.uploaded_as("upload") == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


@pytest.mark.parametrize("chunk_size", [64 * 1024, 96 * MIB])
def test_chunks_that_are_proved_take_no_memory_however_large(large_gate: Gate, chunk_size: int) -> None:
    bucket = large_gate.new_bucket()
    upload = Upload(bytes(96 * MIB), PayloadKind.CHUNKS_SIGNED, chunk_size=chunk_size)
    with watching(large_gate.proxy.pid) as watch:
        assert send(large_gate, f"/{bucket}/k", upload).status == 200
    assert large_gate.direct.head_object(Bucket=bucket, Key="k")["ContentLength"] == 96 * MIB
    assert watch.grown < GROWTH


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_five_gibibytes_that_are_signed_on_their_way_take_no_memory(large_gate: Gate) -> None:
    upload_is_flat(large_gate, 5 * GIB)
