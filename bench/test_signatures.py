"""What a signature costs: the check of a head by each SHA-256 of this machine, and the digests alone."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastcache._core.access_keys import AccessKeys
from fastcache._core.sha256 import IMPLEMENTATIONS, implementation, sha256, use
from fastcache._core.sigv4 import Verifier
from fastcache.load.heads import CLIENTS, Signer, request_head
from fastcache.protocol.sigv4 import Credentials, presign

CREDENTIALS = Credentials(b"AKIDEXAMPLE", b"secret")
HOST = b"127.0.0.1:3000"


@pytest.fixture(params=IMPLEMENTATIONS, autouse=True)
def used(request: pytest.FixtureRequest) -> Iterator[None]:
    """The implementation in use."""
    before = implementation()
    use(request.param)
    yield
    use(before)


@pytest.fixture
def verifier() -> Verifier:
    keys = AccessKeys()
    keys.load(1, [CREDENTIALS])
    return Verifier(keys)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_signature_in_a_header(benchmark: BenchmarkFixture, verifier: Verifier, client: str) -> None:
    """With reading the head, which a hit does in any mode: see ``test_recognise_a_head`` for that alone."""
    now = time.time()
    head = request_head(client, HOST, b"/bucket/some/key-0", signer=Signer(CREDENTIALS, b"us-east-1", now))
    assert benchmark(verifier.verified, head, now) == CREDENTIALS.access_key


def test_a_signature_in_the_query(benchmark: BenchmarkFixture, verifier: Verifier) -> None:
    now = time.time()
    target = presign(
        b"GET", b"/bucket/some/key-0", ((b"Host", HOST),), CREDENTIALS, region=b"us-east-1", now=now, expires=600
    )  # fmt: skip
    head = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, HOST)
    assert benchmark(verifier.verified, head, now) == CREDENTIALS.access_key


@pytest.mark.parametrize("length", [0, 440, 65536])
def test_a_digest(benchmark: BenchmarkFixture, length: int) -> None:
    message = [bytes(length)]
    assert benchmark(sha256, message) == sha256(message)
