"""Unchanged clients, pointed at the gateway with ``endpoint_url`` and keys of its own: read and write."""

from __future__ import annotations

import io
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from tests.clients.program_readers import credentials_only
from tests.clients.reader import Reader
from tests.clients.readers import READERS
from tests.clients.sdk_readers import S3fs
from tests.clients.table_readers import DuckDB, TableReader
from tests.clients.test_reads import some_bytes
from tests.gateway.conftest import Gate
from tests.harness.clients import REGION
from tests.harness.tools import require_tool

MIB = 1024 * 1024
STRICT = ("boto3 get_object", "s5cmd cat", "obstore get", "pyarrow open_input_stream", "curl --aws-sigv4")
"""What is tried at Swift, which checks everything and takes its time; the others at our own origin."""


def _cases() -> list[Any]:
    slow = {name: [pytest.mark.slow] if make.starts_slowly else [] for name, make in READERS.items()}
    own = [pytest.param("own", name, id=f"own-{name}", marks=slow[name]) for name in READERS if name not in STRICT]
    return own + [pytest.param("swift", name, id=f"swift-{name}") for name in STRICT]


@pytest.mark.parametrize(("gate", "name"), _cases(), indirect=["gate"])
def test_every_client_reads_cold_warm_and_after_an_overwrite(gate: Gate, name: str) -> None:
    make: type[Reader] = READERS[name]
    bucket, key, reader = gate.new_bucket(), f"k/{uuid.uuid4().hex}", make(gate)
    old, new = make.body("old", make.large), make.body("new", make.large + 1)
    gate.direct.put_object(Bucket=bucket, Key=key, Body=old)
    assert reader.whole(bucket, key) == make.result(old)
    moved = gate.moved(bucket)
    assert reader.whole(bucket, key) == make.result(old)
    assert gate.moved(bucket) == moved, "a warm read moved body bytes"
    gate.through.put_object(Bucket=bucket, Key=key, Body=new)
    assert reader.whole(bucket, key) == make.result(new)


def _s5cmd(gate: Gate, bucket: str, key: str, file: Path) -> None:
    require_tool("s5cmd")
    _run(gate, "s5cmd", "--endpoint-url", gate.endpoint, "cp", str(file), f"s3://{bucket}/{key}")


def _aws_cli(gate: Gate, bucket: str, key: str, file: Path) -> None:
    require_tool("awscli")
    _run(gate, "aws", "--endpoint-url", gate.endpoint, "s3", "cp", str(file), f"s3://{bucket}/{key}")


def _run(gate: Gate, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, env=credentials_only(gate), check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def _awscrt(gate: Gate, bucket: str, key: str, file: Path) -> None:
    """aws-chunked with a Content-Length and a CRC32 in the trailer: as AWS CLI v2 sends it."""
    require_tool("awscrt")
    import awscrt.auth
    import awscrt.http
    import awscrt.s3

    provider = awscrt.auth.AwsCredentialsProvider.new_static(gate.access_key, gate.secret_key)
    client = awscrt.s3.S3Client(
        region=REGION,
        tls_mode=awscrt.s3.S3RequestTlsMode.DISABLED,
        signing_config=awscrt.s3.create_default_s3_signing_config(region=REGION, credential_provider=provider),
    )
    body = file.read_bytes()
    headers = awscrt.http.HttpHeaders(
        [("host", gate.endpoint.removeprefix("http://")), ("content-length", str(len(body)))]
    )
    client.make_request(
        type=awscrt.s3.S3RequestType.PUT_OBJECT,
        request=awscrt.http.HttpRequest("PUT", f"/{bucket}/{key}", headers, io.BytesIO(body)),
        checksum_config=awscrt.s3.S3ChecksumConfig(
            algorithm=awscrt.s3.S3ChecksumAlgorithm.CRC32, location=awscrt.s3.S3ChecksumLocation.TRAILER
        ),
    ).finished_future.result(60)


def _s3fs(gate: Gate, bucket: str, key: str, file: Path) -> None:
    S3fs(gate)._filesystem.pipe_file(f"{bucket}/{key}", file.read_bytes())


def _if_none_match(gate: Gate, bucket: str, key: str, file: Path) -> None:
    gate.through.put_object(Bucket=bucket, Key=key, Body=file.read_bytes(), IfNoneMatch="*")


WRITERS: dict[str, Callable[[Gate, str, str, Path], None]] = {
    "s5cmd cp": _s5cmd,
    "aws s3 cp": _aws_cli,
    "awscrt PUT_OBJECT": _awscrt,
    "s3fs pipe": _s3fs,
    "boto3 put_object, If-None-Match": _if_none_match,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith("aws s3")) for name in WRITERS]
)
def test_every_client_writes(gate: Gate, name: str, tmp_path: Path) -> None:
    bucket, file = gate.new_bucket(), tmp_path / "file"
    for size in (0, 1000, 9 * MIB):
        file.write_bytes(some_bytes(name, size))
        WRITERS[name](gate, bucket, f"k{size}", file)
        assert gate.through.get_object(Bucket=bucket, Key=f"k{size}")["Body"].read() == file.read_bytes()


def _polars(gate: Gate, bucket: str, key: str, table: bytes) -> None:
    require_tool("polars")
    import polars

    options = {
        "aws_endpoint_url": gate.endpoint,
        "aws_allow_http": "true",
        "aws_access_key_id": gate.access_key,
        "aws_secret_access_key": gate.secret_key,
        "aws_region": REGION,
    }
    polars.read_parquet(io.BytesIO(table)).write_parquet(f"s3://{bucket}/{key}", storage_options=options)


def _duckdb(gate: Gate, bucket: str, key: str, table: bytes) -> None:
    with DuckDB(gate).database() as database:
        database.register("source", pyarrow.parquet.read_table(io.BytesIO(table)))
        database.execute(f"COPY (FROM source) TO 's3://{bucket}/{key}' (FORMAT parquet)")


@pytest.mark.parametrize("write", [_polars, _duckdb], ids=["polars", "duckdb"])
def test_tables_are_written_too(own_gate: Gate, write: Callable[[Gate, str, str, bytes], None]) -> None:
    bucket = own_gate.new_bucket()
    table = TableReader.body("table", 300_000)
    write(own_gate, bucket, "t.parquet", table)
    assert READERS["pyarrow read_table"](own_gate).whole(bucket, "t.parquet") == TableReader.result(table)
