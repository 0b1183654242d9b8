"""Every client reads through the proxy what it reads from the origin, and the second time no byte of it moves."""

from __future__ import annotations

import pytest
from tests.clients.conftest import COUNTED
from tests.clients.reader import Reader
from tests.clients.readers import OTHERS, READERS
from tests.clients.sdk_readers import Awscrt
from tests.clients.sites import Site
from tests.clients.table_readers import TABLE_READERS

SMALL = 1024
TABLES: dict[str, type[Reader]] = {**TABLE_READERS}
BYTES = {name: make for name, make in READERS.items() if name not in TABLES and not make.starts_slowly}


def _is_short(kind: str, mode: str, make: type[Reader]) -> bool:
    """Every client once, those that start quickly also where signatures are verified; a mode that asks nobody meets
    what they all send in the same way, so one of them will do."""
    if (kind, mode) == ("own", "revalidate"):
        return True
    return not make.starts_slowly and (mode == "revalidate" or make is Awscrt)


CASES = [
    pytest.param(
        (kind, mode),
        make,
        id=f"{kind}-{mode}-{name}",
        marks=[] if _is_short(kind, mode, make) else [pytest.mark.slow],
    )
    for kind, mode in COUNTED
    for name, make in OTHERS.items()
]
"""What test_reads.py does not sweep over."""


def assert_warm(site: Site, bucket: str, reader: Reader, key: str, expected: bytes) -> None:
    before = site.moved(bucket)
    assert reader.whole(bucket, key) == expected
    assert site.moved(bucket) == before, "a warm read moved body bytes"


@pytest.mark.parametrize(("counted_site", "make"), CASES, indirect=["counted_site"])
def test_cold_warm_and_after_overwrites(counted_site: Site, make: type[Reader]) -> None:
    """After an overwrite behind the proxy's back `revalidate` gives the new object and `none` the old one, whole;
    after one through it both give the new one."""
    site = counted_site
    direct, through = make(site, direct=True), make(site)
    bucket = site.new_bucket()
    small_too = (site.kind, site.mode) == ("own", "revalidate") and not make.starts_slowly
    for size in (SMALL, make.large) if small_too else (make.large,):
        key = f"k/{size}"
        old, behind, written = (make.body(name, size + added) for added, name in enumerate(("old", "behind", "new")))
        site.direct.put_object(Bucket=bucket, Key=key, Body=old)
        assert direct.whole(bucket, key) == make.result(old)
        before = site.moved(bucket)
        assert through.whole(bucket, key) == make.result(old)
        assert site.moved(bucket) - before >= len(old) // 2, "the first read did not come from the origin"
        assert_warm(site, bucket, through, key, make.result(old))
        site.direct.put_object(Bucket=bucket, Key=key, Body=behind)
        expected = make.result(behind if site.mode == "revalidate" else old)
        assert through.whole(bucket, key) == expected
        assert_warm(site, bucket, through, key, expected)
        site.through.put_object(Bucket=bucket, Key=key, Body=written)
        assert through.whole(bucket, key) == make.result(written)
        assert_warm(site, bucket, through, key, make.result(written))


@pytest.mark.parametrize("own_site", ["revalidate"], indirect=True)
@pytest.mark.parametrize("readers", [BYTES, TABLES], ids=["bytes", "tables"])
def test_what_one_client_read_in_pieces_others_read_without_moving_a_byte(
    own_site: Site, readers: dict[str, type[Reader]]
) -> None:
    bucket, make = own_site.new_bucket(), next(iter(readers.values()))
    body = make.body("one for all", make.large)
    own_site.direct.put_object(Bucket=bucket, Key="k", Body=body)
    assert Awscrt(own_site).whole(bucket, "k") == body
    moved = own_site.moved(bucket)
    for name, other in readers.items():
        assert other(own_site).whole(bucket, "k") == other.result(body), name
        assert own_site.moved(bucket) == moved, f"{name} moved body bytes"
