"""Listings in pages, with prefixes, delimiters, versions and markers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.origin.accounts import client_of, error_of

from fastcache.origin.process import OriginProcess

KEYS = sorted(["a", "a/1", "a/2", "a/b/3", "b", "c d", "c+d", "ü/x", "z/1", "z/2", "~"], key=str.encode)


@pytest.fixture
def listed(origin: OriginProcess, s3: Any, bucket: str) -> Any:
    origin.control.synthetic(bucket, KEYS, 10)
    return s3


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_pages_join_to_the_sorted_keys(listed: Any, bucket: str, operation: str, page_size: int) -> None:
    pages = listed.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": page_size})
    assert [item["Key"] for page in pages for item in page.get("Contents", [])] == KEYS


@pytest.mark.parametrize("page_size", [1, 2, 1000])
@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
def test_delimiters_fold_what_is_below_them(listed: Any, bucket: str, operation: str, page_size: int) -> None:
    paginate = listed.get_paginator(operation).paginate

    def walk(prefix: str) -> tuple[list[str], list[str]]:
        pages = list(paginate(Bucket=bucket, Prefix=prefix, Delimiter="/", PaginationConfig={"PageSize": page_size}))
        keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
        return keys, [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]

    assert walk("") == ([key for key in KEYS if "/" not in key], ["a/", "z/", "ü/"])
    assert walk("a/") == (["a/1", "a/2"], ["a/b/"])
    assert walk("none") == ([], [])


def test_start_after_and_owner(listed: Any, bucket: str) -> None:
    page = listed.list_objects_v2(Bucket=bucket, StartAfter="b", MaxKeys=2, FetchOwner=True)
    assert [item["Key"] for item in page["Contents"]] == ["c d", "c+d"]
    assert page["KeyCount"] == 2
    assert page["Contents"][0]["Owner"]["ID"]
    assert page["Contents"][0]["Size"] == 10
    assert error_of(listed.list_objects_v2, Bucket=bucket, ContinuationToken="!") == (400, "InvalidArgument")


def test_versions_and_delete_markers(aws: OriginProcess, bucket: str) -> None:
    s3 = client_of(aws)
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"null version")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"first")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"second")["VersionId"]
    assert s3.get_object(Bucket=bucket, Key="k")["VersionId"] == second
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"first"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"null version"
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    with pytest.raises(s3.exceptions.NoSuchKey) as caught:
        s3.get_object(Bucket=bucket, Key="k")
    headers = caught.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amz-delete-marker"] == "true"
    assert headers["x-amz-version-id"] == marker["VersionId"]
    named = {"Bucket": bucket, "Key": "k", "VersionId": marker["VersionId"]}
    assert error_of(s3.get_object, **named) == (405, "MethodNotAllowed")
    assert error_of(s3.get_object, Bucket=bucket, Key="k", VersionId="none") == (404, "NoSuchVersion")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1})
    found = [(item["VersionId"], item["IsLatest"]) for page in pages for item in page.get("Versions", [])]
    assert found == [(second, False), (first, False), ("null", False)]
    assert s3.list_object_versions(Bucket=bucket)["DeleteMarkers"][0]["IsLatest"]
    s3.delete_object(**named)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"second"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"new null")["VersionId"] == "null"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId="null")["Body"].read() == b"new null"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=second)["Body"].read() == b"second"
