"""Regions are learnt per bucket; where a request goes is never an answer's choice."""

from __future__ import annotations

import asyncio

import pytest

from fastcache.model import OriginId
from fastcache.protocol.responses import ResponseHead, parse_response_head
from fastcache.upstream import regions
from fastcache.upstream.endpoints import Endpoints
from fastcache.upstream.pool import Pool
from fastcache.upstream.regions import Regions
from fastcache.upstream.settings import UpstreamSettings

AWS = OriginId("https", "s3.amazonaws.com", 443)
VIRGINIA = OriginId("https", "s3.us-east-1.amazonaws.com", 443)
OTHER = OriginId("http", "s3.example.com", 9000)


def redirect(region: str, status: int = 301) -> ResponseHead:
    raw = f"HTTP/1.1 {status} X\r\nx-amz-bucket-region: {region}\r\nContent-Length: 0\r\n\r\n"
    return parse_response_head(raw.encode(), b"GET")


def malformed(region: str) -> tuple[ResponseHead, bytes]:
    body = f"<Error><Code>AuthorizationHeaderMalformed</Code><Region>{region}</Region></Error>".encode()
    head = parse_response_head(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body), b"GET")
    return head, body


@pytest.mark.parametrize(
    ("origin", "configured", "region", "host"),
    [
        (AWS, "", b"us-east-1", "s3.amazonaws.com"),
        (AWS, "us-east-1", b"us-east-1", "s3.amazonaws.com"),
        (AWS, "eu-west-1", b"eu-west-1", "s3.eu-west-1.amazonaws.com"),
        (OriginId("https", "s3.eu-west-1.amazonaws.com", 443), "", b"eu-west-1", "s3.eu-west-1.amazonaws.com"),
        (OTHER, "", b"us-east-1", "s3.example.com"),
        (OTHER, "garage", b"garage", "s3.example.com"),
    ],
)
def test_before_anything_was_learnt_the_setting_counts_then_the_endpoints_name(
    origin: OriginId, configured: str, region: bytes, host: str
) -> None:
    known = Regions(origin, configured)
    for bucket in (None, b"bucket"):
        assert known.region_of(bucket) == region
        assert known.endpoint_of(bucket) == OriginId(origin.scheme, host, origin.port)


def test_a_bucket_elsewhere_is_found_out_once_and_alone() -> None:
    known = Regions(VIRGINIA)
    assert known.learn(b"bucket", redirect("eu-west-1"), b"")
    assert known.region_of(b"bucket") == b"eu-west-1"
    assert known.endpoint_of(b"bucket") == OriginId("https", "s3.eu-west-1.amazonaws.com", 443)
    assert known.region_of(b"other") == b"us-east-1"
    assert known.endpoint_of(b"other") == VIRGINIA
    assert known.endpoint_of(None) == VIRGINIA
    assert not known.learn(b"bucket", redirect("eu-west-1"), b""), "the same once more is no reason to try once more"


def test_a_bucket_that_was_made_anew_elsewhere_is_followed_and_can_come_back() -> None:
    known = Regions(VIRGINIA)
    for region, host in (("eu-west-1", "s3.eu-west-1"), ("ap-south-1", "s3.ap-south-1"), ("us-east-1", "s3.us-east-1")):
        assert known.learn(b"bucket", redirect(region, 307), b"")
        assert known.region_of(b"bucket") == region.encode()
        assert known.endpoint_of(b"bucket").host == f"{host}.amazonaws.com"


@pytest.mark.parametrize(
    "told", ["evil", "evil.example", "cn-north-1", "us-gov-west-1", "EU-WEST-1", "eu-west-1/x", "", "@x"]
)
def test_no_answer_of_aws_leads_out_of_its_partition(told: str) -> None:
    known = Regions(VIRGINIA)
    assert not known.learn(b"bucket", redirect(told), b"")
    assert not known.learn(b"bucket", *malformed(told))
    assert known.region_of(b"bucket") == b"us-east-1"
    assert known.endpoint_of(b"bucket") == VIRGINIA


@pytest.mark.parametrize(
    "host",
    ["s3.example.com", "127.0.0.1", "bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com", "s3-accelerate.amazonaws.com"],
)
def test_in_front_of_anything_else_only_the_signature_changes(host: str) -> None:
    origin = OriginId("https", host, 443)
    known = Regions(origin)
    assert known.learn(b"bucket", *malformed("eu-west-1"))
    assert known.region_of(b"bucket") == b"eu-west-1"
    assert known.endpoint_of(b"bucket") == origin
    assert known.learn(b"garage", *malformed("garage"))
    assert (known.region_of(b"garage"), known.endpoint_of(b"garage")) == (b"garage", origin)


def test_the_least_used_bucket_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "MOST_BUCKETS", 3)
    known = Regions(VIRGINIA)
    for name in (b"a", b"b", b"c"):
        known.learn(name, redirect("eu-west-1"), b"")
    known.region_of(b"a")
    known.learn(b"d", redirect("eu-west-1"), b"")
    assert {name: known.region_of(name) for name in (b"a", b"b", b"c", b"d")} == {
        b"a": b"eu-west-1",
        b"b": b"us-east-1",
        b"c": b"eu-west-1",
        b"d": b"eu-west-1",
    }


def test_an_origin_that_makes_regions_up_is_believed_a_bounded_number_of_times() -> None:
    known = Regions(VIRGINIA)
    learnt = [known.learn(b"bucket", redirect(f"eu-made-{number}"), b"") for number in range(100)]
    assert sum(learnt) == regions.MOST_REGIONS
    assert known.learn(b"other", redirect("eu-made-5"), b"")


async def _hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    port = writer.get_extra_info("sockname")[1]
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(str(port)), port))


async def test_each_endpoint_has_a_pool_of_its_own_and_all_are_closed() -> None:
    servers = [await asyncio.start_server(_hello, "127.0.0.1", 0) for _ in range(2)]
    origins = [OriginId("http", "127.0.0.1", server.sockets[0].getsockname()[1]) for server in servers]
    made: list[OriginId] = []

    def make(origin: OriginId) -> Pool:
        made.append(origin)
        return Pool(origin, UpstreamSettings())

    first = Pool(origins[0], UpstreamSettings())
    endpoints = Endpoints(first, make)
    try:
        assert endpoints.pool(origins[0]) is first
        assert endpoints.pool(origins[1]) is endpoints.pool(origins[1])
        assert made == [origins[1]]
        for origin in origins:
            response = await endpoints.pool(origin).request(
                b"GET", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", retry_safe=True
            )
            assert bytes(await response.read()) == str(origin.port).encode()
            assert not await response.read()
        assert endpoints.open_connections == 2
    finally:
        await endpoints.close()
        for server in servers:
            server.close()
    assert endpoints.open_connections == 0
