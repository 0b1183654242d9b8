"""Whatever changes an object passes through unchanged, and the next read sees what it did.

In both modes: with a TTL of an hour, a write through the proxy ends at once what was cached of the object.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from tests.clients.sites import Site, status_of
from tests.clients.test_reads import some_bytes
from tests.clients.writes import COPIERS, DELETERS, KIB, MIB, WRITERS, Target, chunked_put

OLD = b"what the object was"
OTHER = b"what another object is" * 1000


@pytest.fixture
def target(fewer_sites: Site, tmp_path: Path) -> Target:
    """An object that is cached, and another to copy from."""
    site = fewer_sites
    bucket = site.new_bucket()
    site.direct.put_object(Bucket=bucket, Key="dir/key", Body=OLD)
    site.direct.put_object(Bucket=bucket, Key="other", Body=OTHER)
    made = Target(site, bucket, "dir/key", "other", tmp_path)
    for _ in range(2):
        assert site.through.get_object(**made.at)["Body"].read() == OLD
    return made


def assert_holds(target: Target, body: bytes) -> None:
    """Through the proxy and behind it the object is ``body``: HEAD, whole, a range, and once more."""
    client = target.boto3
    assert client.head_object(**target.at)["ContentLength"] == len(body)
    if len(body) > 100:
        part = client.get_object(**target.at, Range=f"bytes=50-{len(body) + 10}")
        assert part["Body"].read() == body[50:]
    for _ in range(2):
        assert client.get_object(**target.at)["Body"].read() == body
    assert target.site.direct.get_object(**target.at)["Body"].read() == body


@pytest.mark.parametrize("name", WRITERS)
def test_a_write_is_what_the_next_read_gets(target: Target, name: str) -> None:
    for size in (0, KIB, 11 * MIB + 7) if "parts" in name or "upload" in name or "stream" in name else (0, KIB, MIB):
        body = some_bytes(f"{name}{size}", size)
        WRITERS[name](target, body)
        assert_holds(target, body)


@pytest.mark.parametrize("name", COPIERS)
def test_a_copy_is_what_the_next_read_gets(target: Target, name: str) -> None:
    COPIERS[name](target)
    assert_holds(target, OTHER)


@pytest.mark.parametrize("name", DELETERS)
def test_what_was_deleted_is_gone(target: Target, name: str) -> None:
    DELETERS[name](target)
    assert status_of(target.boto3.get_object, **target.at) == 404
    assert status_of(target.boto3.head_object, **target.at) == 404
    assert status_of(target.boto3.get_object, Bucket=target.bucket, Key=target.other) == 200


def test_a_write_that_is_refused_changes_nothing(target: Target) -> None:
    site = target.site
    site.proxy.wait_until_stored()  # or the first fence keeps it from being stored
    refused = site.raw("PUT", f"/{target.bucket}/{target.key}", secret="wrong", body=b"forged")
    assert refused.status == 403
    refused = site.raw("DELETE", f"/{target.bucket}/{target.key}", secret="wrong")
    assert refused.status == 403
    before = site.moved(target.bucket)
    assert site.through.get_object(**target.at)["Body"].read() == OLD
    assert site.moved(target.bucket) == before, "a forged DELETE purged the object"


def test_a_wrong_checksum_in_a_trailer_is_refused_by_the_origin_and_changes_nothing(target: Target) -> None:
    """The trailer, which stands behind the last byte of the body, reaches the origin unchanged."""
    site, at = target.site, f"/{target.bucket}/{target.key}"
    assert chunked_put(site, at, b"new" * 1000, crc32=zlib.crc32(b"other")) == 400
    assert_holds(target, OLD)
    assert chunked_put(site, at, b"new" * 1000) == 200
    assert_holds(target, b"new" * 1000)


def test_lists_are_never_old(target: Target) -> None:
    """V1 and V2, in pages, with keys that need encoding, right after each change."""
    client, bucket = target.boto3, target.bucket
    keys = {"dir/key", "other"}

    def listed() -> list[set[str]]:
        found = []
        for operation in ("list_objects_v2", "list_objects"):
            pages = client.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
            found.append({item["Key"] for page in pages for item in page.get("Contents", ())})
        return found

    assert listed() == [keys, keys]
    for key in ("a b+c(1)", "ü/日本", "%28", ".hidden"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
        keys.add(key)
        assert listed() == [keys, keys]
    client.delete_object(Bucket=bucket, Key="%28")
    keys.remove("%28")
    assert listed() == [keys, keys]


def test_a_bucket_that_is_deleted_and_made_again_is_empty(target: Target) -> None:
    client = target.boto3
    client.delete_objects(Bucket=target.bucket, Delete={"Objects": [{"Key": target.key}, {"Key": target.other}]})
    client.delete_bucket(Bucket=target.bucket)
    assert status_of(client.get_object, **target.at) == 404
    client.create_bucket(Bucket=target.bucket)
    assert status_of(client.head_bucket, Bucket=target.bucket) == 200
    assert status_of(client.get_object, **target.at) == 404


def test_tags_and_access_lists_pass_and_leave_the_content(own_site: Site) -> None:
    bucket = own_site.new_bucket()
    client, at = own_site.through, {"Bucket": bucket, "Key": "k"}
    client.put_object(**at, Body=OLD)
    assert client.get_object(**at)["Body"].read() == OLD
    for value in ("1", "2"):
        client.put_object_tagging(**at, Tagging={"TagSet": [{"Key": "t", "Value": value}]})
        assert client.get_object_tagging(**at)["TagSet"] == [{"Key": "t", "Value": value}]
        assert client.get_object(**at)["Body"].read() == OLD
    client.delete_object_tagging(**at)
    assert client.get_object_tagging(**at)["TagSet"] == []
    assert client.get_object(**at)["Body"].read() == OLD
    assert client.get_object_acl(**at)["Grants"]


def test_a_new_content_type_for_the_same_bytes_is_seen(site: Site) -> None:
    """The ETag stays, the headers do not: written behind the proxy's back they are seen in `revalidate`, through it in
    both modes."""
    bucket = site.new_bucket()
    at = {"Bucket": bucket, "Key": "k"}
    site.direct.put_object(**at, Body=OLD, ContentType="text/one")
    assert site.through.get_object(**at)["ContentType"] == "text/one"
    site.through.copy_object(
        **at, CopySource=at, ContentType="text/two", MetadataDirective="REPLACE", Metadata={"new": "yes"}
    )
    got = site.through.get_object(**at)
    assert (got["ContentType"], got["Metadata"], got["Body"].read()) == ("text/two", {"new": "yes"}, OLD)
