"""Everything that may change an object names what is fenced, or raises its bucket (SEMANTICS 1, 5, 30)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.policy.heads import classified, identity, read_of, unsafe

from fastcache.errors import RequestError
from fastcache.policy.read_request import ReadRequest
from fastcache.policy.request_class import UnsafeRequest, written_identities

CURRENT = identity(b"bucket", b"key")
NULL = identity(b"bucket", b"key", b"null")


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        (b"PUT", ()),
        (b"PUT", (b"Content-Length: 99999999999",)),
        (b"PUT", (b"Transfer-Encoding: chunked",)),
        (b"PUT", (b"x-amz-copy-source: /other/key",)),
        (b"PUT", (b"x-amz-write-offset-bytes: 5",)),
        (b"PUT", (b"x-amz-server-side-encryption-customer-algorithm: AES256",)),
        (b"DELETE", ()),
    ],
)
def test_every_write_fences_its_object_whatever_becomes_of_its_caching(
    method: bytes, fields: tuple[bytes, ...]
) -> None:
    """PITFALLS: uploads that bypassed the cache left the old object to be served for years."""
    found = unsafe(*fields, method=method)
    assert found == UnsafeRequest((CURRENT, NULL), None, replaces_object=True)


def test_a_write_replaces_the_null_version_too() -> None:
    """SEMANTICS 5: null is mutable; without versioning it is the version that the write overwrites."""
    assert read_of(target=b"/bucket/key?versionId=null").object_id in unsafe().object_ids


@pytest.mark.parametrize(
    "query",
    [
        b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k&X-Amz-Date=d&X-Amz-Expires=9&X-Amz-SignedHeaders=host"
        b"&X-Amz-Signature=0",
        b"AWSAccessKeyId=k&Signature=s&Expires=1",
        b"x-id=PutObject",
        b"unknown",
        b"a=%zz",
    ],
)
def test_no_query_hides_a_write_from_the_fence(query: bytes) -> None:
    """PITFALLS: presigned uploads."""
    found = unsafe(target=b"/bucket/key?" + query)
    assert CURRENT in found.object_ids
    assert found.replaces_object


@pytest.mark.parametrize("method", [b"DELETE", b"PUT"])
def test_a_write_to_a_version_fences_it_and_the_current_one(method: bytes) -> None:
    """SEMANTICS 5: deleting the newest version, or a delete marker, changes what is current."""
    found = unsafe(method=method, target=b"/bucket/key?versionId=abc")
    assert set(found.object_ids) == {CURRENT, NULL, identity(b"bucket", b"key", b"abc")}


def test_a_write_with_two_versions_fences_both() -> None:
    """SEMANTICS 5: which of them a server takes is its own affair."""
    found = unsafe(method=b"DELETE", target=b"/bucket/key?versionId=a&versionId=b")
    assert {identity(b"bucket", b"key", v) for v in (None, b"a", b"b")} <= set(found.object_ids)


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        (b"/bucket/a+b", {b"a+b", b"a b"}),
        (b"/bucket/a%2", {b"a%2"}),
        (b"/bucket/%41%zz", {b"A%zz", b"%41%zz"}),
        (b"/bucket/%28", {b"("}),
        (b"/bucket%2Fkey", {b"key"}),
        (b"/bucket%2Fa%2Fb", {b"a/b"}),
    ],
)
def test_a_write_to_an_ambiguous_path_fences_every_reading(target: bytes, keys: set[bytes]) -> None:
    """SEMANTICS 1."""
    found = unsafe(target=target)
    assert {identity(b"bucket", key) for key in keys} <= set(found.object_ids)


def test_a_write_with_another_escaping_fences_the_entry_that_reads_made() -> None:
    """SEMANTICS, tests that catch the worst: warm with %28, DELETE with a parenthesis."""
    assert read_of(target=b"/bucket/%28x%29").object_id in unsafe(method=b"DELETE", target=b"/bucket/(x)").object_ids
    virtual = unsafe(target=b"/key", host=b"bucket.s3.example.com")
    assert read_of().object_id in virtual.object_ids


@given(st.text(st.characters(codec="ascii", min_codepoint=0x21, exclude_characters="#?"), max_size=12))
def test_whatever_a_read_is_filed_under_a_write_to_the_same_target_fences(text: str) -> None:
    """P-03: one target, one identity, for reads and writes alike."""
    target = b"/bucket/k" + text.encode()
    try:
        read = classified(target=target)
    except RequestError:
        return
    for method in (b"PUT", b"DELETE"):
        written = unsafe(method=method, target=target)
        if isinstance(read, ReadRequest):
            assert read.object_id in written.object_ids
        else:
            assert len(written.object_ids) >= 2


@pytest.mark.parametrize(
    ("method", "query", "replaces"),
    [
        (b"PUT", b"tagging", False),
        (b"DELETE", b"tagging", False),
        (b"PUT", b"acl", False),
        (b"PUT", b"retention", False),
        (b"PUT", b"legal-hold", False),
        (b"POST", b"restore", False),
        (b"POST", b"select&select-type=2", False),
        (b"POST", b"uploads", False),
        (b"PUT", b"partNumber=1&uploadId=u", False),
        (b"DELETE", b"uploadId=u", False),
        (b"POST", b"uploadId=u", True),
        (b"PUT", b"", True),
        (b"DELETE", b"versionId=a", True),
    ],
)
def test_extents_survive_what_does_not_touch_the_content(method: bytes, query: bytes, replaces: bool) -> None:
    """SEMANTICS 30: fenced all the same, so the head must be proven again."""
    found = unsafe(method=method, target=b"/bucket/key?" + query)
    assert found.replaces_object is replaces
    assert CURRENT in found.object_ids
    assert found.bucket is None


@pytest.mark.parametrize("target", [b"/bucket?delete", b"/bucket/?delete", b"/bucket?delete=&x-id=DeleteObjects"])
def test_delete_objects_names_its_keys_in_its_body(target: bytes) -> None:
    assert unsafe(method=b"POST", target=target) == UnsafeRequest((), b"bucket", deletes_named_in_body=True)


def test_delete_objects_by_a_virtual_hosted_name_is_the_same() -> None:
    found = unsafe(method=b"POST", target=b"/?delete", host=b"bucket.s3.example.com")
    assert found == UnsafeRequest((), b"bucket", deletes_named_in_body=True)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"POST", b"/bucket"),
        (b"POST", b"/bucket/"),
        (b"POST", b"/bucket?Delete"),
        (b"POST", b"/bucket/folder/"),
        (b"POST", b"/bucket/key"),
        (b"PUT", b"/bucket"),
        (b"DELETE", b"/bucket"),
        (b"PUT", b"/bucket?versioning"),
        (b"PUT", b"/bucket/new?renameObject"),
        (b"MOVE", b"/bucket/key"),
        (b"COPY", b"/bucket/key"),
        (b"PATCH", b"/bucket/key"),
    ],
)
def test_what_cannot_be_named_raises_the_bucket(method: bytes, target: bytes) -> None:
    """SEMANTICS 30: bucket writes, forms, RenameObject; and methods that S3 does not know."""
    found = unsafe(method=method, target=target)
    assert found.bucket == b"bucket"
    assert not found.deletes_named_in_body


def test_a_rename_is_known_by_its_source_as_a_field_or_in_a_presigned_query() -> None:
    """SEMANTICS 30: RenameObject fences both names."""
    assert unsafe(b"x-amz-rename-source: /bucket/old", target=b"/bucket/new").bucket == b"bucket"
    assert unsafe(target=b"/bucket/new?X-Amz-Rename-Source=%2Fbucket%2Fold").bucket == b"bucket"


def test_a_write_to_the_service_touches_no_object() -> None:
    assert unsafe(method=b"POST", target=b"/?Action=x") == UnsafeRequest((), None)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_no_read_raises_a_fence(method: bytes) -> None:
    for query in (b"", b"?acl", b"?uploadId=u", b"?versionId=a"):
        assert not isinstance(classified(method=method, target=b"/bucket/key" + query), UnsafeRequest)


def test_keys_named_in_a_body_have_the_same_identities_as_those_of_a_path() -> None:
    """SEMANTICS 1: DeleteObjects and forms carry decoded keys."""
    found = written_identities(b"bucket", (b"(a)", b"b"), (b"v",), identity)
    assert set(found) == {identity(b"bucket", key, v) for key in (b"(a)", b"b") for v in (None, b"null", b"v")}
    assert len(found) == 6
    assert read_of(target=b"/bucket/%28a%29").object_id in found
