"""The head of a hit: what is replayed of the stored one, and how it is written."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from fastcache.model import Generation, HeadRecord, Interval, ObjectId, OriginId, Result
from fastcache.policy.cache_status import cache_status_headers
from fastcache.policy.local_answer import answer_locally
from fastcache.policy.read_request import Conditions, ReadRequest
from fastcache.policy.stored_headers import replayed_headers
from fastcache.protocol.responses import render_response_head

RECORD = HeadRecord(
    Generation(b'"0123456789abcdef0123456789abcdef"', 65536),
    (
        (b"Last-Modified", b"Wed, 12 Mar 2025 10:11:12 GMT"),
        (b"ETag", b'"0123456789abcdef0123456789abcdef"'),
        (b"x-amz-server-side-encryption", b"AES256"),
        (b"Accept-Ranges", b"bytes"),
        (b"Content-Type", b"binary/octet-stream"),
        (b"Server", b"AmazonS3"),
        (b"x-amz-meta-origin", b"bench"),
    ),
)
VALIDATION = (
    (b"x-amz-id-2", b"V8cSNTcFxqJnXQvT9t1j0yHqzG0Q0lG1"),
    (b"x-amz-request-id", b"7A1B2C3D4E5F6071"),
    (b"Date", b"Wed, 12 Mar 2025 10:11:13 GMT"),
    (b"ETag", b'"0123456789abcdef0123456789abcdef"'),
)
READ = ReadRequest(
    method=b"GET",
    object_id=ObjectId(OriginId("http", "127.0.0.1", 9000), b"bench", b"key"),
    range=None,
    conditions=Conditions(None, None, None, None, None),
    checksum_mode=True,
    must_ask=False,
    range_field_sent=False,
    may_ask_for_part=False,
)


def test_answer_locally(benchmark: BenchmarkFixture) -> None:
    assert benchmark(answer_locally, READ, RECORD).interval == Interval(0, 65536)


def test_replayed_headers(benchmark: BenchmarkFixture) -> None:
    headers = benchmark(replayed_headers, RECORD, age=1.0, whole_object=True, checksum_mode=True)
    assert headers == RECORD.headers


def test_replayed_headers_after_a_validation(benchmark: BenchmarkFixture) -> None:
    headers = benchmark(replayed_headers, RECORD, age=0.0, whole_object=True, checksum_mode=True, validation=VALIDATION)
    assert VALIDATION[1] in headers


def test_cache_status(benchmark: BenchmarkFixture) -> None:
    assert benchmark(cache_status_headers, Result.HIT, ttl=60)[1] == (b"X-Cache", b"HIT")


def test_render_response_head(benchmark: BenchmarkFixture) -> None:
    fields = (*RECORD.headers, (b"Content-Length", b"65536"), (b"Age", b"1"), (b"X-Cache", b"HIT"))
    assert benchmark(render_response_head, 200, b"OK", fields).startswith(b"HTTP/1.1 200 OK\r\n")
