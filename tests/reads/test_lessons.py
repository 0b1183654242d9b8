"""Mistakes that other caches made, and no other test of ours would notice (docs/pitfalls.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.harness.clients import boto3_client
from tests.harness.origin import running_origin
from tests.harness.proxy import FastcacheProcess
from tests.reads.conftest import Reader, Start, content

MIB = 1024 * 1024
NONE = ("--authorization", "none", "--ttl", "1h")
MODES = pytest.mark.parametrize("mode", [(), NONE], ids=["revalidate", "none"])
FRESH = {"Cache-Control": "no-cache"}


@MODES
@pytest.mark.parametrize("range_", ["bytes=100-", "bytes=-300", "bytes=100-199"])
def test_a_range_that_must_be_fresh_is_placed_like_any_other(reader: Start, mode: tuple[str, ...], range_: str) -> None:
    r = reader(*mode)
    r.origin.control.synthetic(r.bucket, "o", 1000)
    start, end = {"bytes=100-": (100, 1000), "bytes=-300": (700, 1000), "bytes=100-199": (100, 200)}[range_]
    for _ in range(2):
        part = r.get("o", range_, signed=FRESH)
        assert (part.status, part.body) == (206, content("o", start, end))
        assert part.get(b"content-range") == b"bytes %d-%d/1000" % (start, end - 1)
    assert r.get("o").body == content("o", 0, 1000)
    assert r.get("o", "bytes=0-9").body == content("o", 0, 10)


def test_an_old_version_read_with_no_cache_does_not_become_the_current_one(reader: Start) -> None:
    r = reader(*NONE)
    r.origin.control.bucket(r.bucket, versioning="Enabled")
    s3 = boto3_client(r.origin.endpoint, r.origin.access_key, r.origin.secret_key)
    old = s3.put_object(Bucket=r.bucket, Key="o", Body=b"old")["VersionId"]
    s3.put_object(Bucket=r.bucket, Key="o", Body=b"new")
    for _ in range(2):
        assert r.get(f"o?versionId={old}", signed=FRESH).body == b"old"
        assert r.get("o").body == b"new"


@pytest.mark.parametrize("becomes", ["gone", "another"])
def test_what_a_head_says_of_an_object_holds_for_its_bytes_too(reader: Start, becomes: str) -> None:
    """A HEAD that said 404, or another ETag, left the entry of GET in place."""
    r = reader(*NONE, "--head-ttl", "0s")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    assert r.get("o").body == content("o", 0, 1000)
    if becomes == "gone":
        boto3_client(r.origin.endpoint, r.origin.access_key, r.origin.secret_key).delete_object(
            Bucket=r.bucket, Key="o"
        )
        assert r.get("o", method="HEAD").status == 404
        assert r.get("o").status == 404
    else:
        r.origin.control.flip(r.bucket, "o")
        assert r.get("o", method="HEAD").status == 200
        assert r.get("o").body == content("o", 0, 1000, 2)


@MODES
def test_the_412_of_a_condition_of_ours_is_nobodys_answer(reader: Start, mode: tuple[str, ...]) -> None:
    """A whole read asks for the gap with our If-Match; the object was overwritten behind our back."""
    r = reader(*mode)
    r.origin.control.synthetic(r.bucket, "o", 2 * MIB)
    r.get("o", f"bytes=0-{MIB - 1}")
    r.origin.control.flip(r.bucket, "o")
    for _ in range(2):
        whole = r.get("o")
        assert (whole.status, whole.body) == (200, content("o", 0, 2 * MIB, 2))


@MODES
def test_a_gap_answered_with_the_whole_object_is_not_read_to_its_end(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    size = 64 * MIB
    r.origin.control.synthetic(r.bucket, "o", size)
    r.get("o", f"bytes=0-{size - MIB - 1}")
    r.origin.control.reset()
    r.origin.control.settings(bandwidth_connection=200 * MIB)
    r.origin.control.fault("ignore-range", method="GET", key="o", count=1)
    whole = r.get("o")
    r.origin.control.settings(bandwidth_connection=0)
    assert (whole.status, whole.body) == (200, content("o", 0, size))
    assert r.body_bytes("o") < size + 24 * MIB, "the answer that did not fit was read as well"


@MODES
def test_every_later_part_carries_if_match_and_hits_all_the_same(reader: Start, mode: tuple[str, ...]) -> None:
    """The AWS CRT client does so; a cache that passes all conditions on never caches what it reads."""
    r = reader(*mode)
    size = 4 * MIB
    r.origin.control.synthetic(r.bucket, "o", size)

    def download() -> bytes:
        first = r.get("o", f"bytes=0-{MIB - 1}")
        pinned = {"If-Match": (first.get(b"etag") or b"").decode()}
        rest = [r.get("o", f"bytes={at}-{at + MIB - 1}", signed=pinned) for at in range(MIB, size, MIB)]
        return b"".join(answer.body for answer in (first, *rest))

    assert download() == content("o", 0, size)
    r.origin.control.reset()
    assert download() == content("o", 0, size)
    assert r.body_bytes("o") == 0


def test_two_origins_share_no_entry_of_one_cache_directory(
    alone: Start, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    """Two ports of one host, the same bucket and key, even the same ETag and size."""
    r = alone(*NONE)
    same: dict[str, Any] = {"etag": '"0123456789abcdef0123456789abcdef"', "modified": 1_700_000_000.0}
    r.origin.control.put(r.bucket, "o", b"here ", **same)
    assert r.get("o").body == b"here "
    r.proxy.stop()
    with running_origin() as elsewhere:
        elsewhere.control.bucket(r.bucket)
        elsewhere.control.put(r.bucket, "o", b"there", **same)
        other = Reader(elsewhere, start_fastcache(elsewhere.endpoint, *NONE, cache_directory=r.proxy.cache_directory))
        for _ in range(2):
            assert other.get("o").body == b"there"
