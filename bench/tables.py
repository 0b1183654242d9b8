"""Tables like those of TPC-H in Parquet files, and queries over them by three engines.

Each query is what its engine does in a process that has read nothing yet: a new database, scan or file system, so that
footers and columns are asked for every time. Making those is not part of it: DuckDB takes longer to load its S3 client
than a query takes.
"""

from __future__ import annotations

import contextlib
import datetime
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import duckdb
import polars
import pyarrow.compute
import pyarrow.fs
import pyarrow.parquet
from tests.clients.table_readers import httpfs_extension

REGION = "us-east-1"
ROW_GROUP = 61_440
"""Rows; DuckDB's own files have twice as many."""
_SINCE = datetime.date(1992, 1, 1)

LINEITEM = """
    SELECT i // 4 AS l_orderkey, (hash(i) % 20000)::INTEGER AS l_partkey, (hash(i + 1) % 1000)::INTEGER AS l_suppkey,
        (i % 4)::INTEGER AS l_linenumber, (hash(i + 2) % 50 + 1)::DOUBLE AS l_quantity,
        (hash(i + 3) % 9000000)::DOUBLE / 100 AS l_extendedprice, (hash(i + 4) % 11)::DOUBLE / 100 AS l_discount,
        (hash(i + 5) % 9)::DOUBLE / 100 AS l_tax, chr((65 + 13 * (hash(i + 6) % 2))::INTEGER) AS l_returnflag,
        chr((70 + 9 * (i % 2))::INTEGER) AS l_linestatus,
        DATE '1992-01-01' + ((i * 2500 // {rows})::INTEGER) AS l_shipdate,
        md5(i::VARCHAR) || md5((i + 1)::VARCHAR) AS l_comment
    FROM range({rows}) AS numbers(i)
"""
"""In the order of its ship dates, as a table that grows by the day is."""


def lineitem(rows: int) -> bytes:
    """A Parquet file of so many rows."""
    with duckdb.connect() as database:
        table = database.execute(LINEITEM.format(rows=rows)).to_arrow_table()
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, row_group_size=ROW_GROUP, compression="snappy")
    return file.getvalue()


@dataclass(frozen=True)
class Source:
    """Where a table is, and who reads it."""

    address: tuple[str, int]
    access_key: str
    secret_key: str

    @property
    def netloc(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"


@contextlib.contextmanager
def _duckdb(source: Source) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as database:
        database.execute(f"LOAD '{httpfs_extension()}'")
        database.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{source.access_key}', SECRET '{source.secret_key}', "
            f"REGION '{REGION}', ENDPOINT '{source.netloc}', URL_STYLE 'path', USE_SSL false)"
        )
        yield database


@contextlib.contextmanager
def _polars(source: Source) -> Iterator[Callable[[str], polars.LazyFrame]]:
    options = {
        "aws_endpoint_url": f"http://{source.netloc}",
        "aws_allow_http": "true",
        "aws_access_key_id": source.access_key,
        "aws_secret_access_key": source.secret_key,
        "aws_region": REGION,
    }
    yield lambda path: polars.scan_parquet(f"s3://{path}", storage_options=options)


@contextlib.contextmanager
def _arrow(source: Source) -> Iterator[pyarrow.fs.S3FileSystem]:
    yield pyarrow.fs.S3FileSystem(
        endpoint_override=source.netloc,
        scheme="http",
        access_key=source.access_key,
        secret_key=source.secret_key,
        region=REGION,
    )


ENGINES: dict[str, Callable[[Source], AbstractContextManager[Any]]] = {
    "DuckDB": _duckdb,
    "Polars": _polars,
    "pyarrow": _arrow,
}
"""What has read nothing yet, each time."""

Query = Callable[[Any, str], Any]
"""Takes what its engine's entry in ENGINES gives, and the ``bucket/key`` of a table; the result as plain values."""


def _sql(query: str) -> Query:
    return lambda database, path: database.execute(query.format(table=f"read_parquet('s3://{path}')")).fetchall()


_PRICING = """
    SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), count(*) FROM {table}
    WHERE l_shipdate <= DATE '1998-09-02' GROUP BY ALL ORDER BY ALL
"""
_REVENUE = """
    SELECT sum(l_extendedprice * l_discount) FROM {table} WHERE l_shipdate >= DATE '1994-01-01'
    AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24
"""
_ORDER = "SELECT l_linenumber, l_quantity, l_comment FROM {table} WHERE l_orderkey = 1234 ORDER BY ALL"
_PRICED = ["l_returnflag", "l_linestatus", "l_quantity", "l_extendedprice", "l_shipdate"]
_EARNED = ["l_extendedprice", "l_discount", "l_quantity", "l_shipdate"]
_YEAR = (datetime.date(1994, 1, 1), datetime.date(1995, 1, 1))
_LAST = datetime.date(1998, 9, 2)


def _polars_pricing(scan: Any, path: str) -> Any:
    flags = ["l_returnflag", "l_linestatus"]
    sums = [polars.col("l_quantity").sum(), polars.col("l_extendedprice").sum(), polars.len()]
    return scan(path).filter(polars.col("l_shipdate") <= _LAST).group_by(flags).agg(sums).sort(flags).collect().rows()


def _polars_revenue(scan: Any, path: str) -> Any:
    price, discount = polars.col("l_extendedprice"), polars.col("l_discount")
    chosen = scan(path).filter(
        polars.col("l_shipdate") >= _YEAR[0],
        polars.col("l_shipdate") < _YEAR[1],
        discount.is_between(0.05, 0.07),
        polars.col("l_quantity") < 24,
    )
    return chosen.select((price * discount).sum()).collect().rows()


def _polars_order(scan: Any, path: str) -> Any:
    chosen = scan(path).filter(polars.col("l_orderkey") == 1234).select("l_linenumber", "l_quantity", "l_comment")
    return chosen.sort("l_linenumber").collect().rows()


def _arrow_pricing(filesystem: Any, path: str) -> Any:
    table = pyarrow.parquet.read_table(
        path, filesystem=filesystem, columns=_PRICED, filters=[("l_shipdate", "<=", _LAST)]
    )
    flags = ["l_returnflag", "l_linestatus"]
    wanted = [("l_quantity", "sum"), ("l_extendedprice", "sum"), ([], "count_all")]
    grouped = table.group_by(flags).aggregate(wanted).sort_by([(flag, "ascending") for flag in flags])
    columns = [*flags, "l_quantity_sum", "l_extendedprice_sum", "count_all"]
    return list(zip(*(grouped.column(name).to_pylist() for name in columns), strict=True))


def _arrow_revenue(filesystem: Any, path: str) -> Any:
    table = pyarrow.parquet.read_table(
        path,
        filesystem=filesystem,
        columns=_EARNED,
        filters=[
            ("l_shipdate", ">=", _YEAR[0]),
            ("l_shipdate", "<", _YEAR[1]),
            ("l_discount", ">=", 0.05),
            ("l_discount", "<=", 0.07),
            ("l_quantity", "<", 24),
        ],
    )
    earned = pyarrow.compute.multiply(table.column("l_extendedprice"), table.column("l_discount"))
    return [(pyarrow.compute.sum(earned).as_py(),)]


def _arrow_order(filesystem: Any, path: str) -> Any:
    columns = ["l_linenumber", "l_quantity", "l_comment"]
    table = pyarrow.parquet.read_table(
        path, filesystem=filesystem, columns=columns, filters=[("l_orderkey", "=", 1234)]
    ).sort_by("l_linenumber")
    return list(zip(*(table.column(name).to_pylist() for name in columns), strict=True))


QUERIES: dict[str, dict[str, Query]] = {
    "pricing summary (Q1)": {
        "DuckDB": _sql(_PRICING),
        "Polars": _polars_pricing,
        "pyarrow": _arrow_pricing,
    },
    "revenue of a year (Q6)": {
        "DuckDB": _sql(_REVENUE),
        "Polars": _polars_revenue,
        "pyarrow": _arrow_revenue,
    },
    "lines of an order": {
        "DuckDB": _sql(_ORDER),
        "Polars": _polars_order,
        "pyarrow": _arrow_order,
    },
}
"""By what is asked and by engine; the letters are those of the TPC-H queries that these are like."""


def same(left: Any, right: Any) -> bool:
    """Whether two results are one; sums of floating-point numbers depend on the order of their terms."""
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) <= 1e-9 * max(abs(left), abs(right))
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)
