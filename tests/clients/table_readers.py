"""Readers of Parquet files: what they give is the rows, and ``some`` a query that needs a small part of the file."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
from tests.clients.reader import Reader
from tests.clients.sdk_readers import Pyarrow
from tests.harness.clients import REGION

ROW = 50
"""Bytes a row takes in the file, about."""


def columns(table: pa.Table) -> bytes:
    """The values of a table, in an order and a form that depends on no library's types."""
    return json.dumps({name: table.column(name).to_pylist() for name in table.column_names}).encode()


class TableReader(Reader):
    large = 1024 * 1024
    """Row groups, columns and the footer are asked for one by one."""

    @staticmethod
    def body(seed: str, size: int) -> bytes:
        chosen = random.Random(seed)
        rows = max(size // ROW, 4)
        table = pa.table(
            {
                "id": list(range(rows)),
                "value": [chosen.random() for _ in range(rows)],
                "name": [chosen.randbytes(16).hex() for _ in range(rows)],
            }
        )
        file = io.BytesIO()
        pa.parquet.write_table(table, file, row_group_size=rows // 4, compression="none", use_dictionary=False)
        return file.getvalue()

    @staticmethod
    def result(body: bytes) -> bytes:
        return columns(pa.parquet.read_table(io.BytesIO(body)))

    def some(self, bucket: str, key: str, least: int) -> bytes:
        """The column ``value`` of the rows whose ``id`` is ``least`` or more."""
        raise NotImplementedError

    @staticmethod
    def some_result(body: bytes, least: int) -> bytes:
        table = pa.parquet.read_table(io.BytesIO(body), filters=[("id", ">=", least)])
        return columns(table.select(["value"]))


class PyarrowTable(TableReader):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._filesystem: pyarrow.fs.S3FileSystem = Pyarrow(*arguments, **options).filesystem

    def whole(self, bucket: str, key: str) -> bytes:
        return columns(pa.parquet.read_table(f"{bucket}/{key}", filesystem=self._filesystem))

    def some(self, bucket: str, key: str, least: int) -> bytes:
        wanted = [("id", ">=", least)]
        path = f"{bucket}/{key}"
        return columns(pa.parquet.read_table(path, filesystem=self._filesystem, columns=["value"], filters=wanted))


class Polars(TableReader):
    needs = ("polars",)

    @property
    def options(self) -> dict[str, str]:
        return {
            "aws_endpoint_url": self.endpoint,
            "aws_allow_http": "true",
            "aws_access_key_id": self.site.access_key,
            "aws_secret_access_key": self.site.secret_key,
            "aws_region": REGION,
        }

    def _scan(self, bucket: str, key: str) -> Any:
        import polars

        return polars.scan_parquet(f"s3://{bucket}/{key}", storage_options=self.options)

    def whole(self, bucket: str, key: str) -> bytes:
        return columns(self._scan(bucket, key).collect().to_arrow())

    def some(self, bucket: str, key: str, least: int) -> bytes:
        import polars

        frame = self._scan(bucket, key).filter(polars.col("id") >= least).select("value")
        return columns(frame.collect().to_arrow())


def httpfs_extension() -> Path:
    """DuckDB's S3 client, which is a file of its own."""
    import duckdb

    package = resources.files("duckdb_extension_httpfs")
    return Path(str(package / "extensions" / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"))


class DuckDB(TableReader):
    """A database each time, as a new process of its user is: one remembers what it read."""

    needs = ("duckdb",)
    herd_costs = 2.0
    """Its threads join neighbouring ranges as it happens, so that its readers do not all ask for the same ones."""

    @contextlib.contextmanager
    def database(self) -> Iterator[Any]:
        """A new one, which knows nothing but the way here."""
        import duckdb

        with duckdb.connect() as database:
            database.execute(f"LOAD '{httpfs_extension()}'")
            database.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{self.site.access_key}', SECRET '{self.site.secret_key}', "
                f"REGION '{REGION}', ENDPOINT '{self.netloc}', URL_STYLE 'path', USE_SSL false)"
            )
            yield database

    def whole(self, bucket: str, key: str) -> bytes:
        with self.database() as database:
            return columns(database.execute(f"FROM read_parquet('s3://{bucket}/{key}')").to_arrow_table())

    def some(self, bucket: str, key: str, least: int) -> bytes:
        query = f"SELECT value FROM read_parquet('s3://{bucket}/{key}') WHERE id >= {least}"
        with self.database() as database:
            return columns(database.execute(query).to_arrow_table())


TABLE_READERS: dict[str, type[TableReader]] = {
    "pyarrow read_table": PyarrowTable,
    "Polars scan_parquet": Polars,
    "DuckDB read_parquet": DuckDB,
}
"""As docs/clients.md calls them."""
