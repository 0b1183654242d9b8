"""What any client uploads, the next reader has from here: equal to the origin's in bytes and headers (SEMANTICS 32)."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients.comparison import differences, documented
from tests.clients.conftest import COUNTED
from tests.clients.program_writers import PROGRAM_WRITERS
from tests.clients.sites import Site
from tests.clients.test_reads import some_bytes
from tests.clients.writes import KIB, MIB, WRITERS, Target

EVERY_WRITER = WRITERS | PROGRAM_WRITERS


def target_at(site: Site, directory: Path) -> Target:
    bucket = site.new_bucket()
    site.direct.put_object(Bucket=bucket, Key="other", Body=b"other" * 1000)
    return Target(site, bucket, "dir/key", "other", directory)


def assert_as_direct(site: Site, target: Target, what: str) -> bytes:
    """HEAD, whole and a range are what the origin itself answers; the object."""
    at, body = f"/{target.bucket}/{target.key}", b""
    for method, fields in (("HEAD", {}), ("GET", {}), ("GET", {"Range": "bytes=3-700"})):
        direct = site.raw(method, at, direct=True, signed=fields)
        proxied = site.raw(method, at, signed=fields)
        found = [one for one in differences(direct, proxied) if not any(row.explains(one) for row in documented())]
        assert found == [], (what, method, fields)
        body = direct.body if method == "GET" and not fields else body
    return body


@pytest.mark.parametrize(
    "counted_site",  # each takes a minute: one of them in the short form
    [pytest.param(site, marks=[] if site == ("own", "revalidate") else pytest.mark.slow) for site in COUNTED],
    ids=["-".join(site) for site in COUNTED],
    indirect=True,
)
@pytest.mark.parametrize("name", EVERY_WRITER)
def test_the_first_read_moves_no_body(counted_site: Site, tmp_path: Path, name: str) -> None:
    site = counted_site
    target = target_at(site, tmp_path)
    in_parts = any(word in name for word in ("parts", "upload", "stream", "awscrt"))
    for size in (KIB, 11 * MIB + 7) if in_parts else (KIB, 2 * MIB):
        body = some_bytes(f"{name}{size}", size)
        kept = site.proxy.metric("fastcache_uploads_kept_total", outcome="stored")
        EVERY_WRITER[name](target, body)
        site.proxy.wait_until_stored()
        assert site.proxy.metric("fastcache_uploads_kept_total", outcome="stored") == kept + 1, (name, size)
        target.boto3.head_object(**target.at)
        before = site.moved(target.bucket)
        got = target.boto3.get_object(**target.at)["Body"].read()
        assert name.startswith("polars") or got == body
        assert target.boto3.get_object(**target.at, Range="bytes=1-600")["Body"].read() == got[1:601]
        assert site.moved(target.bucket) == before, (name, size)
        assert assert_as_direct(site, target, name) == got
