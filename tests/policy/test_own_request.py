"""What goes to the origin in our name says one thing, and what was permitted (SEMANTICS 8)."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.errors import RequestError
from fastcache.model import OriginId
from fastcache.policy.own_request import (
    BucketPlace,
    OriginNames,
    host_of,
    in_one_reading,
    is_preflight,
    own_fields,
    own_target,
)
from fastcache.protocol.requests import RequestHead, parse_request_head
from fastcache.protocol.targets import Addressing, S3Target, parse_target

PATHS = OriginNames(b"origin.test:9000", BucketPlace.PATH, is_aws=False)
ADDRESSING = Addressing(virtual_host_suffixes=(b"s3.test", b"s3-accesspoint.test"), endpoint_host=b"origin.test")


def request(
    target: str, *fields: tuple[str, str], method: str = "GET", host: str = "127.0.0.1:3000"
) -> tuple[RequestHead, S3Target]:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in fields), "", ""]
    head = parse_request_head("\r\n".join(lines).encode("latin-1"))
    return head, parse_target(head, ADDRESSING)


def sent(target: str, names: OriginNames = PATHS, **options: str) -> tuple[str, str]:
    host, path = own_target(in_one_reading(*request(target, **options))[1], names)
    return host.decode(), path.decode()


@pytest.mark.parametrize(
    ("received", "goes_out"),
    [
        ("/", "/"),
        ("/bkt", "/bkt"),
        ("/bkt/", "/bkt/"),
        ("/bkt/k", "/bkt/k"),
        ("/bkt/a%28b%29", "/bkt/a%28b%29"),
        ("/bkt/a(b)", "/bkt/a%28b%29"),
        ("/bkt/a+b", "/bkt/a%2Bb"),
        ("/bkt/%2e%2e", "/bkt/.."),
        ("/bkt//k//", "/bkt//k//"),
        ("/bkt/%C3%BC%2F%00", "/bkt/%C3%BC/%00"),
        ("/bkt?prefix=a+b&delimiter=/", "/bkt?prefix=a%20b&delimiter=%2F"),
        ("/bkt?uploads", "/bkt?uploads"),
        ("/bkt/k?acl=", "/bkt/k?acl="),
        ("/bkt/k?x=a;b=c", "/bkt/k?x=a%3Bb%3Dc"),
        ("/bkt/k?versionId=1&X-Amz-Signature=ab&X-Amz-Date=cd&x-amz-CREDENTIAL=ef", "/bkt/k?versionId=1"),
        ("/bkt/k?X-Amz-Algorithm=a&X-Amz-Expires=1", "/bkt/k"),
        ("/bkt/k?AWSAccessKeyId=a&Signature=b&Expires=1", "/bkt/k"),
        ("http://127.0.0.1:3000/bkt/k?x=1", "/bkt/k?x=1"),
    ],
)
def test_a_request_goes_out_in_the_one_spelling_that_everybody_reads_alike(received: str, goes_out: str) -> None:
    assert sent(received) == ("origin.test:9000", goes_out)


@given(st.binary(min_size=1, max_size=30), st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=3))
def test_the_key_and_the_parameters_that_were_read_are_those_that_are_sent(
    key: bytes, pairs: list[tuple[str, str]]
) -> None:
    pairs = [(f"p{index}{name}", value) for index, (name, value) in enumerate(pairs)]
    raw = "".join(f"%{octet:02X}" for octet in key)
    query = "&".join("=".join("".join(f"%{octet:02x}" for octet in part.encode()) for part in pair) for pair in pairs)
    target = f"/bkt/{raw}?{query}"
    _, read = in_one_reading(*request(target))
    path, _, parameters = sent(target)[1].partition("?")
    assert unquote_to_bytes(path) == b"/bkt/" + key == b"/bkt/" + (read.key or b"")
    assert parse_qsl(parameters, keep_blank_values=True) == pairs


@pytest.mark.parametrize(
    ("place", "is_aws", "bucket", "host", "path"),
    [
        (BucketPlace.AUTO, False, "bkt", "s3.eu-west-1.amazonaws.com", "/bkt/k"),
        (BucketPlace.AUTO, True, "bkt", "bkt.s3.eu-west-1.amazonaws.com", "/k"),
        (BucketPlace.AUTO, True, "my.bucket", "s3.eu-west-1.amazonaws.com", "/my.bucket/k"),
        (BucketPlace.AUTO, True, "Old_Bucket", "s3.eu-west-1.amazonaws.com", "/Old_Bucket/k"),
        (BucketPlace.PATH, True, "bkt", "s3.eu-west-1.amazonaws.com", "/bkt/k"),
        (BucketPlace.VIRTUAL, False, "bkt", "bkt.s3.eu-west-1.amazonaws.com", "/k"),
    ],
)
def test_the_bucket_stands_where_the_origin_wants_it(
    place: BucketPlace, is_aws: bool, bucket: str, host: str, path: str
) -> None:
    names = OriginNames(b"s3.eu-west-1.amazonaws.com", place, is_aws)
    assert sent(f"/{bucket}/k", names) == (host, path)
    assert sent(f"/{bucket}", names) == (host, path.removesuffix("k").removesuffix("/") or "/")
    assert sent("/", names) == ("s3.eu-west-1.amazonaws.com", "/")


def test_a_client_may_name_the_bucket_in_its_host() -> None:
    assert sent("/k", host="bkt.s3.test") == ("origin.test:9000", "/bkt/k")
    assert sent("/?uploads", host="bkt.s3.test") == ("origin.test:9000", "/bkt/?uploads")


@pytest.mark.parametrize(
    "target",
    ["/bkt?prefix=%zz", "/bkt?prefix=a&prefix=b", "/bkt/k?X-Amz-Acl=a&x-amz-acl=b", "/bkt/k?versionId=1&versionId=2"],
)
def test_a_query_that_can_be_read_in_two_ways_is_refused(target: str) -> None:
    with pytest.raises(RequestError) as caught:
        in_one_reading(*request(target))
    assert caught.value.response_status == 400


def test_access_points_are_refused() -> None:
    with pytest.raises(RequestError):
        in_one_reading(*request("/k", host="ap-1.s3-accesspoint.test"))


def test_fields_in_the_query_become_fields_of_the_head() -> None:
    head, target = in_one_reading(*request("/bkt/k?X-Amz-Copy-Source=/a/b+c%2B&versionId=1&X-Amz-Signature=s"))
    assert head.get(b"x-amz-copy-source") == b"/a/b c+"
    assert (b"x-amz-copy-source", b"/a/b c+") in head.headers
    assert target.query.hoisted == ()
    assert own_target(target, PATHS)[1] == b"/bkt/k?versionId=1"


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/bkt/k?X-Amz-Acl=private", (("x-amz-acl", "public-read"),)),
        ("/bkt/k?X-Amz-Acl=private", (("x-amz-acl", "private"),)),
        ("/bkt/k?X-Amz-Meta-A=a%0D%0Ax-amz-acl:public-read", ()),
        ("/bkt/k?X-Amz-Meta-A=%20a", ()),
    ],
)
def test_a_field_in_the_query_that_could_mean_two_things_is_refused(
    target: str, fields: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(RequestError):
        in_one_reading(*request(target, *fields))


def test_who_asks_and_when_is_left_out_and_everything_else_goes_along() -> None:
    head, _ = request(
        "/bkt/k",
        ("Authorization", "AWS4-HMAC-SHA256 x"),
        ("X-Amz-Date", "20260101T000000Z"),
        ("Date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("x-amz-security-token", "t"),
        ("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD"),
        ("Connection", "keep-alive"),
        ("Range", "bytes=0-1"),
        ("x-amz-meta-a", "1"),
        ("If-Match", '"e"'),
    )
    assert own_fields(head, without=frozenset({b"range"})) == ((b"x-amz-meta-a", b"1"), (b"If-Match", b'"e"'))


def test_only_a_browsers_preflight_needs_no_signature() -> None:
    asks = (("Origin", "https://page.test"), ("Access-Control-Request-Method", "PUT"))
    assert is_preflight(request("/bkt/k", *asks, method="OPTIONS")[0])
    assert not is_preflight(request("/bkt/k", *asks)[0])
    assert not is_preflight(request("/bkt/k", asks[0], method="OPTIONS")[0])
    assert not is_preflight(request("/bkt/k", *asks, ("Content-Length", "1"), method="OPTIONS")[0])


def test_the_origins_own_port_is_not_said() -> None:
    assert host_of(OriginId("https", "s3.test", 443)) == b"s3.test"
    assert host_of(OriginId("http", "s3.test", 443)) == b"s3.test:443"
    assert host_of(OriginId("http", "::1", 9000)) == b"[::1]:9000"
