"""In `revalidate` a cached byte leaves only with the origin's word that this very request may have it (P-40)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.clients.conftest import StartSite
from tests.clients.sites import Site, status_of
from tests.conftest import attach_log
from tests.harness.clients import boto3_client
from tests.harness.origin import running_origin
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request
from tests.harness.swift import SwiftServer

from fastcache.origin.process import AccountSpec, OriginProcess

BODY = b"for its owner alone " * 1000


@pytest.fixture(params=["swift", "own"])
def site(request: pytest.FixtureRequest, start_site: StartSite, origin: OriginProcess) -> Site:
    """Each origin behind the mode `revalidate`."""
    started = start_site(request.param, "revalidate")
    attach_log(request, started.proxy.logs)
    return started


@pytest.fixture
def bucket(site: Site) -> str:
    """Its object ``k`` is cached."""
    name = site.new_bucket()
    site.direct.put_object(Bucket=name, Key="k", Body=BODY)
    for _ in range(2):
        assert site.through.get_object(Bucket=name, Key="k")["Body"].read() == BODY
    return name


def ask_unsigned(site: Site, target: str, *fields: str) -> RawResponse:
    host = site.endpoint.removeprefix("http://")
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]
    return exchange(site.endpoint, "\r\n".join(lines).encode())


def assert_refused(answer: RawResponse, *statuses: int) -> None:
    assert answer.status in (statuses or (403,)), answer
    assert BODY[:20] not in answer.body


def assert_still_cached(site: Site, bucket: str) -> None:
    """Who was refused harmed nobody."""
    before = site.moved(bucket)
    assert site.through.get_object(Bucket=bucket, Key="k")["Body"].read() == BODY
    assert site.moved(bucket) == before, "a warm read moved body bytes"


def test_the_wrong_secret(site: Site, bucket: str) -> None:
    for range_ in ({}, {"Range": "bytes=0-9"}):
        assert_refused(site.raw("GET", f"/{bucket}/k", secret="wrong", signed=range_))
    assert_refused(site.raw("HEAD", f"/{bucket}/k", secret="wrong"))
    assert_still_cached(site, bucket)


def test_nobody(site: Site, bucket: str) -> None:
    direct = exchange(site.origin_endpoint, f"GET /{bucket}/k HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    answer = ask_unsigned(site, f"/{bucket}/k")
    assert_refused(answer, direct.status)
    assert_still_cached(site, bucket)


def test_a_signature_for_another_method_range_or_key(site: Site, bucket: str) -> None:
    def signed(method: str, **headers: str) -> bytes:
        return signed_request(
            method,
            f"{site.endpoint}/{bucket}/k",
            site.access_key,
            site.secret_key,
            signed=tuple(headers.items()),
        )

    assert exchange(site.endpoint, signed("GET", Range="bytes=0-9")).body == BODY[:10]
    assert_refused(exchange(site.endpoint, signed("HEAD").replace(b"HEAD ", b"GET ", 1)))
    assert_refused(exchange(site.endpoint, signed("GET", Range="bytes=0-9").replace(b"=0-9", b"=0-8")))
    other = f"{bucket}/j"
    site.direct.put_object(Bucket=bucket, Key="j", Body=b"allowed")
    forged = signed_request("GET", f"{site.endpoint}/{other}", site.access_key, site.secret_key)
    assert_refused(exchange(site.endpoint, forged.replace(b"/j HTTP", b"/k HTTP", 1)))
    assert_still_cached(site, bucket)


def test_a_presigned_url_that_has_expired_or_was_changed(site: Site, bucket: str) -> None:
    target = site.presigned("GET", f"/{bucket}/k", expires=1).removeprefix(site.endpoint)
    good = site.presigned("GET", f"/{bucket}/k").removeprefix(site.endpoint)
    assert ask_unsigned(site, good).body == BODY
    assert_refused(ask_unsigned(site, good.replace("X-Amz-Expires=600", "X-Amz-Expires=601")))
    assert_refused(ask_unsigned(site, good[:-6] + "abcdef"))
    deadline = time.monotonic() + 20
    while ask_unsigned(site, target).status == 200 and time.monotonic() < deadline:
        time.sleep(0.25)
    assert_refused(ask_unsigned(site, target))
    assert_refused(ask_unsigned(site, target, "Range: bytes=0-9"))
    assert_still_cached(site, bucket)


def test_the_other_account_with_a_bucket_of_the_same_name(
    start_site: StartSite, swift: SwiftServer, request: pytest.FixtureRequest
) -> None:
    """In Swift a bucket's name is its account's: the same path is two objects, and each account gets its own."""
    site = start_site("swift", "revalidate")
    attach_log(request, site.proxy.logs)
    bucket = site.new_bucket()
    ours = {"Bucket": bucket, "Key": "k"}
    site.direct.put_object(**ours, Body=BODY)
    other = boto3_client(site.endpoint, swift.other_user.access_key, swift.other_user.secret_key)
    assert site.through.get_object(**ours)["Body"].read() == BODY
    assert status_of(other.get_object, **ours) in (403, 404)
    assert status_of(other.head_object, **ours) in (403, 404)
    other.create_bucket(Bucket=bucket)
    assert status_of(other.get_object, **ours) == 404
    other.put_object(**ours, Body=b"theirs")
    for _ in range(3):
        assert other.get_object(**ours)["Body"].read() == b"theirs"
        assert site.through.get_object(**ours)["Body"].read() == BODY
        assert other.get_object(**ours, Range="bytes=0-2")["Body"].read() == b"the"
        assert site.through.get_object(**ours, Range="bytes=0-2")["Body"].read() == BODY[:3]


def test_a_key_that_may_read_one_prefix_reads_only_that(start_fastcache: Callable[..., FastcacheProcess]) -> None:
    """Grants are the origin's, object by object: nothing is concluded from what a key may read elsewhere."""
    narrow = AccountSpec("narrow", "narrow-secret", prefixes=("shared/public/",))
    with running_origin(accounts=(AccountSpec(), narrow)) as origin:
        proxy = start_fastcache(origin.endpoint)
        owner = boto3_client(proxy.endpoint, origin.access_key, origin.secret_key)
        owner.create_bucket(Bucket="shared")
        for key in ("public/k", "private/k"):
            owner.put_object(Bucket="shared", Key=key, Body=BODY)
            assert owner.get_object(Bucket="shared", Key=key)["Body"].read() == BODY
        client = boto3_client(proxy.endpoint, narrow.access_key, narrow.secret_key)
        before = origin.control.body_sent("shared")
        for _ in range(2):
            assert client.get_object(Bucket="shared", Key="public/k")["Body"].read() == BODY
            for range_ in ({}, {"Range": "bytes=0-9"}):
                assert status_of(client.get_object, Bucket="shared", Key="private/k", **range_) == 403
            assert status_of(client.head_object, Bucket="shared", Key="private/k") == 403
        assert origin.control.body_sent("shared") == before


def test_in_the_mode_none_whoever_reaches_the_port_reads_what_is_cached(
    start_site: StartSite, origin: OriginProcess
) -> None:
    """And nothing else: what is not cached is between the client and the origin."""
    site = start_site("own", "none")
    bucket = site.new_bucket()
    for key in ("cached", "not"):
        site.direct.put_object(Bucket=bucket, Key=key, Body=BODY)
    assert site.through.get_object(Bucket=bucket, Key="cached")["Body"].read() == BODY
    assert ask_unsigned(site, f"/{bucket}/cached").body == BODY
    assert site.raw("GET", f"/{bucket}/cached", secret="wrong").body == BODY
    assert_refused(ask_unsigned(site, f"/{bucket}/not"))
    assert_refused(site.raw("GET", f"/{bucket}/not", secret="wrong"))
    assert_refused(ask_unsigned(site, f"/{bucket}?list-type=2"))
