"""Refusals that tell where a bucket is, and those that do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.policy.redirection import may_be_elsewhere, told_region


def error(code: str, *elements: tuple[str, str]) -> bytes:
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in (("Code", code), *elements))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}<RequestId>R</RequestId></Error>'.encode()


PERMANENT = error("PermanentRedirect", ("Endpoint", "bucket.s3-eu-west-1.amazonaws.com"), ("Bucket", "bucket"))
REGIONAL = error("PermanentRedirect", ("Endpoint", "s3.eu-west-1.amazonaws.com"))
TEMPORARY = error("TemporaryRedirect", ("Endpoint", "a.b.s3.dualstack.us-west-2.amazonaws.com"))
MALFORMED = error("AuthorizationHeaderMalformed", ("Region", "ap-south-1"))
CONSTRAINT = error("IllegalLocationConstraintException")


@pytest.mark.parametrize(
    ("status", "header", "body", "region"),
    [
        (301, b"eu-central-1", PERMANENT, "eu-central-1"),
        (301, None, PERMANENT, "eu-west-1"),
        (301, None, REGIONAL, "eu-west-1"),
        (301, b"eu-central-1", b"", "eu-central-1"),
        (307, b"us-west-2", TEMPORARY, "us-west-2"),
        (307, None, TEMPORARY, "us-west-2"),
        (400, None, MALFORMED, "ap-south-1"),
        (400, b"ap-south-1", MALFORMED, "ap-south-1"),
        (400, b"me-south-1", CONSTRAINT, "me-south-1"),
        (400, b"me-south-1", error("IllegalLocationConstraint"), "me-south-1"),
        (400, b"eu-west-1", b"", "eu-west-1"),
        (400, None, error("AuthorizationHeaderMalformed", ("Region", "garage")), "garage"),
        # What tells nothing.
        (301, None, b"", None),
        (400, None, b"", None),
        (400, None, CONSTRAINT, None),
        (400, b"eu-west-1", error("InvalidRequest"), None),
        (400, None, error("InvalidArgument", ("Region", "eu-west-1")), None),
        (301, None, error("PermanentRedirect", ("Endpoint", "evil.example")), None),
        (301, b"evil.example", b"", None),
        (400, None, error("AuthorizationHeaderMalformed", ("Region", "../evil")), None),
        (301, None, b"<Error><Endpoint>s3.eu-west-1.amazonaws.com", None),
        (301, None, b'<!DOCTYPE a [<!ENTITY r "eu-west-1">]><Error><Region>&r;</Region></Error>', None),
        (301, None, b"<Other><Region>eu-west-1</Region></Other>", None),
        (200, b"eu-west-1", b"", None),
        (403, b"eu-west-1", MALFORMED, None),
        (404, b"eu-west-1", b"", None),
        (503, b"eu-west-1", b"", None),
    ],
)
def test_a_region_is_taken_from_a_refusal_for_its_sake_alone(
    status: int, header: bytes | None, body: bytes, region: str | None
) -> None:
    assert told_region(status, header, body) == region


@pytest.mark.parametrize(
    ("method", "status", "may"),
    [
        (b"HEAD", 301, True),
        (b"HEAD", 400, True),
        (b"HEAD", 307, True),
        (b"HEAD", 404, False),
        (b"HEAD", 403, False),
        (b"GET", 301, False),
        (b"GET", 400, False),
    ],
)
def test_an_answer_without_a_body_may_have_meant_a_region(method: bytes, status: int, may: bool) -> None:
    assert may_be_elsewhere(method, status) is may


@given(status=st.sampled_from([301, 307, 400]), header=st.none() | st.binary(), body=st.binary())
def test_whatever_an_answer_holds_a_region_can_stand_in_a_signature(
    status: int, header: bytes | None, body: bytes
) -> None:
    region = told_region(status, header, body)
    assert region is None or (region.isascii() and "/" not in region and 0 < len(region) <= 64)
