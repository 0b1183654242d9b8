"""Libraries that read objects, as their users write it."""

from __future__ import annotations

import functools
import tempfile
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.fs
from tests.clients.reader import RangeReader, Reader
from tests.harness.clients import REGION, boto3_client, minio_client, obstore_store


class _Boto3Reader(Reader):
    @functools.cached_property
    def _client(self) -> Any:
        return boto3_client(self.endpoint, self.site.access_key, self.site.secret_key)


class Boto3(_Boto3Reader, RangeReader):
    def whole(self, bucket: str, key: str) -> bytes:
        got: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return got

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        got: bytes = self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}")["Body"].read()
        return got


class Boto3Download(_Boto3Reader):
    """The transfer manager."""

    def whole(self, bucket: str, key: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "file")
            self._client.download_file(bucket, key, str(path))
            return path.read_bytes()


class Presigned(RangeReader):
    """A URL that boto3 signed, read by something that knows nothing of S3."""

    def _read(self, bucket: str, key: str, **headers: str) -> bytes:
        url = self.site.presigned("GET", f"/{bucket}/{quote(key)}", direct=self.direct)
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as response:
            got: bytes = response.read()
        return got

    def whole(self, bucket: str, key: str) -> bytes:
        return self._read(bucket, key)

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        return self._read(bucket, key, Range=f"bytes={start}-{end - 1}")


class Minio(RangeReader):
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


class Obstore(RangeReader):
    @functools.cache  # noqa: B019 - a reader lives as long as its test
    def _store(self, bucket: str) -> Any:
        return obstore_store(self.endpoint, bucket, self.site.access_key, self.site.secret_key)

    def whole(self, bucket: str, key: str) -> bytes:
        return bytes(self._store(bucket).get(key).bytes())

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        return bytes(self._store(bucket).get_range(key, start=start, end=end))


class Pyarrow(RangeReader):
    """A stream, which asks for 256 KiB, gets them, and asks for the next."""

    large = 1024 * 1024

    @functools.cached_property
    def filesystem(self) -> pyarrow.fs.S3FileSystem:
        return pyarrow.fs.S3FileSystem(
            endpoint_override=self.netloc,
            scheme="http",
            access_key=self.site.access_key,
            secret_key=self.site.secret_key,
            region=REGION,
        )

    def whole(self, bucket: str, key: str) -> bytes:
        with self.filesystem.open_input_stream(f"{bucket}/{key}") as stream:
            got: bytes = stream.read()
        return got

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        with self.filesystem.open_input_file(f"{bucket}/{key}") as file:
            got: bytes = file.read_at(end - start, start)
        return got


class _S3fsReader(Reader):
    needs = ("s3fs",)

    @functools.cached_property
    def _filesystem(self) -> Any:
        import s3fs

        return s3fs.S3FileSystem(
            key=self.site.access_key,
            secret=self.site.secret_key,
            endpoint_url=self.endpoint,
            client_kwargs={"region_name": REGION},
            config_kwargs={"s3": {"addressing_style": "path"}},
            # Otherwise it is shared with every other test that asks for the same.
            skip_instance_cache=True,
            # What it listed it does not ask for again, not even after an overwrite.
            use_listings_cache=False,
        )


class S3fs(_S3fsReader, RangeReader):
    """``cat``, which reads into memory."""

    def whole(self, bucket: str, key: str) -> bytes:
        got: bytes = self._filesystem.cat_file(f"{bucket}/{key}")
        return got

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        got: bytes = self._filesystem.cat_file(f"{bucket}/{key}", start=start, end=end)
        return got


class S3fsOpen(_S3fsReader, RangeReader):
    """A file, which reads ahead."""

    def whole(self, bucket: str, key: str) -> bytes:
        with self._filesystem.open(f"{bucket}/{key}") as file:
            got: bytes = file.read()
        return got

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        with self._filesystem.open(f"{bucket}/{key}") as file:
            file.seek(start)
            got: bytes = file.read(end - start)
        return got


class S3fsGet(_S3fsReader):
    """A download; above 50 MiB the first request is given up and ranges follow."""

    def whole(self, bucket: str, key: str) -> bytes:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "file")
            self._filesystem.get_file(f"{bucket}/{key}", str(path))
            return path.read_bytes()


class Awscrt(RangeReader):
    """Amazon's C client, the engine of AWS CLI v2; it splits what is asked of it into ranges."""

    needs = ("awscrt",)

    @functools.cached_property
    def _client(self) -> Any:
        import awscrt.auth
        import awscrt.s3

        provider = awscrt.auth.AwsCredentialsProvider.new_static(self.site.access_key, self.site.secret_key)
        return awscrt.s3.S3Client(
            region=REGION,
            tls_mode=awscrt.s3.S3RequestTlsMode.DISABLED,
            signing_config=awscrt.s3.create_default_s3_signing_config(region=REGION, credential_provider=provider),
        )

    def _read(self, bucket: str, key: str, *fields: tuple[str, str]) -> bytes:
        import awscrt.http
        import awscrt.s3

        pieces: list[bytes] = []
        headers = awscrt.http.HttpHeaders([("host", self.netloc), *fields])
        asked = self._client.make_request(
            type=awscrt.s3.S3RequestType.GET_OBJECT,
            request=awscrt.http.HttpRequest("GET", f"/{bucket}/{quote(key)}", headers),
            # Parts arrive side by side and are delivered in order.
            on_body=lambda chunk, offset, **_: pieces.append(bytes(chunk)),
        )
        asked.finished_future.result(60)
        return b"".join(pieces)

    def whole(self, bucket: str, key: str) -> bytes:
        return self._read(bucket, key)

    def part(self, bucket: str, key: str, start: int, end: int) -> bytes:
        return self._read(bucket, key, ("range", f"bytes={start}-{end - 1}"))


SDK_READERS: dict[str, type[Reader]] = {
    "boto3 get_object": Boto3,
    "boto3 download_file": Boto3Download,
    "presigned URL": Presigned,
    "minio-py get_object": Minio,
    "obstore get": Obstore,
    "pyarrow open_input_stream": Pyarrow,
    "s3fs cat": S3fs,
    "s3fs open": S3fsOpen,
    "s3fs get": S3fsGet,
    "awscrt GET_OBJECT": Awscrt,
}
"""As docs/clients.md calls them."""
