"""The suite's verifying origin verifies: what passes through fastcache is only as well judged as this server judges."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import botocore.exceptions
import pytest
from tests.harness.clients import boto3_client, curl, minio_client, obstore_store
from tests.harness.raw import exchange
from tests.harness.signing import presigned_url, signed_request
from tests.harness.swift import SwiftServer
from tests.harness.tools import require_tool

BODY = bytes(range(256)) * 64


@pytest.fixture
def object_url(swift: SwiftServer, swift_client: Any, swift_bucket: str) -> str:
    swift_client.put_object(Bucket=swift_bucket, Key="some/key", Body=BODY, ContentType="text/x-test")
    return f"{swift.endpoint}/{swift_bucket}/some/key"


def test_a_signed_put_and_get(swift_client: Any, swift_bucket: str) -> None:
    put = swift_client.put_object(Bucket=swift_bucket, Key="a", Body=BODY, Metadata={"colour": "blue"})
    got = swift_client.get_object(Bucket=swift_bucket, Key="a")
    assert got["Body"].read() == BODY
    assert got["ETag"] == put["ETag"]
    assert got["Metadata"] == {"colour": "blue"}


def test_a_wrong_secret_is_refused(swift: SwiftServer, object_url: str, swift_bucket: str) -> None:
    client = boto3_client(swift.endpoint, swift.user.access_key, "wrong")
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.get_object(Bucket=swift_bucket, Key="some/key")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert caught.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_a_range_is_answered_with_206(swift_client: Any, swift_bucket: str, object_url: str) -> None:
    got = swift_client.get_object(Bucket=swift_bucket, Key="some/key", Range="bytes=100-299")
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes 100-299/{len(BODY)}"
    assert got["Body"].read() == BODY[100:300]


def test_two_users_have_buckets_of_the_same_name(swift: SwiftServer, swift_client: Any, swift_bucket: str) -> None:
    other = boto3_client(swift.endpoint, swift.other_user.access_key, swift.other_user.secret_key)
    other.create_bucket(Bucket=swift_bucket)
    swift_client.put_object(Bucket=swift_bucket, Key="k", Body=b"one")
    other.put_object(Bucket=swift_bucket, Key="k", Body=b"two")
    assert swift_client.get_object(Bucket=swift_bucket, Key="k")["Body"].read() == b"one"
    assert other.get_object(Bucket=swift_bucket, Key="k")["Body"].read() == b"two"


def test_a_signed_range_cannot_be_changed(swift: SwiftServer, object_url: str) -> None:
    request = signed_request(
        "GET", object_url, swift.user.access_key, swift.user.secret_key, signed=[("Range", "bytes=0-9")]
    )
    assert exchange(swift.endpoint, request).body == BODY[:10]
    assert exchange(swift.endpoint, request.replace(b"bytes=0-9", b"bytes=0-8")).status == 403


def test_an_unsigned_range_can_be_changed(swift: SwiftServer, object_url: str) -> None:
    request = signed_request(
        "GET", object_url, swift.user.access_key, swift.user.secret_key, unsigned=[("Range", "bytes=0-9")]
    )
    assert exchange(swift.endpoint, request).body == BODY[:10]
    assert exchange(swift.endpoint, request.replace(b"bytes=0-9", b"bytes=0-8")).body == BODY[:9]


def test_a_signature_for_head_is_none_for_get(swift: SwiftServer, object_url: str) -> None:
    request = signed_request("HEAD", object_url, swift.user.access_key, swift.user.secret_key)
    head = exchange(swift.endpoint, request)
    assert (head.status, head.get(b"content-length")) == (200, str(len(BODY)).encode())
    assert exchange(swift.endpoint, request.replace(b"HEAD ", b"GET ", 1)).status == 403


def test_a_presigned_url_works_for_anyone_until_it_is_changed(swift: SwiftServer, object_url: str) -> None:
    require_tool("curl")
    url = presigned_url("GET", object_url, swift.user.access_key, swift.user.secret_key)
    fetched = curl(url, "--fail")
    assert (fetched.returncode, fetched.stdout) == (0, BODY)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("some/key", "some/kez"), timeout=20)
    assert caught.value.code == 403


def test_minio_and_obstore_read_what_boto3_wrote(swift: SwiftServer, swift_bucket: str, object_url: str) -> None:
    user = swift.user
    with minio_client(swift.endpoint, user.access_key, user.secret_key).get_object(swift_bucket, "some/key") as got:
        assert got.read() == BODY
    store = obstore_store(swift.endpoint, swift_bucket, user.access_key, user.secret_key)
    assert store.get("some/key").bytes() == BODY
    assert store.get_range("some/key", start=10, end=20) == BODY[10:20]


def test_curl_refuses_a_key_it_would_tear_apart(swift: SwiftServer) -> None:
    with pytest.raises(ValueError, match="colon"):
        curl(swift.endpoint, access_key=swift.user.access_key, secret_key=swift.user.secret_key)
