"""What each request needs to be allowed, and that nothing can be asked for under another name."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import botocore.session
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.heads import ADDRESSING, HOST

from fastcache.policy import operations
from fastcache.policy.access import (
    AccessKey,
    Action,
    AllowRule,
    KeySet,
    Need,
    needs_of,
    needs_of_deletes,
    operation_of,
)
from fastcache.protocol.requests import RequestHead, parse_request_head
from fastcache.protocol.targets import S3Target, parse_target

READ, WRITE, LIST, DELETE, ADMIN = Action


def request(line: str | bytes, *fields: str | bytes, host: bytes = HOST) -> tuple[RequestHead, S3Target]:
    """``line`` is method and target."""
    parts = [part.encode() if isinstance(part, str) else part for part in (line, *fields)]
    raw = b"\r\n".join((parts[0] + b" HTTP/1.1", b"Host: " + host, *parts[1:], b"", b""))
    head = parse_request_head(raw)
    return head, parse_target(head, ADDRESSING)


def needs(line: str | bytes, *fields: str | bytes, host: bytes = HOST) -> set[Need] | None:
    found = needs_of(*request(line, *fields, host=host))
    return None if found is None else set(found)


def need(action: Action, key: str | bytes | None, bucket: bytes | None = b"bucket") -> Need:
    return Need(action, bucket, key.encode() if isinstance(key, str) else key)


OBJECT_REQUESTS = [
    ("GET /bucket/key", READ),
    ("GET /bucket/key?x-id=GetObject", READ),
    ("GET /bucket/key?versionId=v&partNumber=3", READ),
    ("GET /bucket/key?response-content-type=text%2Fplain", READ),
    ("HEAD /bucket/key", READ),
    ("GET /bucket/key?acl", READ),
    ("GET /bucket/key?attributes&versionId=v", READ),
    ("GET /bucket/key?legal-hold", READ),
    ("GET /bucket/key?retention", READ),
    ("GET /bucket/key?tagging", READ),
    ("GET /bucket/key?torrent", READ),
    ("POST /bucket/key?select&select-type=2", READ),
    ("PUT /bucket/key", WRITE),
    ("PUT /bucket/key?x-id=PutObject", WRITE),
    ("PUT /bucket/key?tagging&versionId=v", WRITE),
    ("DELETE /bucket/key?tagging", WRITE),
    ("POST /bucket/key?uploads", WRITE),
    ("POST /bucket/key?uploads=", WRITE),
    ("PUT /bucket/key?partNumber=1&uploadId=u", WRITE),
    ("POST /bucket/key?uploadId=u", WRITE),
    ("DELETE /bucket/key?uploadId=u", WRITE),
    ("GET /bucket/key?uploadId=u&max-parts=5", WRITE),
    ("DELETE /bucket/key", DELETE),
    ("DELETE /bucket/key?versionId=v", DELETE),
    ("PUT /bucket/key?acl", ADMIN),
    ("PUT /bucket/key?legal-hold", ADMIN),
    ("PUT /bucket/key?retention", ADMIN),
    ("POST /bucket/key?restore", ADMIN),
]
BUCKET_REQUESTS = [
    ("PUT /bucket", ADMIN),
    ("DELETE /bucket", ADMIN),
    ("GET /bucket?session", ADMIN),
    *((f"GET /bucket?{name}", ADMIN) for name in ("acl", "cors", "encryption", "inventory", "lifecycle", "logging")),
    *((f"GET /bucket?{name}", ADMIN) for name in ("notification", "object-lock", "policy", "replication", "tagging")),
    *((f"GET /bucket?{name}", ADMIN) for name in ("publicAccessBlock", "requestPayment", "versioning", "website")),
    ("PUT /bucket?cors", ADMIN),
    ("DELETE /bucket?policy", ADMIN),
    ("PUT /bucket?inventory&id=x", ADMIN),
    ("HEAD /bucket", LIST),
    ("HEAD /bucket/", LIST),
    ("GET /bucket?location", LIST),
    ("GET /bucket/?location", LIST),
    ("POST /bucket?delete", DELETE),
]


@pytest.mark.parametrize(("line", "action"), OBJECT_REQUESTS)
def test_what_an_operation_on_an_object_needs(line: str, action: Action) -> None:
    assert needs(line) == {need(action, "key")}


@pytest.mark.parametrize(("line", "action"), BUCKET_REQUESTS)
def test_what_an_operation_on_a_bucket_needs(line: str, action: Action) -> None:
    assert needs(line) == {need(action, None)}


@pytest.mark.parametrize(
    ("line", "prefix"),
    [
        ("GET /bucket", ""),
        ("GET /bucket/", ""),
        ("GET /bucket?prefix=", ""),
        ("GET /bucket?prefix", ""),
        ("GET /bucket?prefix=data%2F&delimiter=%2F&marker=x", "data/"),
        ("GET /bucket?list-type=2", ""),
        ("GET /bucket?list-type=2&prefix=data/&start-after=z", "data/"),
        ("GET /bucket?versions&prefix=data/", "data/"),
        ("GET /bucket?uploads&prefix=data/", "data/"),
        ("GET /bucket?uploads", ""),
    ],
)
def test_a_list_needs_its_prefix(line: str, prefix: str) -> None:
    assert needs(line) == {need(LIST, prefix)}


def test_the_service_is_listed_and_nothing_else_is_done_with_it() -> None:
    assert needs("GET /") == {Need(LIST, None, None)}
    for line in ("GET /?acl", "PUT /", "POST /", "DELETE /", "HEAD /", "POST /?Action=AssumeRole", "OPTIONS *"):
        assert needs(line) is None


def test_a_virtual_hosted_name_needs_what_its_path_needs() -> None:
    host = b"bucket.s3.example.com"
    assert needs("GET /key", host=host) == {need(READ, "key")}
    assert needs("GET /?list-type=2&prefix=a/", host=host) == {need(LIST, "a/")}
    assert needs("PUT /", host=host) == {need(ADMIN, None)}
    assert needs("GET /bucket/key", host=host) == {need(READ, "bucket/key")}


@pytest.mark.parametrize(
    "line",
    [
        "GET /bucket/key?frobnicate",
        "GET /bucket/key?Acl",
        "GET /bucket/key?acl&tagging",
        "GET /bucket/key?acl&acl",
        "GET /bucket/key?prefix=x",
        "GET /bucket/key?uploadId=",
        "GET /bucket/key?uploadId",
        "GET /bucket/key?versionId=a&versionId=b",
        "GET /bucket/key?partNumber=1;versionId=b",
        "GET /bucket/key?%zz",
        "GET /bucket/key?AWSAccessKeyId=AK&Signature=s&Expires=1",
        "GET /bucket/key?X-Amz-Copy-Frobnicate=x",
        "GET /bucket/key?x-id=PutObject",
        "GET /bucket/key?multipart-manifest=get",
        "GET /bucket/key?temp_url_sig=x",
        "PUT /bucket/key?versionId=v",
        "PUT /bucket/key?append&position=1",
        "PUT /bucket/key?delete",
        "POST /bucket/key",
        "POST /bucket/key?delete",
        "POST /bucket",
        "POST /bucket?uploads",
        "PATCH /bucket/key",
        "OPTIONS /bucket/key",
        "MOVE /bucket/key",
        "GET /bucket?list-type=1",
        "GET /bucket?list-type=2&prefix=a/&prefix=",
        "GET /bucket?list-type=2&prefix=a/&Prefix=",
        "GET /bucket?list-type=2&prefix=a/;prefix=",
        "GET /bucket?prefix=%zz",
        "GET /bucket?metadata=true&list-type=2",
        "GET /bucket?frobnicate",
        "POST /bucket?delete&frobnicate",
        "GET /bucket?delete",
        "HEAD /bucket?acl",
        "GET /bucket%2Fkey",
        "DELETE /bucket%2fkey",
        "GET /b%75cket/key",
        "GET /buck+et/key",
        "GET /../key",
        "GET /./key",
        "GET /a..b/key",
        "GET /bucket/%zz",
        "GET /bucket/..",
        "GET /bucket/../other/key",
        "GET /bucket/a/../../other/key",
        "GET /bucket/%2e%2e/other/key",
        "DELETE /bucket//",
        "DELETE /bucket/.",
        "DELETE /bucket/a/..",
    ],
)
def test_what_is_unknown_or_unclear_is_refused(line: str) -> None:
    assert needs(line) is None


@pytest.mark.parametrize(
    "field",
    [
        "x-amz-frobnicate: 1",
        "x-amz-copy-sources: /other/key",
        "X-Copy-From: /other/key",
        "X-Symlink-Target: other/key",
        "X-Object-Manifest: other/prefix",
        "X-Auth-Token: t",
        "x-goog-copy-source: other/key",
        "x-oss-copy-source: /other/key",
        "x-minio-source-etag: x",
        "X-HTTP-Method-Override: DELETE",
        "X-Original-URL: /other/key",
        "x-amz-rename-source: other",
    ],
)
def test_a_field_that_may_mean_anything_is_refused(field: str) -> None:
    assert needs("PUT /bucket/key") == {need(WRITE, "key")}
    assert needs("PUT /bucket/key", field) is None


@pytest.mark.parametrize(
    "field",
    [
        "x-amz-meta-anything: /other/key",
        "x-amz-checksum-crc64nvme: AAAA",
        "x-amz-server-side-encryption-customer-key: k",
        "x-amz-tagging: a=b",
        "x-amz-storage-class: GLACIER",
        "X-Forwarded-For: 10.0.0.1",
        "X-Original-URI: /x",
        "X-Amzn-Trace-Id: x",
        "amz-sdk-invocation-id: x",
        "x-amz-acl: private",
        "x-amz-acl: bucket-owner-full-control",
    ],
)
def test_what_clients_and_those_between_add_needs_nothing_more(field: str) -> None:
    assert needs("PUT /bucket/key", field) == {need(WRITE, "key")}


@pytest.mark.parametrize(
    "field",
    [
        "x-amz-acl: public-read",
        "x-amz-acl: authenticated-read",
        "x-amz-acl: something-new",
        "x-amz-grant-read: uri=x",
        "x-amz-grant-full-control: id=x",
        "x-amz-object-lock-mode: COMPLIANCE",
        "x-amz-bypass-governance-retention: true",
    ],
)
@pytest.mark.parametrize(
    ("line", "action"),
    [("PUT /bucket/key", WRITE), ("POST /bucket/key?uploads", WRITE), ("DELETE /bucket/key", DELETE)],
)
def test_who_opens_or_locks_an_object_on_the_way_needs_to_be_its_admin(line: str, action: Action, field: str) -> None:
    assert needs(line, field) == {need(action, "key"), need(ADMIN, "key")}


def test_fields_moved_into_a_presigned_query_count_like_fields() -> None:
    presigned = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=c&X-Amz-Signature=s"
    assert needs(f"PUT /bucket/key?{presigned}") == {need(WRITE, "key")}
    assert needs(f"PUT /bucket/key?{presigned}&x-amz-acl=public-read") == {need(WRITE, "key"), need(ADMIN, "key")}
    copied = needs(f"PUT /bucket/key?{presigned}&X-Amz-Copy-Source=%2Fother%2Fsource")
    assert copied == {need(WRITE, "key"), need(READ, "source", b"other")}
    assert needs(f"PUT /bucket/key?{presigned}&X-Amz-Copy-Source=/a/b", "x-amz-copy-source: /bucket/key") is None


@pytest.mark.parametrize("line", ["PUT /bucket/key", "PUT /bucket/key?partNumber=1&uploadId=u"])
@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("other/source", {"source"}),
        ("/other/source", {"source"}),
        ("%2Fother%2Fsource", {"source"}),
        ("other%2Fa%2Fb", {"a/b"}),
        ("other/a%20b?versionId=3HL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY", {"a b"}),
        ("other/source?versionId=null", {"source"}),
        ("other/a+b", {"a+b", "a b"}),
        ("other/a%2Bb", {"a+b"}),
        ("other/a%252Bb", {"a%2Bb", "a+b"}),
        ("other/a//b", {"a//b", "a/b"}),
        ("other/public/../private", {"public/../private", "private"}),
        ("other/caf%C3%A9", {"caf\u00e9"}),
        ("other/what%3Fnow", {"what?now"}),
    ],
)
def test_a_copy_needs_to_read_its_source_in_every_way_it_can_be_read(line: str, source: str, keys: set[str]) -> None:
    expected = {need(READ, key, b"other") for key in keys}
    assert needs(line, f"x-amz-copy-source: {source}") == expected | {need(WRITE, "key")}


@pytest.mark.parametrize("line", ["PUT /bucket/key", "PUT /bucket/key?partNumber=1&uploadId=u"])
@pytest.mark.parametrize(
    "source",
    [
        "",
        "other",
        "other/",
        "/",
        "//other/source",
        "other/..",
        "other/../third/key",
        "../other/source",
        "other/%zz",
        "other/caf\u00e9",
        "other/a#b",
        "other/a?b",
        "other/a?versionId=",
        "other/a?versionId=1&versionId=2",
        "other/a?versionId=1?versionId=2",
        "other/a?versionid=1",
        "http://host/other/source",
        "arn:aws:s3:eu-west-1:111122223333:accesspoint/name/object/key",
    ],
)
def test_a_source_that_is_not_surely_one_object_is_refused(line: str, source: str) -> None:
    assert needs(line, f"x-amz-copy-source: {source}") is None


@pytest.mark.parametrize(
    "line",
    ["PUT /bucket/key?tagging", "POST /bucket/key?uploadId=u", "DELETE /bucket/key", "PUT /bucket", "GET /bucket"],
)
def test_a_copy_source_where_none_belongs_is_refused(line: str) -> None:
    assert needs(line) is not None
    assert needs(line, "x-amz-copy-source: /bucket/key") is None
    assert needs("PUT /bucket/key", "x-amz-copy-source: a/b1", "x-amz-copy-source: a/b2") is None


def test_a_rename_needs_to_read_and_delete_what_it_moves() -> None:
    line = "PUT /bucket/key?renameObject"
    moved = {need(action, "old/a b") for action in (READ, DELETE)}
    assert needs(line, "x-amz-rename-source: old/a%20b") == moved | {need(WRITE, "key")}
    assert needs(line, "x-amz-rename-source: /old/a%20b") == moved | {need(WRITE, "key")}
    with_bucket = {need(action, key) for action in (READ, DELETE) for key in ("bucket/old", "old")}
    assert needs(line, "x-amz-rename-source: /bucket/old") == with_bucket | {need(WRITE, "key")}
    for fields in (
        (),
        ("x-amz-rename-source: ",),
        ("x-amz-rename-source: a", "x-amz-rename-source: b"),
        ("x-amz-rename-source: ../a",),
        ("x-amz-rename-source: a?versionId=1",),
        ("x-amz-rename-source: a", "x-amz-copy-source: bucket/a"),
        ("x-amz-copy-source: bucket/a",),
    ):
        assert needs(line, *fields) is None


def test_every_key_of_a_delete_is_needed() -> None:
    assert needs_of_deletes(b"bucket", [b"a", b"x/../b"]) == (
        need(DELETE, None),
        need(DELETE, "a"),
        need(DELETE, "x/../b"),
        need(DELETE, "b"),
    )
    assert needs_of_deletes(b"bucket", []) == (need(DELETE, None),)
    for hopeless in (b"", b"..", b"../other/key", b"/"):
        assert needs_of_deletes(b"bucket", [b"a", hopeless]) is None


SCOPED = KeySet([AccessKey(b"AK", b"s", rules=(AllowRule.parse(list(Action), ["bucket/public/*"]),))])


@pytest.mark.parametrize(
    "line",
    [
        "GET /bucket/public/../private/key",
        "GET /bucket/public/%2e%2e/private/key",
        "GET /bucket/public/%2E%2E%2Fprivate/key",
        "GET /bucket/public/%252e%252e/private/key",
        "GET /bucket/public%2F..%2Fprivate",
        "GET /bucket/./private",
        "GET /bucket/publiC/key",
        "GET /bucket/PUBLIC/key",
        "GET /bucket/public",
        "GET /bucket/publ%C3%AFc/key",
        "GET /bucket/\uff50ublic/key".replace("\uff50", quote("\uff50")),
        "GET /bucket/+public/key",
        "GET /Bucket/public/key",
        "GET /bucket.public/public/key",
        "PUT /bucket/public/..%2fprivate",
        "GET /bucket?prefix=public/../",
        "GET /bucket?prefix=public",
        "GET /bucket?prefix=%2Bpublic/",
        "GET /bucket?list-type=2",
        "GET /bucket?versions&prefix=",
        "GET /bucket?acl",
        "PUT /bucket?policy",
        "DELETE /bucket",
        "GET /",
    ],
)
def test_no_spelling_leads_out_of_what_a_rule_allows(line: str) -> None:
    found = needs_of(*request(line))
    assert found is None or not SCOPED.allows(b"AK", found)


@pytest.mark.parametrize(
    "line",
    [
        "GET /bucket/public/key",
        "GET /bucket/%70ublic/key",
        "GET /bucket/public%2Fkey",
        "GET /bucket/public//key",
        "GET /bucket/public/a+b",
        "GET /bucket/public/100%25",
        "GET /bucket?list-type=2&prefix=public/",
        "GET /bucket?location",
        "HEAD /bucket",
        "DELETE /bucket/public/a/../b",
    ],
)
def test_other_spellings_of_what_is_allowed_are_allowed(line: str) -> None:
    found = needs_of(*request(line))
    assert found is not None
    assert SCOPED.allows(b"AK", found)


SEGMENT = st.sampled_from(["public", "private", ".", "..", "", "a b", "+", "%", "%2e%2e", "\u00e9", "a;b", "x"])
SPELL = st.sampled_from([quote, quote_plus, lambda text: quote(text, safe="/+"), lambda text: quote(quote(text))])


def readings_of_a_filesystem(path: str) -> str:
    """Where a service would look that keeps objects in directories: an independent reading of RFC 3986 5.2.4."""
    found: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if not found:
                return "outside"
            found.pop()
        elif segment not in ("", "."):
            found.append(segment)
    return "/".join(found)


@settings(max_examples=300)
@given(st.lists(SEGMENT, min_size=1, max_size=6).map("/".join), SPELL)
def test_whatever_is_allowed_lies_within_the_rule_at_services_that_tidy_paths(key: str, spell) -> None:
    spelled = spell(key)
    found = needs_of(*request(f"GET /bucket/{spelled}"))
    if found is not None and SCOPED.allows(b"AK", found):
        assert (readings_of_a_filesystem(key) + "/").startswith("public/")
    copied = needs_of(*request("PUT /bucket/public/copy", f"x-amz-copy-source: bucket/{spelled}"))
    if copied is not None and SCOPED.allows(b"AK", copied):
        assert (readings_of_a_filesystem(key) + "/").startswith("public/")


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=60))
def test_a_key_written_by_an_sdk_needs_itself(key: bytes) -> None:
    found = needs_of(*request(f"GET /bucket/{quote(key, safe='/~')}"))
    if found is not None:
        assert found[0] == need(READ, key)
    else:
        assert b"." in key or b"/" in key or b"%" in key


def all_operations() -> dict[str, tuple[operations.Selector, operations.Operation]]:
    tables = (operations.SERVICE, operations.BUCKET, operations.OBJECT)
    return {operation.name: (selector, operation) for table in tables for selector, operation in table.items()}


REFUSED = {
    # Newer than what services offer, and what their documents name cannot be checked here.
    *("CreateBucketMetadataConfiguration", "CreateBucketMetadataTableConfiguration"),
    *("DeleteBucketMetadataConfiguration", "DeleteBucketMetadataTableConfiguration"),
    *("GetBucketMetadataConfiguration", "GetBucketMetadataTableConfiguration"),
    *("UpdateBucketMetadataAnnotationTableConfiguration", "UpdateBucketMetadataInventoryTableConfiguration"),
    *("UpdateBucketMetadataJournalTableConfiguration", "GetBucketAbac", "PutBucketAbac", "UpdateObjectEncryption"),
    *("DeleteObjectAnnotation", "GetObjectAnnotation", "ListObjectAnnotations", "PutObjectAnnotation"),
    # Of other hosts.
    *("ListDirectoryBuckets", "WriteGetObjectResponse"),
}
SAME_REQUEST = {
    "CopyObject": "PutObject",
    "UploadPartCopy": "UploadPart",
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    "ListBucketAnalyticsConfigurations": "GetBucketAnalyticsConfiguration",
    "ListBucketIntelligentTieringConfigurations": "GetBucketIntelligentTieringConfiguration",
    "ListBucketInventoryConfigurations": "GetBucketInventoryConfiguration",
    "ListBucketMetricsConfigurations": "GetBucketMetricsConfiguration",
}
MODEL = botocore.session.get_session().get_service_model("s3")


@pytest.mark.parametrize("name", sorted(MODEL.operation_names))
def test_operations_are_those_of_the_published_model(name: str) -> None:
    """Method, selecting query name, parameters and fields of each, as the SDK's own description has them."""
    model = MODEL.operation_model(name)
    if name in REFUSED:
        assert name not in all_operations()
        return
    (method, selecting), operation = all_operations()[SAME_REQUEST.get(name, name)]
    assert method.decode() == model.http["method"]
    places = [member.serialization for member in model.input_shape.members.values()] if model.input_shape else []
    query = {place["name"].encode() for place in places if place.get("location") == "querystring"}
    in_path = {pair.partition("=")[0].encode() for pair in model.http["requestUri"].partition("?")[2].split("&")}
    assert selecting in (query | in_path | {b""})
    assert (query | in_path) - {b"", b"x-id"} <= operation.parameters | {selecting}
    fields = {place["name"].lower().encode() for place in places if place.get("location") in ("header", "headers")}
    for field in fields:
        if field.startswith(b"x-amz-"):
            assert field in operations.KNOWN_FIELDS or field.startswith(operations.KNOWN_FIELD_FAMILIES)


def test_every_operation_here_is_one_of_the_published_model() -> None:
    known = set(MODEL.operation_names)
    assert all_operations().keys() <= known
    assert known >= REFUSED | SAME_REQUEST.keys()
    assert set(operations.ALSO_CALLED.values()) <= SAME_REQUEST.keys()


@pytest.mark.parametrize("name", sorted(SAME_REQUEST.keys() & set(operations.ALSO_CALLED.values())))
def test_an_operation_may_be_called_by_either_name(name: str) -> None:
    (method, selecting), operation = all_operations()[SAME_REQUEST[name]]
    path = "/bucket/key" if operation.action is WRITE else "/bucket"
    query = f"{selecting.decode()}=u&x-id={name}".removeprefix("=u&")
    found = operation_of(*request(f"{method.decode()} {path}?{query}"))
    assert found is operation
