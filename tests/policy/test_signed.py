"""Where a Range and an If-Match of ours may go out with a client's request (SEMANTICS 28)."""

from __future__ import annotations

import pytest
from tests.policy.heads import ETAG, MODIFIED, read_of
from tests.policy.test_reads import PRESIGNED_V2, PRESIGNED_V4

V4 = b"Authorization: AWS4-HMAC-SHA256 Credential=k/20261113/us-east-1/s3/aws4_request, SignedHeaders=%s, Signature=00"


@pytest.mark.parametrize("signed", [b"host;x-amz-date", b"host;x-amz-content-sha256;x-amz-date;x-id", b"host;x-range"])
@pytest.mark.parametrize("fields", [(), (b"Range: bytes=0-9",)])
def test_what_the_signature_does_not_cover_may_be_asked_for_in_part(signed: bytes, fields: tuple[bytes, ...]) -> None:
    assert read_of(V4 % signed, *fields).may_ask_for_part


@pytest.mark.parametrize("query", [b"", b"?" + PRESIGNED_V4, b"?" + PRESIGNED_V2, b"?x-id=GetObject"])
def test_presigned_and_anonymous_reads_may_be_asked_for_in_part(query: bytes) -> None:
    assert read_of(target=b"/bucket/key" + query).may_ask_for_part


@pytest.mark.parametrize("signed", [b"host;range", b"Host;Range", b"host;if-match;x-amz-date", b"range"])
def test_a_signed_range_or_condition_is_never_touched(signed: bytes) -> None:
    """PITFALLS: adding or stripping a signed field is SignatureDoesNotMatch."""
    assert not read_of(V4 % signed).may_ask_for_part
    presigned = PRESIGNED_V4.replace(b"SignedHeaders=host", b"SignedHeaders=" + signed.replace(b";", b"%3B"))
    assert not read_of(target=b"/bucket/key?" + presigned).may_ask_for_part


@pytest.mark.parametrize(
    "field",
    [
        b"Authorization: Bearer token",
        b"Authorization: AWS4-HMAC-SHA256 Credential=k, Signature=00",
        b"Authorization: Signature x",
        b"Authorization: ",
    ],
)
def test_a_signature_that_cannot_be_understood_covers_everything(field: bytes) -> None:
    assert not read_of(field).may_ask_for_part


def test_a_presigned_url_without_its_list_of_fields_covers_everything() -> None:
    query = b"&".join(item for item in PRESIGNED_V4.split(b"&") if b"SignedHeaders" not in item)
    assert not read_of(target=b"/bucket/key?" + query).may_ask_for_part


@pytest.mark.parametrize(
    "field",
    [
        b"If-Match: " + ETAG,
        b"If-None-Match: " + ETAG,
        b"If-Modified-Since: " + MODIFIED,
        b"If-Unmodified-Since: " + MODIFIED,
        b"If-Range: " + ETAG,
        b"Range: bytes=0-1,3-4",
    ],
)
def test_a_client_with_conditions_of_its_own_or_several_ranges_is_left_alone(field: bytes) -> None:
    assert not read_of(field).may_ask_for_part
