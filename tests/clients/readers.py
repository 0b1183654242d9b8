"""How each client reads a whole object and a range of it, as its users write it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import pyarrow.fs
from tests.clients.sites import Site
from tests.harness.clients import REGION, boto3_client, curl, minio_client, obstore_store
from tests.harness.tools import require_tool


class Reader:
    """A client at one endpoint. ``end`` is exclusive."""

    def __init__(self, site: Site, *, direct: bool = False) -> None:
        self.site = site
        self.direct = direct
        self.endpoint = site.origin_endpoint if direct else site.endpoint

    def whole(self, bucket: str, key: str) -> bytes:
        raise NotImplementedError

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        raise NotImplementedError


class Boto3(Reader):
    @functools.cached_property
    def _client(self) -> Any:
        return boto3_client(self.endpoint, self.site.access_key, self.site.secret_key)

    def whole(self, bucket: str, key: str) -> bytes:
        got: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return got

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        got: bytes = self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}")["Body"].read()
        return got


class Minio(Reader):
    @functools.cached_property
    def _client(self) -> Any:
        return minio_client(self.endpoint, self.site.access_key, self.site.secret_key)

    def whole(self, bucket: str, key: str) -> bytes:
        with self._client.get_object(bucket, key) as response:
            got: bytes = response.read()
        return got

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        with self._client.get_object(bucket, key, offset=start, length=end - start) as response:
            got: bytes = response.read()
        return got


class Obstore(Reader):
    @functools.cache  # noqa: B019 - a reader lives as long as its test
    def _store(self, bucket: str) -> Any:
        return obstore_store(self.endpoint, bucket, self.site.access_key, self.site.secret_key)

    def whole(self, bucket: str, key: str) -> bytes:
        return bytes(self._store(bucket).get(key).bytes())

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        return bytes(self._store(bucket).get_range(key, start=start, end=end))


class Pyarrow(Reader):
    @functools.cached_property
    def _filesystem(self) -> pyarrow.fs.S3FileSystem:
        return pyarrow.fs.S3FileSystem(
            endpoint_override=urlsplit(self.endpoint).netloc,
            scheme="http",
            access_key=self.site.access_key,
            secret_key=self.site.secret_key,
            region=REGION,
        )

    def whole(self, bucket: str, key: str) -> bytes:
        with self._filesystem.open_input_stream(f"{bucket}/{key}") as stream:
            got: bytes = stream.read()
        return got

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        with self._filesystem.open_input_file(f"{bucket}/{key}") as file:
            got: bytes = file.read_at(end - start, start)
        return got


class Curl(Reader):
    """Presigned URLs at Swift, whose access keys curl cannot carry; curl's own signature elsewhere."""

    def __init__(self, site: Site, *, direct: bool = False) -> None:
        require_tool("curl")
        super().__init__(site, direct=direct)

    def _run(self, bucket: str, key: str, *arguments: str) -> bytes:
        target = f"/{bucket}/{quote(key)}"
        if self.site.kind == "swift":
            done = curl(self.site.presigned("GET", target, direct=self.direct), "--fail", *arguments)
        else:
            done = curl(
                self.endpoint + target,
                "--fail",
                *arguments,
                access_key=self.site.access_key,
                secret_key=self.site.secret_key,
            )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def whole(self, bucket: str, key: str) -> bytes:
        return self._run(bucket, key)

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        return self._run(bucket, key, "--range", f"{start}-{end - 1}")


CLIENTS: dict[str, Callable[..., Reader]] = {
    "boto3": Boto3,
    "minio-py": Minio,
    "obstore": Obstore,
    "pyarrow": Pyarrow,
    "curl": Curl,
}
