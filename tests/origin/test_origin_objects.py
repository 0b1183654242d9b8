"""Objects through boto3: what is put is what is read, with S3's answers to conditions and ranges."""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta
from typing import Any

import pytest
from tests.origin.accounts import error_of, own_client_of

from fastcache.origin.pattern import pattern, pattern_etag
from fastcache.origin.process import OriginProcess

KEYS = ["a", "a b", "a+b", "(x)!'*~", "ü/日本", "//double//", "trailing/", "a/../b", "?#&=%25", "k" * 1024]


@pytest.mark.parametrize("key", KEYS)
def test_any_key_keeps_its_bytes_and_headers(s3: Any, bucket: str, key: str) -> None:
    data = key.encode() * 3
    put = s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=data,
        ContentType="text/plain; charset=utf-8",
        CacheControl="max-age=60",
        ContentDisposition="attachment",
        ContentEncoding="identity",
        Metadata={"one": "1", "two": "a  b"},
    )
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    for answer in (s3.get_object(Bucket=bucket, Key=key), s3.head_object(Bucket=bucket, Key=key)):
        assert answer["ETag"] == put["ETag"]
        assert answer["ContentLength"] == len(data)
        assert answer["ContentType"] == "text/plain; charset=utf-8"
        assert answer["CacheControl"] == "max-age=60"
        assert answer["ContentDisposition"] == "attachment"
        assert answer["ContentEncoding"] == "identity"
        assert answer["Metadata"]["one"] == "1"
        assert answer["AcceptRanges"] == "bytes"
        assert answer["ResponseMetadata"]["HTTPHeaders"]["server"] == "AmazonS3"
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == data
    s3.delete_object(Bucket=bucket, Key=key)
    assert error_of(s3.get_object, Bucket=bucket, Key=key) == (404, "NoSuchKey")


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=990-", 990, 1000),
        ("bytes=-7", 993, 1000),
        ("bytes=-5000", 0, 1000),
        ("bytes=0-8388607", 0, 1000),
        ("bytes=999-99999999999999999999", 999, 1000),
    ],
)
def test_a_single_range_is_exact(
    origin: OriginProcess, s3: Any, bucket: str, header: str, start: int, end: int
) -> None:
    origin.control.synthetic(bucket, "k", 1000)
    got = s3.get_object(Bucket=bucket, Key="k", Range=header)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {start}-{end - 1}/1000"
    assert got["Body"].read() == pattern(b"k", 1, start, end - start)
    head = s3.head_object(Bucket=bucket, Key="k", Range=header)
    assert head["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert head["ContentLength"] == end - start


@pytest.mark.parametrize("header", ["bytes=5-4", "bytes=0-1,4-5", "lines=0-1", "bytes=-", "bytes=a-b", "0-5"])
def test_what_is_no_single_range_is_ignored(origin: OriginProcess, s3: Any, bucket: str, header: str) -> None:
    origin.control.synthetic(bucket, "k", 1000)
    got = s3.get_object(Bucket=bucket, Key="k", Range=header)
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert len(got["Body"].read()) == 1000


@pytest.mark.parametrize(("size", "header"), [(10, "bytes=10-"), (10, "bytes=-0"), (0, "bytes=0-"), (0, "bytes=-5")])
def test_ranges_outside_are_refused_with_the_size(
    origin: OriginProcess, s3: Any, bucket: str, size: int, header: str
) -> None:
    origin.control.synthetic(bucket, "k", size)
    with pytest.raises(s3.exceptions.ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k", Range=header)
    error = caught.value.response
    assert error["Error"]["Code"] == "InvalidRange"
    assert error["Error"]["ActualObjectSize"] == str(size)
    assert error["ResponseMetadata"]["HTTPHeaders"]["content-range"] == f"bytes */{size}"


def test_conditions_follow_s3s_precedence(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    head = s3.head_object(Bucket=bucket, Key="k")
    etag, modified = head["ETag"], head["LastModified"]
    before, after = modified - timedelta(hours=1), modified + timedelta(hours=1)

    def status(**conditions: Any) -> int:
        try:
            answer = s3.get_object(Bucket=bucket, Key="k", **conditions)
        except s3.exceptions.ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    assert status(IfMatch=etag) == 200
    assert status(IfMatch=etag.strip('"')) == 200
    assert status(IfMatch='"other"') == 412
    assert status(IfNoneMatch=etag) == 304
    assert status(IfNoneMatch='"other"') == 200
    assert status(IfNoneMatch="*") == 304
    assert status(IfModifiedSince=modified) == 304
    assert status(IfModifiedSince=before) == 200
    assert status(IfUnmodifiedSince=before) == 412
    assert status(IfUnmodifiedSince=modified) == 200
    assert status(IfMatch=etag, IfUnmodifiedSince=before) == 200
    assert status(IfNoneMatch='"other"', IfModifiedSince=after) == 200
    assert status(IfNoneMatch=etag, IfModifiedSince=before) == 304
    assert status(IfMatch=etag, IfNoneMatch=etag) == 304


def test_conditional_writes(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    put = s3.put_object
    assert error_of(put, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert error_of(put, Bucket=bucket, Key="k", Body=b"2", IfMatch='"x"') == (412, "PreconditionFailed")
    assert error_of(put, Bucket=bucket, Key="absent", Body=b"2", IfMatch=etag) == (404, "NoSuchKey")
    put(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def test_checksums_come_only_when_asked_for_and_with_the_whole_object(
    origin: OriginProcess, s3: Any, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", ChecksumAlgorithm="SHA256")
    asked = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert asked["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"data").digest()).decode()
    ranged = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", Range="bytes=0-1")
    assert "ChecksumSHA256" not in ranged

    def do_not_ask(request: Any, **_: Any) -> None:
        del request.headers["x-amz-checksum-mode"]

    own = own_client_of(origin)
    own.meta.events.register("before-sign.s3.GetObject", do_not_ask)
    assert "ChecksumSHA256" not in own.get_object(Bucket=bucket, Key="k")


def test_response_overrides(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", ContentType="text/plain")
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="x/y", ResponseCacheControl="no-store")
    assert got["ContentType"] == "x/y"
    assert got["CacheControl"] == "no-store"
    assert s3.get_object(Bucket=bucket, Key="k")["ContentType"] == "text/plain"


def test_copies_keep_or_replace_what_they_are_told_to(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="a b", Body=b"data", ContentType="text/one", Metadata={"m": "1"})["ETag"]
    source = {"Bucket": bucket, "Key": "a b"}
    s3.copy_object(Bucket=bucket, Key="kept", CopySource=source)
    kept = s3.head_object(Bucket=bucket, Key="kept")
    assert (kept["ContentType"], kept["Metadata"], kept["ETag"]) == ("text/one", {"m": "1"}, etag)
    assert error_of(s3.copy_object, Bucket=bucket, Key="a b", CopySource=source) == (400, "InvalidRequest")
    s3.copy_object(Bucket=bucket, Key="a b", CopySource=source, MetadataDirective="REPLACE", ContentType="text/two")
    replaced = s3.head_object(Bucket=bucket, Key="a b")
    assert (replaced["ContentType"], replaced["Metadata"], replaced["ETag"]) == ("text/two", {}, etag)
    refused = {"Bucket": bucket, "Key": "c", "CopySource": source, "CopySourceIfMatch": '"x"'}
    assert error_of(s3.copy_object, **refused) == (412, "PreconditionFailed")
    assert error_of(s3.copy_object, Bucket=bucket, Key="c", CopySource=f"{bucket}/none") == (404, "NoSuchKey")


def test_delete_objects_deletes_decoded_keys(s3: Any, bucket: str) -> None:
    names = ["a%28b", "a(b", "ü&<>"]
    for name in names:
        s3.put_object(Bucket=bucket, Key=name, Body=b"x")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a(b"}, {"Key": "ü&<>"}, {"Key": "none"}]})
    assert {item["Key"] for item in answer["Deleted"]} == {"a(b", "ü&<>", "none"}
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a%28b"]


def test_synthetic_objects_flip_their_generation(origin: OriginProcess, s3: Any, bucket: str) -> None:
    size = 5 << 30
    made = origin.control.synthetic(bucket, "huge", size)
    assert made["etag"] == pattern_etag(b"huge", 1, size).decode()
    at = (4 << 30) + 12_345
    got = s3.get_object(Bucket=bucket, Key="huge", Range=f"bytes={at}-{at + 9999}")["Body"].read()
    assert got == pattern(b"huge", 1, at, 10_000)
    flipped = origin.control.flip(bucket, "huge", size=4000)
    assert flipped["generation"] == 2
    answer = s3.get_object(Bucket=bucket, Key="huge")
    assert answer["ETag"] == f'"{flipped["etag"]}"' != f'"{made["etag"]}"'
    assert answer["Body"].read() == pattern(b"huge", 2, 0, 4000)


def test_tagging_acl_and_unknown_sub_resources(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="a=1&b=c%20d")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b", "Value": "c d"},
    ]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "n", "Value": "<&>"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "n", "Value": "<&>"}]
    assert s3.head_object(Bucket=bucket, Key="k")["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"] == "1"
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    assert s3.get_object_acl(Bucket=bucket, Key="k")["Grants"][0]["Permission"] == "FULL_CONTROL"
    assert error_of(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (501, "NotImplemented")
    assert error_of(s3.get_object_retention, Bucket=bucket, Key="k") == (501, "NotImplemented")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_buckets_are_made_found_and_removed(s3: Any, bucket: str) -> None:
    assert bucket in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    s3.head_bucket(Bucket=bucket)
    assert error_of(s3.create_bucket, Bucket=bucket) == (409, "BucketAlreadyOwnedByYou")
    s3.put_object(Bucket=bucket, Key="k", Body=b"")
    assert error_of(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
    s3.delete_object(Bucket=bucket, Key="k")
    s3.delete_bucket(Bucket=bucket)
    assert error_of(s3.head_bucket, Bucket=bucket) == (404, "404")
    assert error_of(s3.list_objects_v2, Bucket=bucket) == (404, "NoSuchBucket")
    assert error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"") == (404, "NoSuchBucket")


def test_customer_encrypted_objects_need_their_key(origin: OriginProcess, s3: Any, bucket: str) -> None:
    own = own_client_of(origin)

    def header(value: str) -> Any:
        def add(request: Any, **_: Any) -> None:
            request.headers["x-amz-server-side-encryption-customer-algorithm"] = "AES256"
            request.headers["x-amz-server-side-encryption-customer-key-MD5"] = value

        return add

    own.meta.events.register("before-sign.s3.PutObject", header("digest-one"))
    own.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert error_of(own.get_object, Bucket=bucket, Key="k") == (400, "InvalidRequest")
    own.meta.events.register("before-sign.s3.GetObject", header("digest-two"), "right")
    assert error_of(own.get_object, Bucket=bucket, Key="k") == (403, "AccessDenied")
