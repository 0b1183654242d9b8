"""Queries: nothing lost, everything known classified, everything else unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.query import QueryItem, QueryKind, classify_query, has_bad_percent, parse_query

PRESIGNED_V4 = (
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261120%2Fus-east-1%2Fs3%2Faws4_request"
    b"&X-Amz-Date=20261120T220000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Security-Token=TOKEN"
    b"&X-Amz-Signature=SIGNATURE"
)
PRESIGNED_V2 = b"AWSAccessKeyId=AKIA&Signature=SIGNATURE%3D&Expires=1800000000&x-amz-security-token=TOKEN"


def test_items_keep_their_raw_form() -> None:
    assert parse_query(b"a%2Db=c%20d=e&f&&=g") == (
        QueryItem(b"a-b", b"c%20d=e", b"a%2Db=c%20d=e"),
        QueryItem(b"f", b"", b"f"),
        QueryItem(b"", b"", b""),
        QueryItem(b"", b"g", b"=g"),
    )
    assert parse_query(b"a=%2B+%zz")[0].value == b"++%zz"
    assert parse_query(b"") == ()


@given(st.binary(max_size=60))
def test_no_byte_of_a_query_is_lost(raw: bytes) -> None:
    items = parse_query(raw)
    assert b"&".join(item.raw for item in items) == raw
    classified = classify_query(raw)
    assert classified.items == items
    assert classified.kinds == {item.kind for item in items}


@pytest.mark.parametrize(
    ("raw", "bad"),
    [
        (b"a=%", True),
        (b"a=%4", True),
        (b"a=%4g", True),
        (b"a=%%41", True),
        (b"a=%41", False),
        (b"a=%aF%00", False),
        (b"a=b", False),
    ],
)
def test_a_bad_percent_is_seen(raw: bytes, bad: bool) -> None:
    assert has_bad_percent(raw) is bad
    assert classify_query(raw).well_formed is not bad


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"x-id=GetObject", QueryKind.NEUTRAL),
        (b"x-id=HeadObject", QueryKind.NEUTRAL),
        (b"x-id=PutObject", QueryKind.UNKNOWN),
        (b"x-id", QueryKind.UNKNOWN),
        (b"X-Id=GetObject", QueryKind.UNKNOWN),
        (b"X-Amz-Signature=a", QueryKind.PRESIGN_V4),
        (b"x-amz-signature=a", QueryKind.PRESIGN_V4),
        (b"X-AMZ-CONTENT-SHA256=a", QueryKind.PRESIGN_V4),
        (b"x-amz-security-token=a", QueryKind.PRESIGN_V4),
        (b"X%2DAmz%2DSignature=a", QueryKind.PRESIGN_V4),
        (b"AWSAccessKeyId=a", QueryKind.PRESIGN_V2),
        (b"Expires=1", QueryKind.PRESIGN_V2),
        (b"awsaccesskeyid=a", QueryKind.UNKNOWN),
        (b"response-content-type=a", QueryKind.RESPONSE_OVERRIDE),
        (b"response-expires=a", QueryKind.RESPONSE_OVERRIDE),
        (b"response-other=a", QueryKind.UNKNOWN),
        (b"Response-Content-Type=a", QueryKind.UNKNOWN),
        (b"versionId=a", QueryKind.VERSION),
        (b"version%49d=a", QueryKind.VERSION),
        (b"versionid=a", QueryKind.UNKNOWN),
        (b"partNumber=1", QueryKind.PART),
        (b"X-Amz-Request-Payer=requester", QueryKind.HOISTED),
        (b"x-amz-expected-bucket-owner=1", QueryKind.HOISTED),
        (b"x-amz-checksum-mode=ENABLED", QueryKind.HOISTED),
        (b"x-amz-unheard-of=1", QueryKind.HOISTED),
        *[
            (name, QueryKind.UNKNOWN)
            for name in (
                b"acl",
                b"tagging",
                b"uploads",
                b"uploadId=a",
                b"delete",
                b"list-type=2",
                b"session",
                b"",
                b"a+b",
            )
        ],
    ],
)
def test_every_name_has_one_kind(raw: bytes, kind: QueryKind) -> None:
    assert parse_query(raw + b"&x=y")[0].kind is kind


def test_a_presigned_get_is_that_of_the_bare_object() -> None:
    for raw in (PRESIGNED_V4, PRESIGNED_V4 + b"&x-id=GetObject", PRESIGNED_V2):
        query = classify_query(raw)
        assert query.presigned
        assert query.is_plain_or_presigned
        assert not query.is_plain
        assert query.unknown == ()
    assert classify_query(PRESIGNED_V4).presigned_v4
    assert not classify_query(PRESIGNED_V4).presigned_v2
    assert classify_query(PRESIGNED_V2).presigned_v2
    assert not classify_query(PRESIGNED_V2).presigned_v4


def test_a_claim_to_be_signed_counts_as_signed() -> None:
    assert classify_query(b"X-Amz-Credential=a").presigned_v4
    assert classify_query(b"Signature=a").presigned_v2
    assert not classify_query(b"Expires=1").presigned
    assert not classify_query(b"x-amz-security-token=a").presigned


def test_plain_means_nothing_but_neutral_names() -> None:
    assert classify_query(b"").is_plain
    assert classify_query(b"x-id=GetObject").is_plain
    for raw in (b"x-id=PutObject", b"acl", b"versionId=1", b"&", b"x-id=GetObject&", b"x-id=GetObject&x-id=GetObject"):
        assert not classify_query(raw).is_plain
        assert not classify_query(raw).is_plain_or_presigned


def test_a_signature_in_a_query_is_not_printed() -> None:
    shown = repr(classify_query(PRESIGNED_V4 + b"&x-amz-meta-a=TOKEN"))
    assert "SIGNATURE" not in shown
    assert "TOKEN" not in shown


@pytest.mark.parametrize(
    ("raw", "versions", "usable"),
    [
        (b"", (), True),
        (b"versionId=3HL4kqtJ", (b"3HL4kqtJ",), True),
        (b"versionId=null", (b"null",), True),
        (b"versionId=a%2Fb", (b"a/b",), True),
        (b"versionId=", (b"",), False),
        (b"versionId", (b"",), False),
        (b"versionId=a&versionId=b", (b"a", b"b"), False),
        (b"versionId=a&versionId=a", (b"a",), False),
        (b"versionId=a+b", (b"a+b",), False),
        (b"versionId=a;acl", (b"a;acl",), False),
        (b"versionId=%z", (b"%z",), False),
    ],
)
def test_a_version_is_usable_when_it_can_be_read_in_one_way(
    raw: bytes, versions: tuple[bytes, ...], usable: bool
) -> None:
    query = classify_query(raw)
    assert query.versions == versions
    assert query.version_usable is usable
    assert query.version == (versions[0] if usable and versions else None)


@pytest.mark.parametrize(
    ("raw", "part", "usable"),
    [
        (b"", None, True),
        (b"partNumber=1", 1, True),
        (b"partNumber=10000", 10000, True),
        (b"partNumber=0", None, False),
        (b"partNumber=10001", None, False),
        (b"partNumber=-1", None, False),
        (b"partNumber=+1", None, False),
        (b"partNumber=%31", None, False),
        (b"partNumber=", None, False),
        (b"partNumber=1&partNumber=2", None, False),
        ("partNumber=\u0661".encode(), None, False),
    ],
)
def test_a_part_number_is_between_1_and_10000(raw: bytes, part: int | None, usable: bool) -> None:
    query = classify_query(raw)
    assert query.part == part
    assert query.part_usable is usable


def test_headers_moved_into_the_query_are_found_without_case() -> None:
    query = classify_query(PRESIGNED_V4 + b"&X-Amz-Request-Payer=requester&X-AMZ-Checksum-Mode=EN%41BLED")
    assert query.hoisted_value(b"x-amz-request-payer") == b"requester"
    assert query.hoisted_value(b"x-amz-checksum-mode") == b"ENABLED"
    assert query.hoisted_value(b"x-amz-expected-bucket-owner") is None
    assert not query.is_plain_or_presigned


def test_overrides_and_operation_are_kept() -> None:
    query = classify_query(b"response-content-type=a%2Fb&x-id=PutObject&response-expires=0")
    assert [(item.name, item.value) for item in query.overrides] == [
        (b"response-content-type", b"a/b"),
        (b"response-expires", b"0"),
    ]
    assert query.operation == b"PutObject"


def test_a_known_name_twice_is_not_well_formed() -> None:
    assert not classify_query(b"X-Amz-Signature=a&x-amz-signature=b").well_formed
    assert not classify_query(b"response-expires=0&response-expires=1").well_formed
    assert classify_query(b"prefix=a&prefix=b").well_formed
