"""Names of S3's endpoints at AWS, and those of the same service in another region.

AWS General Reference, "Amazon Simple Storage Service endpoints and quotas"; S3 User Guide, "Dual-stack endpoints".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

DEFAULT_REGION: Final = "us-east-1"
"""Where AWS's names without a region lead, and what a service without regions is signed for."""

_REGION_NAME = re.compile(r"[a-z]{2,4}(?:-[a-z]+){1,3}-[0-9]{1,2}")
_SIGNABLE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HOST = re.compile(
    rf"(?P<service>s3|s3-fips)(?P<dualstack>\.dualstack)?(?:[.-](?P<region>{_REGION_NAME.pattern}|external-1))?"
    r"\.(?P<suffix>amazonaws\.com(?:\.cn)?)"
)
_PARTITIONS = (
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("eu-isoe-", "aws-iso-e"),
    ("eusc-", "aws-eusc"),
)


def is_aws_region(name: str) -> bool:
    """Whether ``name`` has the form of a region of AWS's, and so can stand in a host name."""
    return _REGION_NAME.fullmatch(name) is not None


def is_region(name: str) -> bool:
    """Whether ``name`` can be the region of a signature, AWS's or another service's."""
    return _SIGNABLE.fullmatch(name) is not None


def partition(region: str) -> str:
    """The part of AWS a region belongs to; accounts, names and credentials of one mean nothing in another."""
    return next((found for prefix, found in _PARTITIONS if region.startswith(prefix)), "aws")


@dataclass(frozen=True, slots=True)
class AwsHost:
    """An S3 endpoint for all buckets of a region."""

    service: str
    """``s3`` or ``s3-fips``."""
    dualstack: bool
    region: str
    suffix: str
    """``amazonaws.com`` or that of China."""

    def __str__(self) -> str:
        return f"{self.service}{'.dualstack' if self.dualstack else ''}.{self.region}.{self.suffix}"

    def at(self, region: str) -> AwsHost | None:
        """The same in ``region``; None when that is no region's name or lies in another partition."""
        if not is_aws_region(region) or partition(region) != partition(self.region):
            return None
        return replace(self, region=region)


def parse_aws_host(host: str) -> AwsHost | None:
    """What a host name of AWS says; None for any other name, of a single bucket or a network's own endpoint too."""
    match = _HOST.fullmatch(host.lower().removesuffix("."))
    if match is None:
        return None
    region = match["region"] or DEFAULT_REGION
    if region == "external-1":
        region = DEFAULT_REGION
    if (partition(region) == "aws-cn") != match["suffix"].endswith(".cn"):
        return None
    return AwsHost(match["service"], match["dualstack"] is not None, region, match["suffix"])


def default_region(host: str) -> str:
    """The region to sign for at ``host`` while nothing else is known."""
    known = parse_aws_host(host)
    return DEFAULT_REGION if known is None else known.region
