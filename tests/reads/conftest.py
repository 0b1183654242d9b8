"""A proxy in front of our own origin, and signed raw reads whose every byte is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess


class Reader:
    """Reads objects of the origin through a proxy with requests signed as SDKs sign them: ``Range`` included."""

    def __init__(self, origin: OriginProcess, proxy: FastcacheProcess) -> None:
        self.origin = origin
        self.proxy = proxy

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
            f"{self.proxy.endpoint}/bkt/{key}",
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
        return self.origin.control.body_sent("bkt", key)


@pytest.fixture
def reader(origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]) -> Callable[..., Reader]:
    """``reader("--flag", ...)``: a proxy with these flags in front of the origin, and a reader of bucket ``bkt``."""

    def start(*flags: str, **options: Any) -> Reader:
        origin.control.bucket("bkt")
        return Reader(origin, start_fastcache(origin.endpoint, *flags, **options))

    return start


def content(key: str, start: int, end: int, generation: int = 1) -> bytes:
    """What the origin holds of a synthetic object."""
    return pattern(key.encode(), generation, start, end - start)
