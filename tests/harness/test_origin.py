"""The fixture ``origin`` gives every test a clean server, whatever the test before did to it."""

from __future__ import annotations

import pytest
from tests.harness.clients import boto3_client, curl
from tests.harness.origin import make_clean
from tests.harness.raw import RawConnection, exchange
from tests.harness.signing import signed_request
from tests.harness.tools import require_tool

from fastcache.origin.process import OriginProcess


def test_nothing_of_one_test_reaches_the_next(origin: OriginProcess) -> None:
    origin.control.put("bucket", "key", b"body")
    origin.control.fault("status", status=503)
    origin.control.settings(latency=30.0, clock_offset=5000.0)
    with RawConnection(origin.endpoint) as connection:
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        make_clean(origin)
        connection.expect_close()
    assert origin.control.faults() == []
    assert set(origin.control.settings().values()) == {0}
    assert origin.control.requests() == 0
    client = boto3_client(origin.endpoint, origin.access_key, origin.secret_key)
    assert client.list_buckets()["Buckets"] == []
    assert origin.control.requests() == 1


@pytest.mark.parametrize("attempt", [1, 2])
def test_every_test_starts_with_an_empty_server(origin: OriginProcess, attempt: int) -> None:
    assert origin.control.requests() == 0
    origin.control.put("bucket", f"key-{attempt}", b"body")
    client = boto3_client(origin.endpoint, origin.access_key, origin.secret_key)
    assert [item["Key"] for item in client.list_objects_v2(Bucket="bucket")["Contents"]] == [f"key-{attempt}"]


def test_signatures_of_the_harness_and_of_curl_are_accepted_and_judged(origin: OriginProcess) -> None:
    require_tool("curl")
    origin.control.put("bucket", "a key (1)", b"0123456789")
    url = f"{origin.endpoint}/bucket/a%20key%20%281%29"
    key, secret = origin.access_key, origin.secret_key
    request = signed_request("GET", url, key, secret, signed=[("Range", "bytes=2-4")])
    assert exchange(origin.endpoint, request).body == b"234"
    assert exchange(origin.endpoint, request.replace(b"bytes=2-4", b"bytes=2-5")).status == 403
    put = signed_request("PUT", url, key, secret, body=b"new", payload_sha256="UNSIGNED-PAYLOAD")
    assert exchange(origin.endpoint, put).status == 200
    got = curl(url, "-w", "%{http_code}", access_key=key, secret_key=secret)
    assert got.stdout == b"new200"
