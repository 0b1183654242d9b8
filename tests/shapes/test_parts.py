"""``?partNumber=``: stored as its byte range, answered as the origin does, never as the object (SEMANTICS 26)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.harness.clients import boto3_client
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request
from tests.harness.swift import SwiftServer
from tests.reads.conftest import STORED
from tests.shapes.conftest import MODES, NONE, PART, Shapes, told, x_cache

from fastcache.origin.process import OriginProcess

Start = Callable[..., Shapes]
SIZES = [PART, PART + 1000, 777]
HIT = {(): b"REVALIDATED", NONE: b"HIT"}


@MODES
def test_direct_cold_and_warm_are_one_answer(either: Start, mode: tuple[str, ...]) -> None:
    s = either(*mode)
    data = s.multipart("o", SIZES, ContentType="text/x", Metadata={"m": "1"})
    start = 0
    for number, size in enumerate(SIZES, 1):
        warm = s.three(f"o?partNumber={number}")
        assert warm.body == data[start : start + size]
        assert warm.get(b"x-amz-mp-parts-count") == b"3"
        assert warm.get(b"content-range") == b"bytes %d-%d/%d" % (start, start + size - 1, len(data))
        assert x_cache(warm) == HIT[mode]
        assert s.body_bytes("o") == 0
        start += size
    # What the parts brought serves everybody else, without a part's fields.
    whole = s.three("o")
    assert (whole.body, whole.get(b"x-amz-mp-parts-count"), s.body_bytes("o")) == (data, None, 0)
    ranged = s.get("o", f"bytes={PART - 5}-{PART + 4}")
    assert (ranged.body, ranged.get(b"x-amz-mp-parts-count")) == (data[PART - 5 : PART + 5], None)
    # A HEAD of a part describes the part, here as there; one of the object still describes the object.
    assert s.three("o?partNumber=1", method="HEAD").get(b"content-length") == b"%d" % PART
    assert s.three("o", method="HEAD").get(b"content-length") == b"%d" % len(data)
    # The origin's own refusals.
    assert s.three("o?partNumber=4").status == 416
    assert s.three("o?partNumber=1", signed={"Range": "bytes=0-1"}).status == 400
    assert s.three("o?partNumber=0").status == 400
    assert s.three("o?partNumber=2", signed={"If-Match": '"other"'}).status == 412
    etag = (whole.get(b"etag") or b"").decode()
    assert s.three("o?partNumber=2", signed={"If-Match": etag}).body == data[PART : 2 * PART + 1000]
    assert s.get("o?partNumber=2", signed={"If-None-Match": etag}).status == 304


@MODES
def test_a_part_whose_bytes_are_here_is_not_sent_again(shapes: Start, mode: tuple[str, ...]) -> None:
    """Only the answer tells where the part lies: the origin is cut as soon as it did."""
    s = shapes(*mode)
    data = s.multipart("o", [PART, 4 * PART, 777])
    s.get("o")
    s.origin.control.reset()
    s.origin.control.settings(bandwidth_connection=4 * PART)
    part = s.get("o?partNumber=2")
    s.origin.control.settings(bandwidth_connection=0)
    assert part.body == data[PART : 5 * PART]
    assert s.body_bytes("o") < PART
    again = s.get("o?partNumber=2")
    assert (told(again), x_cache(again)) == (told(part), HIT[mode])


@MODES
def test_an_object_not_uploaded_in_parts_answers_as_the_origin_does(either: Start, mode: tuple[str, ...]) -> None:
    s = either(*mode)
    s.synthetic("o", 5000)
    s.synthetic("e", 0)
    for number in (1, 2):
        s.three(f"o?partNumber={number}")
        s.three(f"e?partNumber={number}")
    assert s.body_bytes("e") == s.body_bytes("o") == 0
    assert s.three("o").status == 200
    assert s.three("e").status == 200


@MODES
def test_a_part_with_checksum_mode_makes_no_checksum_error_later(shapes: Start, mode: tuple[str, ...]) -> None:
    """PITFALLS: S3 answers a part with the part's checksum; taken for the object's, SDKs raised errors."""
    s = shapes(*mode)
    data = s.multipart("o", [PART, 1000])
    part = s.get("o?partNumber=2", signed={"x-amz-checksum-mode": "ENABLED"})
    assert part.get(b"x-amz-checksum-crc32") is not None
    s3 = boto3_client(s.proxy.endpoint, s.origin.access_key, s.origin.secret_key)
    for _ in range(2):
        assert s3.get_object(Bucket=s.bucket, Key="o", ChecksumMode="ENABLED")["Body"].read() == data
        assert (
            s3.get_object(Bucket=s.bucket, Key="o", PartNumber=2, ChecksumMode="ENABLED")["Body"].read() == data[PART:]
        )


def test_parts_read_side_by_side_are_all_known_afterwards(shapes: Start) -> None:
    """Their answers come in any order."""
    s = shapes(*NONE)
    data = s.multipart("o", [PART] * 6 + [99])
    with ThreadPoolExecutor(7) as pool:
        parts = list(pool.map(lambda number: s.get(f"o?partNumber={number}").body, range(1, 8)))
    assert b"".join(parts) == data
    s.origin.control.reset()
    assert b"".join(s.get(f"o?partNumber={number}").body for number in range(1, 8)) == data
    assert s.origin.control.requests() == 0


def test_where_the_parts_lie_survives_a_restart(
    aws: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    aws.control.bucket("bkt")
    s = Shapes(aws, start_fastcache(aws.endpoint, *STORED), "bkt")
    data = s.multipart("o", [PART, 1000])
    for number in (2, 1):
        s.get(f"o?partNumber={number}")
    s.proxy.stop()
    again = Shapes(aws, start_fastcache(aws.endpoint, cache_directory=s.proxy.cache_directory), "bkt")
    aws.control.reset()
    assert again.get("o?partNumber=2").body == data[PART:]
    assert again.get("o?partNumber=1").body == data[:PART]
    assert again.body_bytes("o") == 0


@MODES
def test_parts_of_another_upload_are_not_those_of_the_old_one(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode)
    s.multipart("o", [PART, 1000])
    s.get("o?partNumber=2")
    s.multipart("o", [PART + 1, PART, 50])  # behind the proxy's back
    head = {"Cache-Control": "no-cache"}
    assert told(s.get("o?partNumber=2", signed=head)) == told(s.direct("o?partNumber=2"))
    assert told(s.get("o?partNumber=2")) == told(s.direct("o?partNumber=2"))


@MODES
def test_swift_answers_parts_through_the_cache_as_without_it(
    swift: SwiftServer, swift_client: Any, swift_bucket: str, start_fastcache: Callable[..., FastcacheProcess],
    mode: tuple[str, ...],
) -> None:  # fmt: skip
    """To a part beside an If-None-Match that matches, Swift says 206 with ``bytes 0--1/0`` and no byte."""
    data = bytes(range(256)) * 40
    swift_client.put_object(Bucket=swift_bucket, Key="o", Body=data)
    proxy = start_fastcache(swift.endpoint, *mode)

    def get(query: str) -> RawResponse:
        url = f"{proxy.endpoint}/{swift_bucket}/o{query}"
        ask = (("Cache-Control", "no-cache"),)
        raw = signed_request("GET", url, swift.user.access_key, swift.user.secret_key, unsigned=ask)
        return exchange(proxy.endpoint, raw)

    for query in ("?partNumber=1", "?partNumber=1", "", "?partNumber=1", "?partNumber=1"):
        part = get(query)
        assert part.body == data
        assert part.get(b"content-range") == (b"bytes 0-10239/10240" if query else None)
    assert x_cache(part) == b"REVALIDATED", "the origin was asked without our validator, and cut"


@MODES
def test_odd_shapes_are_one_answer_direct_cold_and_warm(either: Start, mode: tuple[str, ...]) -> None:
    """SEMANTICS 26, 27: several ranges, invalid ones, and HEAD with a range."""
    s = either(*mode)
    s.synthetic("o", 5000)
    for value in ("bytes=0-0,5-6", "bytes=5-4", "items=0-5", "bytes=9999-", "bytes=-0"):
        s.three("o", signed={"Range": value})
    for value in ("bytes=0-9", "bytes=-5", "bytes=0-1,3-4", "bytes=9999-"):
        s.three("o", method="HEAD", signed={"Range": value})
