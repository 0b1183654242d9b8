"""Which uploads may be kept on their way, decided by their heads alone (SEMANTICS 32)."""

from __future__ import annotations

import pytest
from tests.policy.heads import ADDRESSING, ETAG, HOST, KEY, answer, identity, record

from fastcache.model import ChecksumState, Interval, Part
from fastcache.policy.request_class import UnsafeRequest, classify
from fastcache.policy.storable import NotStorable, judge_completed, judge_written, merge_known
from fastcache.policy.written import BodyPlan, PartPlan, PutPlan, plan_part, plan_put
from fastcache.protocol.requests import parse_request_head
from fastcache.protocol.targets import parse_target

TEN = b"Content-Length: 10"
PRESIGNED = b"/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k&X-Amz-Signature=0&X-Amz-Expires=9"
STREAMING = b"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER"
DECODED = b"x-amz-decoded-content-length: 7"


def planned(
    *fields: bytes, method: bytes = b"PUT", target: bytes = b"/bucket/key", allow_kms: bool = False
) -> PutPlan | None:
    lines = (method + b" " + target + b" HTTP/1.1", b"Host: " + HOST, *fields, b"", b"")
    head = parse_request_head(b"\r\n".join(lines))
    named = parse_target(head, ADDRESSING)
    unsafe = classify(head, named, identity)
    assert isinstance(unsafe, UnsafeRequest)
    return plan_put(head, named, unsafe, allow_kms=allow_kms)


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (b"x-amz-meta-a: 1", b"x-amz-acl: private", b"x-amz-tagging: a=b", b"Content-Type: text/plain"),
        (b"If-None-Match: *",),
        (b"Expect: 100-continue",),
        (b"Content-Encoding: gzip",),
        (b"x-amz-checksum-crc64nvme: AAAAAAAAAAA=", b"Content-MD5: AAAAAAAAAAAAAAAAAAAAAA=="),
        (b"x-amz-storage-class: STANDARD_IA", b"x-amz-server-side-encryption: AES256"),
        (b"x-amz-object-lock-mode: GOVERNANCE", b"x-amz-object-lock-retain-until-date: 2030-01-01T00:00:00Z"),
    ],
)
def test_a_plain_put_is_kept(fields: tuple[bytes, ...]) -> None:
    assert planned(TEN, *fields) == PutPlan(KEY, BodyPlan(10, aws_chunked=False))


@pytest.mark.parametrize("target", [b"/bucket/key?x-id=PutObject", PRESIGNED, PRESIGNED + b"&x-amz-meta-a=1"])
def test_so_it_is_with_a_signature_in_its_query(target: bytes) -> None:
    assert planned(TEN, target=target) == PutPlan(KEY, BodyPlan(10, aws_chunked=False))


@pytest.mark.parametrize(
    ("fields", "plan"),
    [
        ((TEN, STREAMING, DECODED), BodyPlan(7, aws_chunked=True)),
        ((TEN, STREAMING, DECODED, b"Content-Encoding: gzip, aws-chunked"), BodyPlan(7, aws_chunked=True)),
        ((b"Transfer-Encoding: chunked", STREAMING, DECODED), BodyPlan(7, aws_chunked=True)),
        ((b"Transfer-Encoding: chunked",), BodyPlan(None, aws_chunked=False)),
        ((b"Content-Length: 0",), BodyPlan(0, aws_chunked=False)),
    ],
)
def test_the_framing_is_the_declared_one(fields: tuple[bytes, ...], plan: BodyPlan) -> None:
    assert planned(*fields) == PutPlan(KEY, plan)


@pytest.mark.parametrize(
    "fields",
    [
        (TEN, STREAMING),
        (TEN, STREAMING, b"x-amz-decoded-content-length: 18446744073709551616"),
        (TEN, STREAMING, b"x-amz-decoded-content-length: 9223372036854775807"),
        (TEN, STREAMING, b"x-amz-decoded-content-length: -1"),
        (TEN, STREAMING, b"x-amz-decoded-content-length: 7 7"),
        (TEN, STREAMING, DECODED, b"Content-Encoding: aws-chunked, aws-chunked"),
        (TEN, STREAMING, DECODED, b"Content-Encoding: gzip", b"Content-Encoding: aws-chunked"),
        (TEN, b"Content-Encoding: aws-chunked"),
        (TEN, DECODED),
        (b"Content-Length: 99999999999999",),
        (),
    ],
)
def test_a_framing_that_two_servers_may_read_differently_is_not_kept(fields: tuple[bytes, ...]) -> None:
    assert planned(*fields) is None


@pytest.mark.parametrize(
    "field",
    [
        b"x-amz-write-offset-bytes: 0",
        b"x-amz-copy-source: /bucket/other",
        b"x-amz-copy-source-range: bytes=0-1",
        b"x-amz-rename-source: /bucket/other",
        b"x-amz-server-side-encryption-customer-algorithm: AES256",
        b"x-amz-server-side-encryption: aws:kms",
        b"x-amz-server-side-encryption: aws:kms:dsse",
        b"x-amz-server-side-encryption-aws-kms-key-id: k",
        b"x-amz-storage-class: GLACIER",
        b"x-amz-storage-class: SOMETHING_NEW",
        b"x-amz-something-new: 1",
    ],
)
def test_a_field_that_may_change_what_is_stored_or_read_is_not_kept(field: bytes) -> None:
    assert planned(TEN, field) is None
    name, value = field.split(b": ")
    hoisted = PRESIGNED + b"&" + name + b"=" + value.replace(b"/", b"%2F").replace(b":", b"%3A")
    assert planned(TEN, target=hoisted) is None


@pytest.mark.parametrize(
    "target",
    [
        b"/bucket/key?tagging",
        b"/bucket/key?acl",
        b"/bucket/key?partNumber=1&uploadId=u",
        b"/bucket/key?versionId=v",
        b"/bucket/key?x-id=UploadPart",
        b"/bucket/key?new",
        b"/bucket/key?response-content-type=a",
        b"/bucket/a+b",
        b"/bucket/a%zz",
        b"/bucket",
        PRESIGNED + b"&new=1",
        PRESIGNED + b"&x-amz-meta-a=1&x-amz-meta-a=2",
    ],
)
def test_a_target_that_is_not_plainly_an_object_is_not_kept(target: bytes) -> None:
    assert planned(TEN, target=target) is None


@pytest.mark.parametrize("method", [b"POST", b"DELETE", b"PATCH"])
def test_no_other_method_is_kept(method: bytes) -> None:
    assert planned(TEN, method=method) is None


def test_kms_is_kept_where_the_operator_allows_it() -> None:
    fields = (b"x-amz-server-side-encryption: aws:kms", b"x-amz-server-side-encryption-aws-kms-key-id: k")
    assert planned(TEN, *fields, allow_kms=True) is not None
    assert planned(TEN, *fields) is None


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ((), 200, b"etag"),
        ((b'ETag: W/"a"',), 200, b"etag"),
        ((b"ETag: " + ETAG, b"ETag: " + ETAG), 200, b"etag"),
        ((b"ETag: " + ETAG,), 204, b"status"),
        ((b"ETag: " + ETAG,), 307, b"status"),
        ((b"ETag: " + ETAG,), 403, b"status"),
        ((b"ETag: " + ETAG, b"x-amz-server-side-encryption: aws:kms"), 200, b"kms"),
        ((b"ETag: " + ETAG, b"x-amz-server-side-encryption-customer-algorithm: AES256"), 200, b"sse-c"),
    ],
)
def test_an_answer_that_names_no_generation_publishes_nothing(
    fields: tuple[bytes, ...], status: int, reason: bytes
) -> None:
    head = answer(*fields, status=status, method=b"PUT")
    assert judge_written(head, 10, at=0.0, allow_kms=False) == NotStorable(reason)


def test_the_first_read_completes_what_the_put_told() -> None:
    told = answer(b"ETag: " + ETAG, b"x-amz-checksum-crc32: AAAAAA==", b"x-amz-version-id: v", method=b"PUT")
    written = judge_written(told, 10, at=5.0, allow_kms=False)
    assert not isinstance(written, NotStorable)
    assert written.is_headerless
    assert written.checksum_state is ChecksumState.KNOWN
    read = record(10)
    complete = merge_known(read, written)
    assert not complete.is_headerless
    assert complete.headers == read.headers
    assert complete.checksums == written.checksums
    assert merge_known(record(11), written) == record(11)


UPLOAD = b"/bucket/key?uploadId=u%2F1"


def named(target: bytes, method: bytes = b"PUT", *fields: bytes) -> PartPlan | None:
    lines = (method + b" " + target + b" HTTP/1.1", b"Host: " + HOST, *fields, b"", b"")
    head = parse_request_head(b"\r\n".join(lines))
    parsed = parse_target(head, ADDRESSING)
    unsafe = classify(head, parsed, identity)
    assert isinstance(unsafe, UnsafeRequest)
    return plan_part(head, parsed, unsafe, allow_kms=False)


@pytest.mark.parametrize("more", [b"", b"&x-id=UploadPart", PRESIGNED.replace(b"/bucket/key?", b"&")])
def test_a_part_is_kept_under_its_upload_and_number(more: bytes) -> None:
    found = named(UPLOAD + b"&partNumber=7" + more, b"PUT", TEN)
    assert found == PartPlan(KEY, b"u/1", 7, BodyPlan(10, aws_chunked=False))


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        (b"", ()),
        (b"&partNumber=0", ()),
        (b"&partNumber=10001", ()),
        (b"&partNumber=1&partNumber=1", ()),
        (b"&partNumber=1&uploadId=v", ()),
        (b"&partNumber=1&new", ()),
        (b"&partNumber=1&x-id=PutObject", ()),
        (b"&partNumber=1&versionId=v", ()),
        (b"&partNumber=1", (b"x-amz-copy-source: /bucket/other",)),
        (b"&partNumber=1", (b"x-amz-server-side-encryption-customer-algorithm: AES256",)),
        (b"&partNumber=1", (b"x-amz-something-new: 1",)),
    ],
)
def test_what_is_not_plainly_a_part_is_not_kept(query: bytes, fields: tuple[bytes, ...]) -> None:
    assert named(UPLOAD + query, b"PUT", TEN, *fields) is None


def test_the_parts_of_a_completion_are_told_when_the_etag_counts_them() -> None:
    parts = (Part(1, Interval(0, 10)), Part(2, Interval(10, 15)))
    told = answer(method=b"POST")
    made = judge_completed(told, b'"a-2"', parts, at=0.0, allow_kms=False)
    assert not isinstance(made, NotStorable)
    assert made.is_headerless
    assert (made.generation.size, made.parts, made.parts_count) == (15, parts, 2)
    for etag, placed in ((b'"a-3"', parts), (b'"a"', parts), (b'"a-2"', (parts[0], parts[1]._replace(number=3)))):
        made = judge_completed(told, etag, placed, at=0.0, allow_kms=False)
        assert not isinstance(made, NotStorable)
        assert (made.generation.size, made.parts, made.parts_count) == (15, (), 0)
    assert judge_completed(told, None, parts, at=0.0, allow_kms=False) == NotStorable(b"etag")
    kms = answer(b"x-amz-server-side-encryption: aws:kms", method=b"POST")
    assert judge_completed(kms, b'"a-2"', parts, at=0.0, allow_kms=False) == NotStorable(b"kms")
