"""Multipart uploads: parts, copies of parts, refusals, and part-wise reads."""

from __future__ import annotations

import base64
import hashlib
import io
import zlib
from typing import Any

from boto3.s3.transfer import TransferConfig
from tests.origin.accounts import client_of, error_of

from fastcache.origin.pattern import pattern
from fastcache.origin.process import OriginProcess

PART = 5 << 20


def upload(s3: Any, bucket: str, key: str, parts: list[bytes], **settings: Any) -> dict[str, Any]:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key=key, **settings)["UploadId"]
    done = []
    for number, data in enumerate(parts, 1):
        part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data)
        names = ("ETag", "ChecksumCRC32")
        done.append({"PartNumber": number, **{name: part[name] for name in names if name in part}})
    answer: dict[str, Any] = s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": done}
    )
    return answer


def test_an_upload_is_the_parts_in_order(s3: Any, bucket: str) -> None:
    parts = [b"a" * PART, b"b" * PART, b"tail"]
    answer = upload(s3, bucket, "k", parts, ContentType="text/x", Metadata={"m": "1"})
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert answer["ETag"] == f'"{digest}-3"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(parts)
    assert (got["ContentType"], got["Metadata"]) == ("text/x", {"m": "1"})
    ranged = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={PART - 2}-{PART + 1}")
    assert ranged["Body"].read() == b"aabb"


def test_part_number_reads_one_part(aws: OriginProcess, bucket: str) -> None:
    s3 = client_of(aws)
    s3.create_bucket(Bucket=bucket)
    upload(s3, bucket, "k", [b"a" * PART, b"tail"], ChecksumAlgorithm="CRC32")
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=2)
    assert got["Body"].read() == b"tail"
    assert got["ContentRange"] == f"bytes {PART}-{PART + 3}/{PART + 4}"
    assert got["PartsCount"] == 2
    assert s3.head_object(Bucket=bucket, Key="k", PartNumber=1)["ContentLength"] == PART
    assert error_of(s3.get_object, Bucket=bucket, Key="k", PartNumber=3) == (416, "InvalidPartNumber")
    both = {"Bucket": bucket, "Key": "k", "PartNumber": 1, "Range": "bytes=0-1"}
    assert error_of(s3.get_object, **both) == (400, "InvalidRequest")
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=2, ChecksumMode="ENABLED")
    whole = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert whole["ChecksumCRC32"].endswith("-2")
    assert whole["ChecksumType"] == "COMPOSITE"
    assert part["ChecksumCRC32"] == base64.b64encode(zlib.crc32(b"tail").to_bytes(4, "big")).decode()
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == b"a" * PART + b"tail"


def test_completion_refuses_what_does_not_fit(s3: Any, bucket: str) -> None:
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload_id}
    etags = [s3.upload_part(**named, PartNumber=number, Body=b"small%d" % number)["ETag"] for number in (1, 2)]
    one, two = ({"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1))

    def refusal(*parts: dict[str, Any]) -> str:
        return error_of(s3.complete_multipart_upload, **named, MultipartUpload={"Parts": list(parts)})[1]

    assert refusal(two, one) == "InvalidPartOrder"
    assert refusal(one, two) == "EntityTooSmall"
    assert refusal({"PartNumber": 1, "ETag": etags[1]}) == "InvalidPart"
    assert refusal({"PartNumber": 3, "ETag": etags[1]}) == "InvalidPart"
    assert [part["Size"] for part in s3.list_parts(**named)["Parts"]] == [6, 6]
    assert [item["UploadId"] for item in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload_id]
    assert error_of(s3.head_object, Bucket=bucket, Key="k")[0] == 404
    s3.abort_multipart_upload(**named)
    assert error_of(s3.list_parts, **named) == (404, "NoSuchUpload")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_parts_are_copied_from_ranges(origin: OriginProcess, s3: Any, bucket: str) -> None:
    origin.control.synthetic(bucket, "source", 3 * PART)
    upload_id = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    named = {"Bucket": bucket, "Key": "k", "UploadId": upload_id, "CopySource": f"{bucket}/source"}
    done = []
    for number, (start, end) in enumerate([(1, PART + 1), (0, 10)], 1):
        copied = s3.upload_part_copy(**named, PartNumber=number, CopySourceRange=f"bytes={start}-{end - 1}")
        done.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
    outside = error_of(s3.upload_part_copy, **named, PartNumber=3, CopySourceRange=f"bytes=0-{3 * PART}")
    assert outside == (400, "InvalidArgument")
    del named["CopySource"]
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": done})
    expected = pattern(b"source", 1, 1, PART) + pattern(b"source", 1, 0, 10)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == expected


def test_boto3s_own_transfers_round_trip(s3: Any, bucket: str) -> None:
    data = pattern(b"any", 1, 0, 20 << 20)
    settings = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)
    s3.upload_fileobj(io.BytesIO(data), bucket, "k", Config=settings)
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-3"')
    got = io.BytesIO()
    s3.download_fileobj(bucket, "k", got, Config=settings)
    assert got.getvalue() == data


def test_completion_at_aws_begins_before_it_is_known_how_it_ends(aws: OriginProcess, bucket: str) -> None:
    s3 = client_of(aws)
    s3.create_bucket(Bucket=bucket)
    aws.control.settings(complete_seconds=0.3)
    try:
        assert upload(s3, bucket, "k", [b"data"])["ETag"].endswith('-1"')
        aws.control.fault("late-error", method="POST", params="uploadId", bucket=bucket, seconds=0.1)
        upload_id = s3.create_multipart_upload(Bucket=bucket, Key="l")["UploadId"]
        named = {"Bucket": bucket, "Key": "l", "UploadId": upload_id}
        etag = s3.upload_part(**named, PartNumber=1, Body=b"data")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        assert error_of(s3.complete_multipart_upload, **named, MultipartUpload=parts)[1] == "InternalError"
        assert error_of(s3.head_object, Bucket=bucket, Key="l")[0] == 404
    finally:
        aws.control.settings(complete_seconds=0)
