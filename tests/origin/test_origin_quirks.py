"""AWS's oddities: present with --quirks aws, absent without where other servers differ."""

from __future__ import annotations

from typing import Any

import pytest
from tests.harness.raw import RawResponse, exchange
from tests.harness.signing import signed_request
from tests.origin.accounts import client_of

from fastcache.origin.process import OriginProcess


def get(origin: OriginProcess, path: str, host: str | None = None, *fields: tuple[str, str]) -> RawResponse:
    endpoint = f"http://{host}" if host else origin.endpoint
    raw = signed_request("GET", endpoint + path, origin.access_key, origin.secret_key, signed=fields)
    return exchange(origin.endpoint, raw)


@pytest.mark.parametrize("host", ["evil.store", "evil.store:8080", "EVIL.store."])
def test_an_unknown_host_is_the_bucket(aws: OriginProcess, host: str) -> None:
    aws.control.put("evil.store", "victim/k", b"evil")
    aws.control.put("victim", "k", b"victim")
    assert get(aws, "/victim/k", host).body == b"evil"
    for known in (None, "localhost", "localhost:1234", "127.0.0.1", "[::1]:80", "10.0.0.1:9"):
        assert get(aws, "/victim/k", known).body == b"victim"


def test_an_unknown_host_is_path_style_elsewhere(origin: OriginProcess) -> None:
    origin.control.put("evil.store", "victim/k", b"evil")
    origin.control.put("victim", "k", b"victim")
    assert get(origin, "/victim/k", "evil.store").body == b"victim"
    assert get(origin, "/k", "victim.s3.test").body == b"victim"
    assert get(origin, "/victim/k", "s3.test").body == b"victim"


def test_a_raw_plus_is_a_space_at_aws_and_a_plus_elsewhere(
    aws: OriginProcess, anyone: OriginProcess, bucket: str
) -> None:
    for origin in (aws, anyone):
        origin.control.bucket(bucket, public_read=True)
        origin.control.put(bucket, "a b", b"space")
        origin.control.put(bucket, "a+b", b"plus")
        for spelled, body in (("a%20b", b"space"), ("a%2Bb", b"plus"), ("a+b", b"space" if origin is aws else b"plus")):
            raw = f"GET /{bucket}/{spelled} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            assert exchange(origin.endpoint, raw).body == body


def fields_of_304(origin: OriginProcess, bucket: str) -> set[bytes]:
    made = origin.control.put(bucket, "k", b"x", headers={"Cache-Control": "max-age=5", "Content-Type": "a/b"})
    answer = get(origin, f"/{bucket}/k", None, ("If-None-Match", f'"{made["etag"]}"'))
    assert answer.status == 304
    plumbing = {b"date", b"server", b"x-amz-request-id", b"x-amz-id-2"}
    return {name.lower() for name, _ in answer.headers} - plumbing


def test_a_304_carries_only_etag_and_last_modified(aws: OriginProcess, origin: OriginProcess, bucket: str) -> None:
    assert fields_of_304(aws, bucket) == {b"etag", b"last-modified"}
    assert fields_of_304(origin, bucket) == {b"etag", b"last-modified", b"cache-control"}


def test_encryption_is_told_with_every_read(aws: OriginProcess, bucket: str) -> None:
    s3 = client_of(aws)
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="kms", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId="arn:key")
    s3.put_object(Bucket=bucket, Key="plain", Body=b"x")
    head = s3.head_object(Bucket=bucket, Key="kms")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "arn:key")
    assert s3.get_object(Bucket=bucket, Key="plain")["ServerSideEncryption"] == "AES256"


def test_part_aligned_ranges_carry_the_parts_checksum(aws: OriginProcess, origin: OriginProcess, bucket: str) -> None:
    part = 5 << 20

    def checksum(server: OriginProcess) -> Any:
        s3 = client_of(server)
        s3.create_bucket(Bucket=bucket)
        named = {"Bucket": bucket, "Key": "k"}
        upload = s3.create_multipart_upload(**named, ChecksumAlgorithm="CRC32")["UploadId"]
        parts = []
        for number, data in ((1, b"a" * part), (2, b"tail")):
            done = s3.upload_part(**named, UploadId=upload, PartNumber=number, Body=data, ChecksumAlgorithm="CRC32")
            parts.append({"PartNumber": number, "ETag": done["ETag"], "ChecksumCRC32": done["ChecksumCRC32"]})
        s3.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": parts})
        mode = ("x-amz-checksum-mode", "ENABLED")
        aligned = get(server, f"/{bucket}/k", None, ("Range", f"bytes={part}-"), mode).get(b"x-amz-checksum-crc32")
        askew = get(server, f"/{bucket}/k", None, ("Range", f"bytes={part}-{part + 1}"), mode)
        assert askew.get(b"x-amz-checksum-crc32") is None
        return aligned and aligned.decode() == parts[1]["ChecksumCRC32"]

    assert checksum(aws) is True
    assert checksum(origin) is None
