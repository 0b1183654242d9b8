"""What the demo does with a client's own tools: uploads, and reads that are compared with what was uploaded."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.fs as pa_fs  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from fastcache.cli.demo_data import BUCKET, EVENTS, MODEL, ORDERS, SHARD, Sample, trip_keys
from fastcache.cli.demo_processes import DemoError

REGION = "us-east-1"
COLUMNS = ["pickup_at", "distance_miles", "fare"]
THREADS = 8

_RANGES = 16
_RANGE_BYTES = 256 * 1024


class WrongBytesError(DemoError):
    """A read returned something else than what was uploaded."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where S3 is and who asks."""

    endpoint: str
    access_key: str
    secret_key: str

    def boto3(self) -> Any:
        """A boto3 client as any program makes one, path-style because the endpoint is an address."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(max_pool_connections=2 * THREADS, s3={"addressing_style": "path"}),
        )

    def filesystem(self) -> pa_fs.S3FileSystem:
        """pyarrow's own S3 client."""
        parts = urlsplit(self.endpoint)
        return pa_fs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=REGION,
            scheme=parts.scheme,
            endpoint_override=parts.netloc,
        )


@dataclass(frozen=True, slots=True)
class Read:
    """One line of the table: ``run`` reads, ``check`` compares the outcome and raises WrongBytesError."""

    what: str
    run: Callable[[], Any]
    check: Callable[[Any], None]


@contextlib.contextmanager
def client_errors(what: str) -> Iterator[None]:
    """Whatever a client or the network raises within becomes a DemoError that begins with ``what``."""
    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error, pa.ArrowException, OSError) as error:
        raise DemoError(f"{what}: {error}") from error


def upload(access: Access, objects: Iterable[Sample], done: Callable[[int], None]) -> dict[str, bytes]:
    """Put every object; ``done`` is told the bytes of each. Returns key → bytes. Raises DemoError."""
    s3 = access.boto3()

    def put(sample: Sample) -> Sample:
        body = io.BytesIO(sample.data)
        s3.upload_fileobj(body, BUCKET, sample.key, ExtraArgs={"ContentType": sample.content_type})
        return sample

    uploaded: dict[str, bytes] = {}
    with client_errors("the upload of the sample data failed"), ThreadPoolExecutor(THREADS) as threads:
        s3.create_bucket(Bucket=BUCKET)
        for sample in threads.map(put, objects):
            uploaded[sample.key] = sample.data
            done(len(sample.data))
    return uploaded


def reads(access: Access, uploaded: dict[str, bytes], directory: Path) -> list[Read]:
    """The reads of the table; ``directory`` takes the downloaded file."""
    s3 = access.boto3()
    small = [key for key in uploaded if key.startswith(("images/", "labels/"))]
    trips = trip_keys()
    return [
        _whole(s3, uploaded, [ORDERS, EVENTS], "CSV and JSON logs"),
        _columns(access, uploaded, trips[:2]),
        _ranges(s3, uploaded, trips[2], "a Parquet file"),
        _ranges(s3, uploaded, SHARD, "a model file"),
        _download(s3, uploaded, directory / "download"),
        _whole(s3, uploaded, small, f"{len(small)} images and labels"),
    ]


def _whole(s3: Any, uploaded: dict[str, bytes], keys: list[str], what: str) -> Read:
    def get(key: str) -> bytes:
        body: bytes = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def run() -> list[bytes]:
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(get, keys))

    def check(bodies: list[bytes]) -> None:
        for key, body in zip(keys, bodies, strict=True):
            _same(key, body, uploaded[key])

    return Read(f"{what}\nboto3 get_object", run, check)


def _ranges(s3: Any, uploaded: dict[str, bytes], key: str, kind: str) -> Read:
    size = len(uploaded[key])
    length = min(_RANGE_BYTES, max(1, size // (2 * _RANGES)))
    starts = [number * size // _RANGES for number in range(_RANGES)]

    def get(start: int) -> bytes:
        answer = s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={start}-{start + length - 1}")
        body: bytes = answer["Body"].read()
        return body

    def run() -> list[bytes]:
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(get, starts))

    def check(bodies: list[bytes]) -> None:
        for start, body in zip(starts, bodies, strict=True):
            _same(f"{key} from {start}", body, uploaded[key][start : start + length])

    return Read(f"{_RANGES} ranges of {kind}\nboto3 get_object", run, check)


def _download(s3: Any, uploaded: dict[str, bytes], target: Path) -> Read:
    def run() -> None:
        s3.download_file(BUCKET, MODEL, str(target))

    def check(_: None) -> None:
        _same(MODEL, target.read_bytes(), uploaded[MODEL])
        target.unlink()

    return Read("a model file, whole\nboto3 download_file", run, check)


def _columns(access: Access, uploaded: dict[str, bytes], keys: list[str]) -> Read:
    filesystem = access.filesystem()

    def run() -> list[pa.Table]:
        return [pq.read_table(f"{BUCKET}/{key}", columns=COLUMNS, filesystem=filesystem) for key in keys]

    def check(tables: list[pa.Table]) -> None:
        for key, table in zip(keys, tables, strict=True):
            if not table.equals(pq.read_table(pa.BufferReader(uploaded[key]), columns=COLUMNS)):
                raise WrongBytesError(f"wrong bytes: the columns of {key} are not those that were uploaded")

    return Read("columns of Parquet files\npyarrow's own S3 client", run, check)


def _same(what: str, body: bytes, uploaded: bytes) -> None:
    if body != uploaded:
        raise WrongBytesError(f"wrong bytes: {what} is not what was uploaded ({len(body)} bytes of {len(uploaded)})")
