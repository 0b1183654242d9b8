"""What docs/clients.md says of each client is what happens: its code runs, its table is measured."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from tests.clients import wire
from tests.clients.program_readers import credentials_only
from tests.clients.reader import Reader
from tests.clients.readers import CLIENTS, OTHERS, READERS
from tests.clients.sites import Site
from tests.clients.table_readers import httpfs_extension
from tests.harness.tools import REPOSITORY, require_tool
from tests.test_repository import required_by_ci

from fastcache.origin.process import OriginProcess

PAGE = (REPOSITORY / "docs" / "clients.md").read_text()


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    way: str
    version: str
    requests: str
    signed: str
    cold: str
    partly: str
    herd: str


ROWS = {
    cells[0]: Row(*cells)
    for line in PAGE.splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split(" | ")]) == 7 and re.match(r"\d", cells[1])
}

_PACKAGES = {
    "AWS CLI": "awscli",
    "DuckDB": "duckdb",
    "Polars": "polars",
    "minio-py": "minio",
    "presigned": "boto3",
    "s3torchconnector": "s3torchconnectorclient",
    "s5cmd": "s5cmd",
}


def package_of(way: str) -> str:
    return next((package for name, package in _PACKAGES.items() if way.startswith(name)), way.split()[0])


def test_the_page_and_the_tests_know_the_same_clients() -> None:
    assert list(ROWS) == list(READERS)
    assert set(READERS.values()) == {*CLIENTS.values(), *OTHERS.values()}


def test_ci_skips_no_client() -> None:
    assert {tool for make in READERS.values() for tool in make.needs} <= required_by_ci()


@pytest.mark.parametrize("way", [way for way in READERS if not way.startswith("curl")])
def test_the_version_is_the_one_that_is_tried(way: str) -> None:
    require_tool(*READERS[way].needs)
    assert ROWS[way].version.split()[0] == metadata.version(package_of(way))


@pytest.mark.parametrize("way", READERS)
@pytest.mark.parametrize(
    "own_site", ["revalidate", pytest.param("none", marks=pytest.mark.slow)], indirect=True, ids=str
)
def test_the_table_says_what_a_client_sends_and_what_it_costs(own_site: Site, origin: OriginProcess, way: str) -> None:
    make = READERS[way]
    direct, through = make(own_site, direct=True), make(own_site)
    bucket, body = own_site.new_bucket(), make.body(way, make.large)
    for key in ("direct", "cold", "partly"):
        origin.control.put(bucket, key, body)
    origin.control.reset()
    assert direct.whole(bucket, "direct") == make.result(body)
    log = origin.control.log()
    row = ROWS[way]
    assert (wire.requests(log), wire.covered(log)) == (row.requests, row.signed)
    assert is_told(row.cold, _cost(own_site, bucket, through, "cold", body))
    part = {"Range": f"bytes=0-{len(body) * 2 // 5 - 1}"}
    assert own_site.raw("GET", f"/{bucket}/partly", signed=part).status == 206
    assert is_told(row.partly, _cost(own_site, bucket, through, "partly", body))
    assert f"{make.herd_costs:g}" == row.herd


def is_told(cell: str, cost: str) -> bool:
    """Whether a cell of the table says so: one figure, or two with "to" between where a client's threads decide."""
    least, _, most = cell.partition(" to ")
    return float(least) <= float(cost) <= float(most or least)


def _cost(site: Site, bucket: str, reader: Reader, key: str, body: bytes) -> str:
    """Body bytes that a read of ``key`` moves from the origin, in units of the object's."""
    before = site.moved(bucket)
    assert reader.whole(bucket, key) == reader.result(body)
    return f"{(site.moved(bucket) - before) / len(body):.2f}"


def blocks(page: str) -> dict[str, tuple[str, str]]:
    """Language and text of the block of code below each heading of the third level."""
    found = re.findall(r"^### ([^\n]+)\n\n(?:[^`#][^\n]*\n+)*```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return {name: (language, text) for name, language, text in found}


BLOCKS = blocks(PAGE)


def test_every_client_has_a_block_of_code() -> None:
    families = {way.split()[0] for way in READERS}
    assert {name.split()[0] for name in BLOCKS} == families
    assert len(re.findall("^### ", PAGE, re.MULTILINE)) == len(BLOCKS)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("own_site", ["revalidate"], indirect=True)
def test_the_code_runs_as_it_is_printed(own_site: Site, name: str, tmp_path: Path) -> None:
    """Apart from the address, the names of bucket and object, the keys, and where DuckDB's extension is."""
    ways = [make for way, make in READERS.items() if way.split()[0] == name.split()[0]]
    require_tool(*ways[0].needs)
    make = ways[0]
    bucket, body = own_site.new_bucket(), make.body(name, 10_000)
    own_site.direct.put_object(Bucket=bucket, Key="key", Body=body)
    language, text = BLOCKS[name]
    for printed, real in (
        ("127.0.0.1:3000", own_site.endpoint.removeprefix("http://")),
        ("bucket/key", f"{bucket}/key"),
        ('"bucket"', f'"{bucket}"'),
        ("'ACCESS_KEY'", f"'{own_site.access_key}'"),
        ("'SECRET_KEY'", f"'{own_site.secret_key}'"),
        ("LOAD httpfs", f"LOAD '{httpfs_extension()}'" if name == "DuckDB" else ""),
    ):
        text = text.replace(printed, real)
    if language == "python":
        (tmp_path / "code.py").write_text(f"{text}\n{_TELL}")
        command = [sys.executable, "code.py"]
    else:
        command = ["bash", "-euc", text]
    done = subprocess.run(
        command, cwd=tmp_path, env=credentials_only(own_site), capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert done.stdout == make.result(body)


_TELL = """
import json
import sys
if "table" in globals():
    body = json.dumps({name: table[name].to_pylist() for name in table.column_names}).encode()
sys.stdout.buffer.write(body)
"""
