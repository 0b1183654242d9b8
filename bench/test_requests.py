"""What every request costs before anything is decided about it."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.objects import Piece, request
from fastcache.model import Interval, ObjectId, OriginId
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.request_class import Classified, classify
from fastcache.protocol.requests import RequestHead, parse_request_head
from fastcache.protocol.targets import Addressing, S3Target, parse_target

ADDRESS = ("127.0.0.1", 3000)
ORIGIN = OriginId("http", "127.0.0.1", 9000)
ADDRESSING = Addressing(accepted_hosts=(), virtual_host_suffixes=(), endpoint_host=b"127.0.0.1")
KEY = "some/prefix/part-00000-of-00128.parquet"


@pytest.fixture(params=[True, False], ids=["whole", "range"])
def raw(request: pytest.FixtureRequest) -> bytes:
    """A head as boto3 sends it."""
    return head_of(Piece(KEY, Interval(0, 65536), request.param))


def head_of(piece: Piece) -> bytes:
    return request(ADDRESS, piece)


def identity(bucket: bytes, key: bytes, version: bytes | None) -> ObjectId:
    return ObjectId(ORIGIN, bucket, key, version)


def test_parse_request_head(benchmark: BenchmarkFixture, raw: bytes) -> None:
    assert benchmark(parse_request_head, raw).method == b"GET"


def test_parse_target(benchmark: BenchmarkFixture, raw: bytes) -> None:
    target: S3Target = benchmark(parse_target, parse_request_head(raw), ADDRESSING)
    assert target.key == KEY.encode()


def test_classify(benchmark: BenchmarkFixture, raw: bytes) -> None:
    head = parse_request_head(raw)
    target = parse_target(head, ADDRESSING)
    assert isinstance(benchmark(classify, head, target, identity), ReadRequest)


def test_all_of_it(benchmark: BenchmarkFixture, raw: bytes) -> None:
    def everything() -> Classified:
        head: RequestHead = parse_request_head(raw)
        return classify(head, parse_target(head, ADDRESSING), identity)

    assert isinstance(benchmark(everything), ReadRequest)
