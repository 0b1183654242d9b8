"""One request three times: straight to the origin, through a cold proxy and through a warm one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
from tests.conftest import attach_log
from tests.harness.clients import boto3_client
from tests.harness.origin import make_clean, running_origin
from tests.harness.proxy import SharedProxies
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request
from tests.reads.conftest import STORED, Reader

from fastcache.origin.process import OriginProcess

PART = 5 << 20
NONE = ("--authorization", "none")
MODES = pytest.mark.parametrize("mode", [(), NONE], ids=["revalidate", "none"])

_OF_ONE_ANSWER = frozenset(
    (b"date", b"age", b"x-amz-request-id", b"x-amz-id-2", b"x-cache", b"cache-status", b"connection")
)
_IDS = re.compile(rb"<(RequestId|HostId)>[^<]*</|(Message)>[^<]*</")


class Answer(NamedTuple):
    """What a client can tell two answers apart by."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


def told(response: RawResponse) -> Answer:
    """``response`` without what is new in every answer."""
    error = response.status >= 400
    dropped = _OF_ONE_ANSWER | ({b"content-length", b"server"} if error else set())
    fields = tuple(sorted((n.lower(), v) for n, v in response.headers if n.lower() not in dropped))
    body = re.findall(rb"<Code>([^<]*)</Code>", response.body)[0] if error and response.body else response.body
    return Answer(response.status, fields, body)


class Shapes(Reader):
    """A reader of one bucket through the proxy that can also ask the origin itself."""

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
        )

    def synthetic(self, key: str, size: int, *, headers: dict[str, str] | None = None) -> None:
        """An object of pattern bytes, put straight into the origin."""
        self.origin.control.synthetic(self.bucket, key, size, headers=headers)

    def direct(self, key: str, *, method: str = "GET", signed: dict[str, str] | None = None) -> RawResponse:
        """The origin's own answer."""
        raw = signed_request(
            method,
            f"{self.origin.endpoint}/{self.bucket}/{key}",
            self.origin.access_key,
            self.origin.secret_key,
            signed=tuple((signed or {}).items()),
        )
        return exchange(self.origin.endpoint, raw, method=method.encode())

    def three(self, key: str, *, method: str = "GET", signed: dict[str, str] | None = None) -> RawResponse:
        """Assert that direct, cold and warm are one answer; the warm one is returned. Body counters start at warm."""
        direct = told(self.direct(key, method=method, signed=signed))
        assert told(self.get(key, method=method, signed=signed or {})) == direct, "cold"
        self.origin.control.reset()
        warm = self.get(key, method=method, signed=signed or {})
        assert told(warm) == direct, "warm"
        return warm

    def multipart(self, key: str, sizes: list[int], **settings: Any) -> bytes:
        """Upload an object in parts straight to the origin; its bytes."""
        s3 = boto3_client(self.origin.endpoint, self.origin.access_key, self.origin.secret_key)
        named = {"Bucket": self.bucket, "Key": key}
        upload = s3.create_multipart_upload(**named, ChecksumAlgorithm="CRC32", **settings)["UploadId"]
        done, bodies = [], []
        for number, size in enumerate(sizes, 1):
            body = bytes([96 + number]) * (size - 4) + b"%04d" % number
            part = s3.upload_part(**named, UploadId=upload, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
            done.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
            bodies.append(body)
        s3.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": done})
        return b"".join(bodies)


@pytest.fixture(scope="session")
def _aws_process() -> Iterator[OriginProcess]:
    with running_origin(quirks="aws") as process:
        yield process


@pytest.fixture
def aws(_aws_process: OriginProcess) -> OriginProcess:
    """Our origin with AWS's oddities, clean."""
    make_clean(_aws_process)
    return _aws_process


@pytest.fixture(scope="session")
def _proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedProxies]:
    """For the whole run."""
    proxies = SharedProxies(tmp_path_factory.mktemp("proxies"))
    yield proxies
    proxies.stop()


def _reader(request: pytest.FixtureRequest, proxies: SharedProxies, origin: OriginProcess, *flags: str) -> Shapes:
    """A reader of a new bucket through the proxy with these flags."""
    proxy = proxies.get(origin.endpoint, *STORED, *flags)
    attach_log(request, proxy.logs)
    bucket = f"b-{uuid.uuid4().hex}"
    origin.control.bucket(bucket)
    return Shapes(origin, proxy, bucket)


@pytest.fixture
def shapes(request: pytest.FixtureRequest, aws: OriginProcess, _proxies: SharedProxies) -> Callable[..., Shapes]:
    """``shapes("--flag", ...)``: a reader of a new bucket through a proxy with these flags."""
    return partial(_reader, request, _proxies, aws)


@pytest.fixture(params=["plain", "aws"])
def either(
    request: pytest.FixtureRequest, origin: OriginProcess, aws: OriginProcess, _proxies: SharedProxies
) -> Callable[..., Shapes]:
    """As ``shapes``, in front of the origin without and with AWS's oddities."""
    return partial(_reader, request, _proxies, origin if request.param == "plain" else aws)


def x_cache(response: RawResponse) -> bytes | None:
    return response.get(b"x-cache")
