"""Identity: one key, read once, and every other reading known."""

from __future__ import annotations

import string
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.heads import head

from fastcache.errors import RequestError
from fastcache.protocol.requests import parse_request_head
from fastcache.protocol.targets import (
    PATH_STYLE,
    VIRTUAL,
    Addressing,
    AddressStyle,
    S3Target,
    bucket_aliases,
    parse_target,
)

ADDRESSING = Addressing(
    accepted_hosts=(b"Cache-1", b"cache-1.example.net."),
    virtual_host_suffixes=(b"s3.example.com", b"eu.s3.example.com", b"s3-accesspoint.eu-west-1.amazonaws.com"),
    endpoint_host=b"origin.example.org",
)


def target_of(
    target: bytes, host: bytes = b"127.0.0.1", addressing: Addressing = ADDRESSING, method: bytes = b"GET"
) -> S3Target:
    return parse_target(parse_request_head(head(line=method + b" " + target + b" HTTP/1.1", host=host)), addressing)


@pytest.mark.parametrize(
    ("target", "bucket", "key"),
    [
        (b"/bucket/key", b"bucket", b"key"),
        (b"/bucket/a/b/c", b"bucket", b"a/b/c"),
        (b"/bucket//key", b"bucket", b"/key"),
        (b"/bucket/a//b/", b"bucket", b"a//b/"),
        (b"/bucket/../key", b"bucket", b"../key"),
        (b"/bucket/./key", b"bucket", b"./key"),
        (b"/bucket/a%20b", b"bucket", b"a b"),
        (b"/bucket/%28x%29", b"bucket", b"(x)"),
        (b"/bucket/(x)", b"bucket", b"(x)"),
        (b"/bucket/a%2Fb", b"bucket", b"a/b"),
        (b"/bucket/a%252Fb", b"bucket", b"a%2Fb"),
        (b"/bucket/a%2Bb", b"bucket", b"a+b"),
        (b"/bucket/%C3%A9%ff%00", b"bucket", b"\xc3\xa9\xff\x00"),
        (b"/bucket/a:b@c=d&e;f,g!$'*~", b"bucket", b"a:b@c=d&e;f,g!$'*~"),
        (b"/bucket/a%3Fb?x-id=GetObject", b"bucket", b"a?b"),
        (b"/bucket/?x", b"bucket", None),
        (b"/bucket/", b"bucket", None),
        (b"/bucket", b"bucket", None),
        (b"/%62ucket/key", b"bucket", b"key"),
        (b"/tenant:bucket/key", b"tenant:bucket", b"key"),
        (b"/b/" + b"k" * 1024, b"b", b"k" * 1024),
        (b"/", None, None),
        (b"/?x-id=ListBuckets", None, None),
        (b"http://127.0.0.1/bucket/key?x", b"bucket", b"key"),
    ],
)
def test_a_path_is_decoded_once_and_never_normalised(target: bytes, bucket: bytes | None, key: bytes | None) -> None:
    found = target_of(target)
    assert (found.bucket, found.key) == (bucket, key)
    assert found.cacheable_identity
    assert found.alternative_keys == (() if key is None else (key,))
    assert found.style is AddressStyle.PATH


@pytest.mark.parametrize(
    ("target", "bucket", "keys"),
    [
        (b"/bucket/a+b", b"bucket", (b"a+b", b"a b")),
        (b"/bucket/a+b%2Bc", b"bucket", (b"a+b+c", b"a b+c")),
        (b"/bucket/a%zz%20", b"bucket", (b"a%zz ", b"a%zz%20")),
        (b"/bucket/a%", b"bucket", (b"a%",)),
        (b"/bucket/+%z%20", b"bucket", (b"+%z ", b" %z ", b"+%z%20", b" %z%20")),
        (b"/bucket%2Fkey", b"bucket", (b"key",)),
        (b"/bucket%2fa%20b/c%2Bd", b"bucket", (b"a b/c+d",)),
        (b"/bucket%2Fa%2Fb/c", b"bucket", (b"a/b/c",)),
        (b"/buc+ket/key", b"buc+ket", (b"key",)),
        (b"/buc%ket/key", b"buc%ket", (b"key",)),
        (b"/../key", b"..", (b"key",)),
        (b"/%2E%2e/key", b"..", (b"key",)),
        (b"/./key", b".", (b"key",)),
        (b"/bucket/key?versionId=", b"bucket", (b"key",)),
        (b"/bucket/key?versionId=a&versionId=b", b"bucket", (b"key",)),
        (b"/bucket/key?a=%zz", b"bucket", (b"key",)),
    ],
)
def test_what_servers_read_differently_is_never_cached_and_every_reading_is_known(
    target: bytes, bucket: bytes, keys: tuple[bytes, ...]
) -> None:
    found = target_of(target)
    assert not found.cacheable_identity
    assert found.bucket == bucket
    assert found.key == keys[0]
    assert found.alternative_keys == keys


@pytest.mark.parametrize("target", [b"//", b"//key", b"//bucket/key", b"/%2F", b"/%2fbucket/key"])
def test_an_empty_bucket_name_before_a_key_is_refused(target: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        target_of(target)
    assert (caught.value.response_status, caught.value.response_code) == (400, "InvalidBucketName")


@pytest.mark.parametrize(
    ("host", "target", "bucket", "key", "style"),
    [
        (b"bkt.s3.example.com", b"/key", b"bkt", b"key", AddressStyle.VIRTUAL),
        (b"BKT.S3.example.com:9000", b"/a/b", b"bkt", b"a/b", AddressStyle.VIRTUAL),
        (b"bkt.s3.example.com.", b"//key", b"bkt", b"/key", AddressStyle.VIRTUAL),
        (b"my.bkt.s3.example.com", b"/", b"my.bkt", None, AddressStyle.VIRTUAL),
        (b"bkt.s3.example.com", b"/?list-type=2", b"bkt", None, AddressStyle.VIRTUAL),
        (b"bkt.s3.example.com", b"/a%2Fb", b"bkt", b"a/b", AddressStyle.VIRTUAL),
        (b"bkt.eu.s3.example.com", b"/key", b"bkt", b"key", AddressStyle.VIRTUAL),
        (b"s3.example.com", b"/bkt/key", b"bkt", b"key", AddressStyle.PATH),
        (
            b"ap-1.s3-accesspoint.eu-west-1.amazonaws.com",
            b"/key",
            b"accesspoint/ap-1.s3-accesspoint.eu-west-1.amazonaws.com",
            b"key",
            AddressStyle.ACCESS_POINT,
        ),
    ],
)
def test_a_suffix_makes_the_rest_of_the_host_the_bucket(
    host: bytes, target: bytes, bucket: bytes, key: bytes | None, style: AddressStyle
) -> None:
    found = target_of(target, host)
    assert (found.bucket, found.key, found.style) == (bucket, key, style)
    assert found.cacheable_identity


def test_both_styles_of_one_bucket_are_one_identity() -> None:
    path = target_of(b"/bkt/a%20b")
    virtual = target_of(b"/a%20b", b"bkt.s3.example.com")
    assert (path.bucket, path.key) == (virtual.bucket, virtual.key)


def test_no_path_names_an_access_point() -> None:
    host = b"ap-1.s3-accesspoint.eu-west-1.amazonaws.com"
    access_point = target_of(b"/key", host).bucket
    for path in (b"/accesspoint/" + host + b"/key", b"/accesspoint%2F" + host + b"/key", b"/" + host + b"/key"):
        assert target_of(path).bucket != access_point


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1",
        b"127.0.0.1:9000",
        b"10.1.2.3:80",
        b"[::1]",
        b"[2001:DB8::1]:9000",
        b"localhost",
        b"LocalHost:9000",
        b"localhost.",
        b"localhost.:80",
        b"cache-1",
        b"CACHE-1.example.net:1",
        b"origin.example.org",
        b"ORIGIN.example.org:443",
        b"s3.example.com",
        b"",
    ],
)
def test_hosts_that_are_this_cache_are_path_style(host: bytes) -> None:
    assert ADDRESSING.classify_host(host) == PATH_STYLE


def test_a_virtual_host_is_classified_with_its_bucket() -> None:
    assert ADDRESSING.classify_host(b"Bkt.s3.example.com:80") == VIRTUAL(b"bkt")


@pytest.mark.parametrize(
    "host",
    [
        b"evil.store",
        b"victim",
        b"s3.example.com.evil.store",
        b"xs3.example.com",
        b".s3.example.com",
        b"example.com",
        b"cache-2",
        b"x.localhost",
        b"x.origin.example.org",
        b"127.1",
        b"127.0.0.1.evil.store",
        b"256.1.1.1",
        b"1.2.3.4.5",
        b"[::1",
        b"[::1].s3",
        b"[1.2.3.4]",
        b"[:::]",
        b"2130706433",
    ],
)
def test_any_other_host_is_refused_with_the_way_out(host: bytes) -> None:
    with pytest.raises(RequestError, match="hosts:") as caught:
        ADDRESSING.classify_host(host)
    assert caught.value.response_status == 400
    assert caught.value.response_code == "InvalidRequest"


def test_hosts_are_told_apart_however_many_were_seen_before() -> None:
    """Clients choose the names below a suffix: what is remembered of them has a bound."""
    addressing = Addressing(virtual_host_suffixes=(b"s3.example.com",))
    buckets = [b"b%d" % number for number in range(3000)] + [b"b" * 300]
    for _ in range(2):
        for bucket in buckets:
            assert addressing.classify_host(bucket + b".s3.example.com") == VIRTUAL(bucket)
    remembered = addressing._classes
    assert 0 < len(remembered) <= 1024
    assert max(map(len, remembered)) < 300


def test_a_name_given_explicitly_is_path_style_even_below_a_suffix() -> None:
    addressing = Addressing(accepted_hosts=(b"cache.s3.example.com",), virtual_host_suffixes=(b".s3.example.com",))
    assert addressing.classify_host(b"cache.s3.example.com") == PATH_STYLE
    assert addressing.classify_host(b"bkt.s3.example.com") == VIRTUAL(b"bkt")


def test_nothing_but_literals_and_localhost_is_accepted_by_default() -> None:
    assert Addressing().classify_host(b"127.0.0.1") == PATH_STYLE
    with pytest.raises(RequestError):
        Addressing(accepted_hosts=(b"",), virtual_host_suffixes=(b"", b".")).classify_host(b"anything.example")


def test_an_asterisk_names_nothing() -> None:
    found = target_of(b"*", method=b"OPTIONS")
    assert (found.bucket, found.key, found.cacheable_identity) == (None, None, False)


def test_raw_path_and_query_are_kept_and_the_query_is_not_printed() -> None:
    found = target_of(b"/b/%7ek//?X-Amz-Signature=SECRET&a?b")
    assert found.raw_path == b"/b/%7ek//"
    assert found.raw_query == b"X-Amz-Signature=SECRET&a?b"
    assert "SECRET" not in repr(found)


def test_the_version_of_a_target_is_that_of_its_query() -> None:
    assert target_of(b"/b/k?versionId=null").version == b"null"
    assert target_of(b"/b/k").version is None


unreserved = (string.ascii_letters + string.digits + "-._~").encode()


@given(st.binary(min_size=1, max_size=40), st.sampled_from(["/", "/~()!*'", ""]))
def test_any_key_survives_any_clients_quoting(key: bytes, safe: str) -> None:
    found = target_of(b"/bkt/" + quote(key, safe=safe).encode())
    assert found.key == key
    assert found.cacheable_identity
    assert found.alternative_keys == (key,)


raw_paths = st.lists(
    st.sampled_from([b"a", b"b", b"/", b"//", b"+", b"%20", b"%2B", b"%2f", b"%2F", b"%", b"%zz", b"..", b".", b"%25"]),
    max_size=8,
).map(b"".join)


@given(raw_paths)
def test_an_identity_that_is_cacheable_has_one_reading(rest: bytes) -> None:
    try:
        found = target_of(b"/" + rest)
    except RequestError:
        return
    assert found.raw_path == b"/" + rest
    assert (found.key is None) == (found.alternative_keys == ())
    if found.key is not None:
        assert found.alternative_keys[0] == found.key
        assert len(set(found.alternative_keys)) == len(found.alternative_keys)
    if found.cacheable_identity:
        assert b"+" not in rest
        assert len(found.alternative_keys) <= 1
    assert found.bucket is None or b"/" not in found.bucket


AWS = Addressing(
    accepted_hosts=(b"cache-1",),
    virtual_host_suffixes=(b"s3.example.com",),
    endpoint_host=b"s3.eu-west-1.amazonaws.com",
    only_endpoint=True,
)


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        (b"s3.eu-west-1.amazonaws.com", b"b"),
        (b"S3.eu-west-1.amazonaws.com.:80", b"b"),
        (b"my.bucket.s3.eu-west-1.amazonaws.com", b"my.bucket"),
    ],
)
def test_in_front_of_aws_its_own_names_are_accepted(host: bytes, bucket: bytes) -> None:
    assert target_of(b"/b/k", host=host, addressing=AWS).bucket == bucket


@pytest.mark.parametrize(
    "host",
    [b"127.0.0.1:3000", b"localhost", b"cache-1", b"b.s3.example.com", b"evil.store", b"s3.amazonaws.com.evil.store"],
)
def test_in_front_of_aws_any_other_name_is_told_the_ways_that_work(host: bytes) -> None:
    with pytest.raises(RequestError) as refusal:
        target_of(b"/b/k", host=host, addressing=AWS)
    assert refusal.value.response_status == 400
    for way in ("DNS", "HTTP_PROXY", "sign", "s3.eu-west-1.amazonaws.com"):
        assert way in str(refusal.value)


def test_an_alias_is_named_as_a_bucket_or_by_its_host() -> None:
    host = b"Ap-1.s3-accesspoint.eu-west-1.amazonaws.com"
    aliases = bucket_aliases([("ap-1-s3alias", "data"), (host.decode(), "data")])
    for target in (
        target_of(b"/key", host),
        target_of(b"/ap-1-s3alias/key"),
        target_of(b"/key", b"ap-1-s3alias.s3.example.com"),
    ):
        assert target.bucket is not None
        assert aliases[target.bucket] == b"data"
    other = target_of(b"/key", b"ap-2.s3-accesspoint.eu-west-1.amazonaws.com").bucket
    assert other not in aliases
