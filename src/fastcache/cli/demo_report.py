"""What the demo prints: the table, what it means, and what to type next."""

from __future__ import annotations

import functools
import operator
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from fastcache.cli.demo_data import BUCKET, MODEL, ORDERS
from fastcache.cli.demo_measure import Cost
from fastcache.cli.demo_reads import REGION, Access


@dataclass(frozen=True, slots=True)
class Row:
    """A read done twice."""

    what: str
    first: Cost
    second: Cost


def print_table(console: Console, rows: list[Row]) -> None:
    """One row for each read, and the sums; readable on 80 columns."""
    table = Table(header_style="bold")
    table.add_column("what was read\nby which client")
    for name in ("bytes\n", "1st time\nfrom origin", "2nd time\nfrom origin"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("X-Cache, 1st time\nand 2nd time")
    for row in rows:
        table.add_row(
            row.what,
            _size(row.first.received),
            _cell(row.first),
            _cell(row.second),
            f"{_results(row.first.results)}\n{_results(row.second.results)}",
            end_section=True,
        )
    table.add_row(
        "everything",
        _size(sum(row.first.received for row in rows)),
        _cell(_sum(row.first for row in rows)),
        _cell(_sum(row.second for row in rows)),
        "",
        style="bold",
    )
    console.print(table)


def _cell(cost: Cost) -> str:
    return f"{cost.seconds:.2f} s\n{_size(cost.origin_bytes)}"


def _sum(costs: Iterable[Cost]) -> Cost:
    return functools.reduce(operator.add, costs)


def print_meaning(console: Console, rows: list[Row], origin: str) -> None:
    """The two numbers a reader should take away, and what they cost."""
    asked = sum(row.second.origin_requests for row in rows)
    moved = sum(row.second.origin_bytes for row in rows)
    _say(
        console,
        "Every read returned the bytes that were uploaded.",
        f"The second time the origin sent {moved:,} bytes of objects, but it was asked {asked:,} times: with",
        f"`authorization: revalidate`, the default, a hit costs one round trip ({origin}), in which the",
        "origin itself checks the client's signature and says whether the object has changed. On a trusted",
        "network, where everybody who reaches the port may read what is cached, this answers without asking:",
        "  fastcache serve --authorization none --ttl 60s …",
    )


def print_next(console: Console, access: Access, admin_url: str, small: str) -> None:
    """Lines to copy, with the real addresses and the demo's own keys."""
    endpoint, key, secret = access.endpoint, access.access_key, access.secret_key
    console.print("[bold]It stays up. Try it from another terminal[/] (these keys are the demo's own):\n")
    _block(
        console,
        "curl",
        # The header: curl before 8 leaves it out, and S3 refuses a signature without it.
        f"curl -sS -o /dev/null -D - --aws-sigv4 aws:amz:{REGION}:s3 --user {key}:{secret}"
        f" -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' {endpoint}/{BUCKET}/{small}",
    )
    _block(
        console,
        "AWS CLI",
        f"export AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={REGION}",
        f"aws --endpoint-url {endpoint} s3 ls --recursive s3://{BUCKET}/trips/",
        f"aws --endpoint-url {endpoint} s3 cp s3://{BUCKET}/{MODEL} /dev/null",
    )
    _block(
        console,
        "boto3",
        "import boto3",
        f's3 = boto3.client("s3", endpoint_url="{endpoint}", region_name="{REGION}",',
        f'                  aws_access_key_id="{key}", aws_secret_access_key="{secret}")',
        f'answer = s3.get_object(Bucket="{BUCKET}", Key="{ORDERS}")',
        'print(len(answer["Body"].read()), answer["ResponseMetadata"]["HTTPHeaders"]["x-cache"])',
    )
    _block(
        console,
        "Polars",
        "import polars as pl",
        f'options = {{"aws_endpoint_url": "{endpoint}", "aws_region": "{REGION}", "aws_allow_http": "true",',
        f'           "aws_access_key_id": "{key}", "aws_secret_access_key": "{secret}"}}',
        f'print(pl.scan_parquet("s3://{BUCKET}/trips/*.parquet", storage_options=options)',
        '        .group_by("payment").agg(pl.col("fare").mean()).collect())',
    )
    _block(console, "metrics", f"{admin_url}/metrics")
    _say(console, "Ctrl-C stops everything and removes the demo's files.")


def _block(console: Console, title: str, *lines: str) -> None:
    console.print(f"[bold]{title}[/]")
    # Not wrapped: what is copied must be what was meant.
    _say(console, *(f"  {line}" for line in lines), "")


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _results(results: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(results.items())) or "none"


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} B"
    if count < 1024**2:
        return f"{count / 1024:.1f} KiB"
    return f"{count / 1024**2:.1f} MiB"
