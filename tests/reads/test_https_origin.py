"""An origin over HTTPS: verified by the operator's own CA, refused without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.harness.proxy import FastcacheProcess
from tests.reads.conftest import STORED, Reader, content
from tests.upstream.certificates import Authority, make_authority

from fastcache.origin.process import OriginProcess, start_origin

MIB = 1024 * 1024


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    directory = tmp_path / "ca"
    directory.mkdir()
    return make_authority(directory)


@pytest.fixture
def tls_origin(authority: Authority) -> Iterator[OriginProcess]:
    certificate, key = authority.server_files("DNS:localhost", "IP:127.0.0.1")
    process = start_origin("--tls-certificate", certificate, "--tls-key", key)
    process.control.bucket("bkt")
    yield process
    assert process.stop() == 0


def test_bytes_come_and_stay_from_an_origin_behind_tls(
    tls_origin: OriginProcess, authority: Authority, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    proxy = start_fastcache(tls_origin.endpoint, "--ca-file", authority.ca_file, *STORED)
    reader = Reader(tls_origin, proxy)
    tls_origin.control.synthetic("bkt", "o", 5 * MIB)
    assert reader.get("o").body == content("o", 0, 5 * MIB)
    assert reader.get("o", "bytes=100-199").body == content("o", 100, 200)
    assert reader.body_bytes("o") == 5 * MIB
    put = reader.get("new", method="PUT", body=b"through TLS")
    assert put.status == 200
    assert reader.get("new").body == b"through TLS"


def test_an_origin_that_cannot_be_verified_is_502_and_is_not_spoken_to(
    tls_origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    reader = Reader(tls_origin, start_fastcache(tls_origin.endpoint))
    tls_origin.control.synthetic("bkt", "o", 1000)
    refused = reader.get("o")
    assert refused.status == 502
    assert b"<Code>BadGateway</Code>" in refused.body
    assert tls_origin.control.requests() == 0
