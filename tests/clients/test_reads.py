"""Real clients read the same bytes through the proxy as straight from the origin: cold, warm and after overwrites."""

from __future__ import annotations

import random

import pytest
from tests.clients.reader import RangeReader
from tests.clients.readers import CLIENTS
from tests.clients.sdk_readers import Pyarrow
from tests.clients.sites import Site

KIB, MIB = 1024, 1024 * 1024
SIZES = (0, KIB, MIB, 20 * MIB)


def some_bytes(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def ranges_of(size: int) -> list[tuple[int, int]]:
    """The beginning, a part across two thirds, the very end."""
    return [(0, size // 3), (size // 3 - 7, 2 * size // 3 + 11), (size - 5, size)]


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS)
def test_every_size_cold_and_warm_whole_and_in_ranges(site: Site, make: type[RangeReader]) -> None:
    direct, through = make(site, direct=True), make(site)
    bucket = site.new_bucket()
    swift_again = (site.kind, site.mode) == ("swift", "none")  # and Swift is slow
    many_requests = site.kind == "swift" and make is Pyarrow  # one for each 256 KiB
    for size in SIZES[:-1] if swift_again or many_requests else SIZES:
        body = some_bytes(f"{bucket}{size}", size)
        for key in (f"whole/{size}", f"ranges/{size}"):
            site.direct.put_object(Bucket=bucket, Key=key, Body=body)
        key = f"whole/{size}"
        assert swift_again or direct.whole(bucket, key) == body
        before = site.moved(bucket)
        assert through.whole(bucket, key) == body
        cold = site.moved(bucket)
        assert cold - before == size, "the first read did not come from the origin: nothing is proven"
        assert through.whole(bucket, key) == body
        for start, end in ranges_of(size) if size else ():
            assert through.part(bucket, key, start, end) == body[start:end]
        assert site.moved(bucket) == cold, "a warm read moved body bytes"
        key = f"ranges/{size}"
        for start, end in ranges_of(size) if size else ():
            assert swift_again or direct.part(bucket, key, start, end) == body[start:end]
            assert through.part(bucket, key, start, end) == body[start:end]
        cold = site.moved(bucket)
        for start, end in ranges_of(size) if size else ():
            assert through.part(bucket, key, start, end) == body[start:end]
        assert site.moved(bucket) == cold, "a warm read moved body bytes"
        assert through.whole(bucket, key) == body


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS)
def test_overwrites_behind_the_proxy_and_through_it(site: Site, make: type[RangeReader]) -> None:
    """Behind its back: `revalidate` gives the new object at once, `none` the old one, whole, until the TTL ends.
    Through it: the new one at once in both."""
    through = make(site)
    bucket = site.new_bucket()
    for old_size, new_size in ((KIB, KIB), (MIB, MIB - 100), (MIB, 0), (0, KIB)):
        key = f"k/{old_size}/{new_size}"
        old, behind, written = (
            some_bytes(f"{key}{name}", size)
            for name, size in (("old", old_size), ("behind", new_size), ("written", new_size + 1))
        )
        site.direct.put_object(Bucket=bucket, Key=key, Body=old)
        assert through.whole(bucket, key) == old
        assert through.whole(bucket, key) == old
        site.direct.put_object(Bucket=bucket, Key=key, Body=behind)
        expected = behind if site.mode == "revalidate" else old
        for _ in range(2):
            assert through.whole(bucket, key) == expected
            if expected:
                assert through.part(bucket, key, 1, len(expected)) == expected[1:]
        site.through.put_object(Bucket=bucket, Key=key, Body=written)
        assert through.part(bucket, key, 0, len(written)) == written
        assert through.whole(bucket, key) == written
        moved = site.moved(bucket)
        assert through.whole(bucket, key) == written
        assert through.part(bucket, key, 0, len(written)) == written
        assert site.moved(bucket) == moved, "a warm read moved body bytes"
