"""What clients do with large objects and with URLs: parallel parts, files, several ranges at once, presigned links."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig
from tests.clients.sdk_readers import S3fsGet
from tests.clients.sites import Site
from tests.clients.table_readers import DuckDB, columns
from tests.clients.test_reads import some_bytes
from tests.harness.clients import minio_client, obstore_store

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess

MIB = 1024 * 1024
SIZE = 20 * MIB + 77


@pytest.fixture
def large(site: Site) -> tuple[str, bytes]:
    """The bucket of an object ``large``, and its content."""
    bucket, body = site.new_bucket(), some_bytes("large", SIZE)
    site.direct.put_object(Bucket=bucket, Key="large", Body=body)
    return bucket, body


def test_boto3_download_file(site: Site, large: tuple[str, bytes], tmp_path: Path) -> None:
    """HEAD, then parts of 8 MiB on ten threads with a signed If-Match."""
    bucket, body = large
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=10)

    def download() -> bytes:
        site.through.download_file(bucket, "large", str(tmp_path / "large"), Config=config)
        return (tmp_path / "large").read_bytes()

    before = site.moved(bucket)
    assert download() == body
    cold = site.moved(bucket)
    assert cold - before == SIZE
    assert download() == body
    assert site.moved(bucket) == cold, "a warm read moved body bytes"
    changed = body[::-1]
    site.through.put_object(Bucket=bucket, Key="large", Body=changed)
    assert download() == changed


def test_minio_fget_object(site: Site, large: tuple[str, bytes], tmp_path: Path) -> None:
    """stat, then a ranged GET into a part file."""
    bucket, body = large
    client = minio_client(site.endpoint, site.access_key, site.secret_key)
    file = tmp_path / "large"
    client.fget_object(bucket, "large", str(file))
    assert file.read_bytes() == body
    before = site.moved(bucket)
    file.unlink()
    client.fget_object(bucket, "large", str(file))
    assert file.read_bytes() == body
    assert site.moved(bucket) == before, "a warm read moved body bytes"


def test_obstore_get_ranges(site: Site, large: tuple[str, bytes]) -> None:
    """Ranges close to each other are merged into one request, the others go out side by side."""
    bucket, body = large
    store = obstore_store(site.endpoint, bucket, site.access_key, site.secret_key)
    starts = [0, 5000, MIB, 6 * MIB, 15 * MIB, SIZE - 4096]
    ends = [start + 4096 for start in starts]
    for attempt in range(2):
        before = site.moved(bucket)
        got = store.get_ranges("large", starts=starts, ends=ends)
        assert [bytes(part) for part in got] == [body[start:end] for start, end in zip(starts, ends, strict=True)]
        if attempt:
            assert site.moved(bucket) == before, "a warm read moved body bytes"
        else:
            assert site.moved(bucket) - before >= 6 * 4096, "the first reads did not come from the origin"


def test_obstore_streams(site: Site, large: tuple[str, bytes]) -> None:
    bucket, body = large
    store = obstore_store(site.endpoint, bucket, site.access_key, site.secret_key)
    for _ in range(2):
        assert b"".join(bytes(chunk) for chunk in store.get("large").stream(min_chunk_size=MIB)) == body


def test_s3fs_gives_up_a_large_download_and_asks_for_ranges(own_site: Site, origin: OriginProcess) -> None:
    """What came before it gave up stays, and whatever it does the second time is answered from the cache."""
    size, bucket = 56 * MIB, own_site.new_bucket()
    for key in ("straight", "cached"):
        origin.control.synthetic(bucket, key, size)
    origin.control.reset()
    assert S3fsGet(own_site, direct=True).whole(bucket, "straight") == pattern(b"straight", 1, 0, size)
    given_up, *ranges = origin.control.log()
    assert (given_up["range"], given_up["complete"]) == ("", False)
    assert [entry["range"] for entry in ranges] == [f"bytes=0-{50 * MIB - 1}", f"bytes={50 * MIB}-{size - 1}"]
    expected, reader = pattern(b"cached", 1, 0, size), S3fsGet(own_site)
    assert reader.whole(bucket, "cached") == expected
    own_site.proxy.wait_until_stored()  # what was given up goes on for a while
    before = own_site.moved(bucket)
    assert reader.whole(bucket, "cached") == expected
    assert own_site.moved(bucket) == before, "a warm read moved body bytes"


@pytest.mark.parametrize("own_site", ["revalidate"], indirect=True)
def test_duckdb_asks_only_for_the_head_of_what_its_database_has_read(own_site: Site, origin: OriginProcess) -> None:
    bucket, body = own_site.new_bucket(), DuckDB.body("remembered", MIB)
    origin.control.put(bucket, "t", body)
    with DuckDB(own_site, direct=True).database() as database:
        for methods in ({"HEAD", "GET"}, {"HEAD"}):
            origin.control.reset()
            rows = database.execute(f"FROM read_parquet('s3://{bucket}/t')").to_arrow_table()
            assert columns(rows) == DuckDB.result(body)
            assert {entry["method"] for entry in origin.control.log()} == methods


def test_presigned_get_and_head(site: Site, large: tuple[str, bytes]) -> None:
    """Nothing but Host is signed, so that any range may be asked for with one URL."""
    bucket, body = large
    get = site.through.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "large"})
    head = site.through.generate_presigned_url("head_object", {"Bucket": bucket, "Key": "large"})

    def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, str]:
        request = urllib.request.Request(url, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read(), response.headers["X-Cache"]

    assert fetch(get)[:2] == (200, body)
    before = site.moved(bucket)
    warm = "HIT" if site.mode == "none" else "REVALIDATED"
    assert fetch(get) == (200, body, warm)
    assert fetch(get, Range="bytes=7-99") == (206, body[7:100], warm)
    assert fetch(head, "HEAD")[:2] == (200, b"")
    assert site.moved(bucket) == before, "a warm read moved body bytes"
    if site.mode == "revalidate":
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetch(head)
        assert caught.value.code == 403, "a signature for HEAD is none for GET"


def test_a_presigned_url_reads_what_another_client_cached(site: Site, large: tuple[str, bytes]) -> None:
    bucket, body = large
    assert site.through.get_object(Bucket=bucket, Key="large")["Body"].read() == body
    before = site.moved(bucket)
    url = site.presigned("GET", f"/{bucket}/large")
    with urllib.request.urlopen(url, timeout=60) as response:
        assert response.read() == body
    assert site.moved(bucket) == before, "a warm read moved body bytes"
