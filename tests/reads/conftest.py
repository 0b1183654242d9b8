"""A proxy in front of our own origin, and signed raw reads whose every byte is checked."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from tests.conftest import attach_log
from tests.harness.proxy import FastcacheProcess, Sample, SharedProxies, total
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess


class Reader:
    """Reads objects of the origin through a proxy with requests signed as SDKs sign them: ``Range`` included."""

    def __init__(
        self, origin: OriginProcess, proxy: FastcacheProcess, bucket: str = "bkt", began: Sequence[Sample] = ()
    ) -> None:
        """``began``: what the proxy had counted by then."""
        self.origin = origin
        self.proxy = proxy
        self.bucket = bucket
        self._began = began

    def request(
        self,
        key: str,
        *,
        method: str = "GET",
        secret: str | None = None,
        signed: dict[str, str] | None = None,
        unsigned: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> bytes:
        return signed_request(
            method,
            f"{self.proxy.endpoint}/{self.bucket}/{key}",
            self.origin.access_key,
            secret or self.origin.secret_key,
            signed=tuple((signed or {}).items()),
            unsigned=tuple((unsigned or {}).items()),
            body=body,
            **({"payload_sha256": "UNSIGNED-PAYLOAD"} if body else {}),
        )

    def get(self, key: str, range_: str | None = None, **options: Any) -> RawResponse:
        signed = dict(options.pop("signed", {}))
        if range_ is not None:
            signed["Range"] = range_
        method = options.get("method", "GET")
        return exchange(self.proxy.endpoint, self.request(key, signed=signed, **options), method=method.encode())

    def body_bytes(self, key: str) -> int:
        """Object bytes that the origin sent for ``key`` since it was reset."""
        return self.origin.control.body_sent(self.bucket, key)

    def counted(self, name: str, **labels: str) -> float:
        """What the proxy, which others may have used before, has counted since this reader began."""
        return self.proxy.metric(name, **labels) - total(self._began, name, labels)


Start = Callable[..., Reader]
STORED = ("--fill-detach-after", "60s", "--fill-follow-wait", "30s")
"""How fast this machine's disk is at the moment, and the origin, is not what is tested: what is read is stored, and who
comes while that is going on waits for it."""


@pytest.fixture(scope="module")
def _proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedProxies]:
    """For the tests of one module, so that what one of them does to a proxy is found there."""
    proxies = SharedProxies(tmp_path_factory.mktemp("proxies"))
    yield proxies
    proxies.stop()


@pytest.fixture
def shared(request: pytest.FixtureRequest, origin: OriginProcess, _proxies: SharedProxies) -> Start:
    """``shared("--flag", ...)``: a reader of a new bucket through the module's proxy with these flags."""

    def start(*flags: str) -> Reader:
        proxy = _proxies.get(origin.endpoint, *STORED, *flags)
        attach_log(request, proxy.logs)
        bucket = f"b-{uuid.uuid4().hex}"
        origin.control.bucket(bucket)
        return Reader(origin, proxy, bucket, list(proxy.samples()))

    return start


@pytest.fixture
def alone(origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]) -> Start:
    """``alone("--flag", ...)``: a reader of bucket ``bkt`` through a proxy that nobody else uses: it may be killed,
    started again on the same directory, and looked into."""

    def start(*flags: str, **options: Any) -> Reader:
        origin.control.bucket("bkt")
        return Reader(origin, start_fastcache(origin.endpoint, *STORED, *flags, **options))

    return start


@pytest.fixture
def reader(shared: Start) -> Start:
    """What a test here reads with, unless it says otherwise."""
    return shared


def content(key: str, start: int, end: int, generation: int = 1) -> bytes:
    """What the origin holds of a synthetic object."""
    return pattern(key.encode(), generation, start, end - start)
