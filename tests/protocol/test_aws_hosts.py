"""Names of AWS's endpoints: which are understood, and what is made of them for another region."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.aws_hosts import default_region, is_aws_region, is_region, parse_aws_host, partition


@pytest.mark.parametrize(
    ("host", "region", "in_ireland"),
    [
        ("s3.amazonaws.com", "us-east-1", "s3.eu-west-1.amazonaws.com"),
        ("S3.Amazonaws.Com.", "us-east-1", "s3.eu-west-1.amazonaws.com"),
        ("s3-external-1.amazonaws.com", "us-east-1", "s3.eu-west-1.amazonaws.com"),
        ("s3.us-west-2.amazonaws.com", "us-west-2", "s3.eu-west-1.amazonaws.com"),
        ("s3-us-west-2.amazonaws.com", "us-west-2", "s3.eu-west-1.amazonaws.com"),
        ("s3.dualstack.us-west-2.amazonaws.com", "us-west-2", "s3.dualstack.eu-west-1.amazonaws.com"),
        ("s3-fips.us-east-2.amazonaws.com", "us-east-2", "s3-fips.eu-west-1.amazonaws.com"),
        ("s3-fips.dualstack.us-east-2.amazonaws.com", "us-east-2", "s3-fips.dualstack.eu-west-1.amazonaws.com"),
        ("s3.us-gov-west-1.amazonaws.com", "us-gov-west-1", None),
        ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1", None),
    ],
)
def test_an_endpoint_of_all_buckets_is_understood_and_named_for_another_region(
    host: str, region: str, in_ireland: str | None
) -> None:
    found = parse_aws_host(host)
    assert found is not None
    assert found.region == region
    assert default_region(host) == region
    other = found.at("eu-west-1")
    assert (None if other is None else str(other)) == in_ireland


def test_partitions_stay_by_themselves() -> None:
    government = parse_aws_host("s3.us-gov-west-1.amazonaws.com")
    china = parse_aws_host("s3.cn-north-1.amazonaws.com.cn")
    assert government is not None
    assert china is not None
    assert str(government.at("us-gov-east-1")) == "s3.us-gov-east-1.amazonaws.com"
    assert str(china.at("cn-northwest-1")) == "s3.cn-northwest-1.amazonaws.com.cn"
    assert [host.at("us-east-1") for host in (government, china)] == [None, None]
    assert {partition(name) for name in ("eusc-de-east-1", "us-iso-east-1", "us-isob-east-1")}.isdisjoint({"aws"})


@pytest.mark.parametrize(
    "host",
    [
        "s3.example.com",
        "amazonaws.com",
        "s3.amazonaws.com.example",
        "bucket.s3.amazonaws.com",
        "s3-accelerate.amazonaws.com",
        "bucket.vpce-1a2b3c4d.s3.us-east-1.vpce.amazonaws.com",
        "s3-control.us-east-1.amazonaws.com",
        "s3-website-us-east-1.amazonaws.com",
        "s3express-use1-az4.us-east-1.amazonaws.com",
        "s3.us-east-1.amazonaws.com.cn",
        "s3.cn-north-1.amazonaws.com",
        "s3.evil.amazonaws.com",
        "127.0.0.1",
        "",
    ],
)
def test_any_other_name_is_left_as_it_is(host: str) -> None:
    assert parse_aws_host(host) is None
    assert default_region(host) == "us-east-1"


@pytest.mark.parametrize("name", ["us-east-1", "ap-southeast-3", "us-gov-west-1", "mx-central-1", "eusc-de-east-1"])
def test_regions_of_aws_are_known_by_their_form(name: str) -> None:
    assert is_aws_region(name)
    assert is_region(name)


@pytest.mark.parametrize("name", ["", "a/b", "a.b", "eu-west-1.evil", "a b", "ä", "x" * 65, "a\r\n"])
def test_what_no_signature_can_hold_is_no_region(name: str) -> None:
    assert not is_region(name)
    assert not is_aws_region(name)


@given(st.text())
def test_whatever_is_told_the_name_stays_below_the_same_domain(region: str) -> None:
    host = parse_aws_host("s3.us-east-1.amazonaws.com")
    assert host is not None
    other = host.at(region)
    assert other is None or str(other) == f"s3.{region}.amazonaws.com"
    assert other is None or region.replace("-", "").isalnum()
