"""Who may do what: signatures on the wire, accounts, public buckets, tokens, clock skew, CORS."""

from __future__ import annotations

import base64
import hashlib
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from tests.harness.clients import boto3_client
from tests.harness.raw import RawConnection, RawResponse, exchange
from tests.harness.signing import presigned_url, signed_request
from tests.origin.accounts import client_of, error_of

from fastcache.origin.process import OriginProcess
from fastcache.protocol.sigv4 import ChunkSignatures, Credentials, sign


def send(origin: OriginProcess, method: str, path: str, account: int = 0, **options: Any) -> RawResponse:
    spec = origin.accounts[account]
    raw = signed_request(method, origin.endpoint + path, spec.access_key, spec.secret_key, **options)
    return exchange(origin.endpoint, raw)


def code(answer: RawResponse) -> tuple[int, str]:
    return answer.status, answer.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


def test_signatures_bind_method_path_and_signed_headers(s3: Any, origin: OriginProcess, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    spec = origin.accounts[0]
    url = f"{origin.endpoint}/{bucket}/k"
    raw = signed_request("GET", url, spec.access_key, spec.secret_key, signed=[("Range", "bytes=0-1")])
    assert exchange(origin.endpoint, raw).body == b"he"
    for old, new in ((b"bytes=0-1", b"bytes=0-2"), (b"GET ", b"HEAD "), (b"/k ", b"/l "), (b"127.0.0.1", b"localhost")):
        assert old in raw
        altered = exchange(origin.endpoint, raw.replace(old, new, 1), method=new.strip() if new == b"HEAD " else b"GET")
        assert altered.status == 403


def test_an_unsigned_range_may_be_added(s3: Any, origin: OriginProcess, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    assert send(origin, "GET", f"/{bucket}/k", unsigned=[("Range", "bytes=1-2")]).body == b"el"
    assert code(send(origin, "GET", f"/{bucket}/k", unsigned=[("x-amz-meta-a", "1")])) == (403, "AccessDenied")


def test_the_log_tells_which_fields_a_signature_covers(s3: Any, origin: OriginProcess, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    origin.control.reset()
    for how in ("signed", "unsigned"):
        assert send(origin, "GET", f"/{bucket}/k", **{how: [("Range", "bytes=1-2")]}).status == 206
    forged = signed_request("GET", f"{origin.endpoint}/{bucket}/k", origin.access_key, "wrong")
    assert exchange(origin.endpoint, forged).status == 403
    always = ["host", "x-amz-content-sha256", "x-amz-date"]
    assert [entry["covered"] for entry in origin.control.log()] == [["host", "range", *always[1:]], always, []]


def test_the_payload_hash_is_compared(origin: OriginProcess, s3: Any, bucket: str) -> None:
    digest = hashlib.sha256(b"hello").hexdigest()
    assert send(origin, "PUT", f"/{bucket}/k", body=b"hello", payload_sha256=digest).status == 200
    wrong = send(origin, "PUT", f"/{bucket}/k", body=b"jello", payload_sha256=digest)
    assert code(wrong) == (400, "XAmzContentSHA256Mismatch")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"hello"


@pytest.mark.parametrize("broken", [None, "data", "signature", "trailer", "missing"])
def test_signed_chunks_and_trailers_are_verified(
    origin: OriginProcess, s3: Any, bucket: str, broken: str | None
) -> None:
    spec = origin.accounts[0]
    data, crc = b"hello", base64.b64encode((0x3610A686).to_bytes(4, "big"))
    trailer = ((b"x-amz-checksum-crc32", crc),)
    headers = (
        (b"host", origin.endpoint.removeprefix("http://").encode()),
        (b"x-amz-decoded-content-length", b"5"),
        (b"x-amz-trailer", b"x-amz-checksum-crc32"),
    )
    made = sign(
        b"PUT",
        f"/{bucket}/k".encode(),
        headers,
        Credentials(spec.access_key.encode(), spec.secret_key.encode()),
        region=b"us-east-1",
        now=time.time(),
        payload_hash=b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    )
    chain = ChunkSignatures(made.context)
    first, last = (chain.chunk(hashlib.sha256(piece).hexdigest().encode()) for piece in (data, b""))
    signature = chain.trailer(trailer)
    body = b"5;chunk-signature=%b\r\n%b\r\n0;chunk-signature=%b\r\nx-amz-checksum-crc32:%b\r\n" % (
        first,
        data,
        last,
        crc,
    )
    body += b"x-amz-trailer-signature:%b\r\n\r\n" % signature
    changes = {
        "data": (data, b"jello"),
        "signature": (last, last[::-1]),
        "trailer": (signature, signature[::-1]),
        "missing": (b";chunk-signature=" + first, b""),
    }
    if broken:
        body = body.replace(*changes[broken])
    head = b"PUT /%b/k HTTP/1.1\r\n" % bucket.encode()
    for name, value in (*headers, *made.headers, (b"content-length", b"%d" % len(body))):
        head += name + b": " + value + b"\r\n"
    answer = exchange(origin.endpoint, head + b"\r\n" + body)
    assert code(answer) == ((403, "SignatureDoesNotMatch") if broken else (200, ""))
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == (0 if broken else 1)


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_presigned_urls_of_both_versions(origin: OriginProcess, s3: Any, bucket: str, version: str) -> None:
    client = client_of(origin, signature_version=version)
    put = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a b"})
    with urllib.request.urlopen(urllib.request.Request(put, b"data", {"Content-Type": ""}, method="PUT")) as answer:
        assert answer.status == 200
    url = client.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "a b", "ResponseContentType": "x/y"}
    )
    with urllib.request.urlopen(url) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (b"data", "x/y")
    origin.control.settings(clock_offset=3700)
    try:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(url)
        assert (caught.value.code, b"expired" in caught.value.read()) == (403, True)
    finally:
        origin.control.settings(clock_offset=0)
    kind = "v2-presigned" if version == "s3" else "v4-presigned"
    assert origin.control.log(2)[0]["auth"] == kind


def test_a_skewed_clock_is_named(origin: OriginProcess, s3: Any, bucket: str) -> None:
    origin.control.settings(clock_offset=-1000)
    try:
        assert error_of(s3.list_buckets) == (403, "RequestTimeTooSkewed")
    finally:
        origin.control.settings(clock_offset=0)


def test_wrong_secrets_and_unknown_keys(origin: OriginProcess) -> None:
    wrong = boto3_client(origin.endpoint, origin.access_key, "wrong")
    assert error_of(wrong.list_buckets) == (403, "SignatureDoesNotMatch")
    unknown = boto3_client(origin.endpoint, "unknown", "wrong")
    assert error_of(unknown.list_buckets) == (403, "InvalidAccessKeyId")


def test_temporary_credentials_need_their_token(origin: OriginProcess, s3: Any, bucket: str) -> None:
    spec = origin.accounts[2]
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert send(origin, "GET", f"/{bucket}/k", 2, token=spec.session_token).body == b"x"
    assert code(send(origin, "GET", f"/{bucket}/k", 2)) == (400, "InvalidToken")
    assert code(send(origin, "GET", f"/{bucket}/k", 2, token="other")) == (400, "InvalidToken")


def test_anonymous_callers_read_public_buckets_only(origin: OriginProcess, bucket: str) -> None:
    origin.control.bucket(bucket, public_read=True)
    origin.control.put(bucket, "k", b"x")

    def anonymous(method: str, path: str) -> tuple[int, str]:
        return code(
            exchange(origin.endpoint, f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode())
        )

    assert anonymous("GET", f"/{bucket}/k") == (200, "")
    assert anonymous("PUT", f"/{bucket}/k") == (403, "AccessDenied")
    assert anonymous("DELETE", f"/{bucket}/k") == (403, "AccessDenied")
    assert anonymous("GET", "/") == (403, "AccessDenied")
    assert anonymous("GET", f"/{bucket}/k?response-content-type=a") == (400, "InvalidRequest")
    origin.control.bucket(bucket)
    assert anonymous("GET", f"/{bucket}/k") == (403, "AccessDenied")
    assert anonymous("GET", f"/{bucket}-none/k") == (403, "AccessDenied")


def test_an_account_with_prefixes_stays_within_them(origin: OriginProcess) -> None:
    origin.control.put("shared", "public/k", b"x")
    origin.control.put("shared", "private/k", b"x")
    origin.control.bucket("foreign")
    narrow = client_of(origin, 1)
    denied = (403, "AccessDenied")
    assert narrow.get_object(Bucket="shared", Key="public/k")["Body"].read() == b"x"
    assert narrow.list_objects_v2(Bucket="shared", Prefix="public/")["KeyCount"] == 1
    assert [item["Name"] for item in narrow.list_buckets()["Buckets"]] == ["shared"]
    assert error_of(narrow.get_object, Bucket="shared", Key="private/k") == denied
    assert error_of(narrow.put_object, Bucket="shared", Key="private/k", Body=b"") == denied
    assert error_of(narrow.list_objects_v2, Bucket="shared", Prefix="private/") == denied
    assert error_of(narrow.list_objects_v2, Bucket="foreign") == denied
    copy = {"Bucket": "shared", "Key": "public/c", "CopySource": "shared/private/k"}
    assert error_of(narrow.copy_object, **copy) == denied
    keys = [{"Key": "private/k"}, {"Key": "public/k"}]
    answer = narrow.delete_objects(Bucket="shared", Delete={"Objects": keys})
    assert [item["Key"] for item in answer["Errors"]] == ["private/k"]
    assert [item["Key"] for item in answer["Deleted"]] == ["public/k"]


def test_cross_origin_requests_follow_the_buckets_rules(origin: OriginProcess, s3: Any, bucket: str) -> None:
    rule = {
        "AllowedOrigins": ["http://*.site.test"],
        "AllowedMethods": ["GET"],
        "AllowedHeaders": ["range"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 60,
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule]
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")

    def preflight(site: str, method: str = "GET", header: str = "range") -> RawResponse:
        lines = [
            f"OPTIONS /{bucket}/k HTTP/1.1",
            "Host: h",
            f"Origin: {site}",
            f"Access-Control-Request-Method: {method}",
        ]
        lines += [f"Access-Control-Request-Headers: {header}", "", ""]
        return exchange(origin.endpoint, "\r\n".join(lines).encode())

    allowed = preflight("http://a.site.test")
    assert allowed.status == 200
    assert allowed.get(b"access-control-allow-origin") == b"http://a.site.test"
    assert allowed.get(b"access-control-allow-headers") == b"range"
    assert allowed.get(b"access-control-max-age") == b"60"
    for other in (
        preflight("http://other.test"),
        preflight("http://a.site.test", "PUT"),
        preflight("http://a.site.test", header="x"),
    ):
        assert other.status == 403
    simple = send(origin, "GET", f"/{bucket}/k", unsigned=[("Origin", "http://a.site.test")])
    assert simple.get(b"access-control-expose-headers") == b"ETag"
    assert b"Origin" in (simple.get(b"vary") or b"")
    assert send(origin, "GET", f"/{bucket}/k").get(b"access-control-allow-origin") is None
    s3.delete_bucket_cors(Bucket=bucket)
    assert preflight("http://a.site.test").status == 403


def test_presigned_by_the_harness_is_accepted_on_a_keepalive_connection(
    origin: OriginProcess, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    url = presigned_url("GET", f"{origin.endpoint}/{bucket}/k", origin.access_key, origin.secret_key)
    target = url.removeprefix(origin.endpoint)
    with RawConnection(origin.endpoint) as connection:
        for _ in range(2):
            connection.send(f"GET {target} HTTP/1.1\r\nHost: {connection.host}\r\n\r\n".encode())
            assert connection.read_response().body == b"x"
