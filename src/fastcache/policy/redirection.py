"""What an origin's refusal tells of the region a bucket is in.

S3 User Guide, "Making requests: request redirection and the REST API"; S3 API Reference, "List of error codes".
"""

from __future__ import annotations

from fastcache.protocol.aws_hosts import is_region, parse_aws_host
from fastcache.protocol.s3xml import error_elements

_REDIRECTS = (301, 307)
_CODES_OF_400 = ("AuthorizationHeaderMalformed", "IllegalLocationConstraint", "IllegalLocationConstraintException")
LARGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are worth reading for this."""


def told_region(status: int, bucket_region: bytes | None, body: bytes) -> str | None:
    """The region in which the bucket is, when an answer refuses a request for having been made to another one.

    ``bucket_region`` is the answer's ``x-amz-bucket-region``, ``body`` its XML or nothing (HEAD). None when it refuses
    for another reason or does not tell.
    """
    if status not in _REDIRECTS and status != 400:
        return None
    said = error_elements(body) if body else {}
    # A 400 has many reasons; one without a body can only be understood by its header.
    if status == 400 and body and said.get("Code") not in _CODES_OF_400:
        return None
    for region in (_text(bucket_region), said.get("Region", ""), _region_of(said.get("Endpoint", ""))):
        if is_region(region):
            return region
    return None


def may_be_elsewhere(method: bytes, status: int) -> bool:
    """Whether a refusal that tells no region may still mean one: HEAD has no body that could say so, and the header of
    an answer to HEAD of the bucket does."""
    return method == b"HEAD" and (status in _REDIRECTS or status == 400)


def _text(value: bytes | None) -> str:
    return (value or b"").decode("ascii", "replace")


def _region_of(endpoint: str) -> str:
    """The region in the name of an endpoint, which may be that of the bucket: ``b.s3-eu-west-1.amazonaws.com``."""
    labels = endpoint.split(".")
    for first in range(len(labels)):
        host = parse_aws_host(".".join(labels[first:]))
        if host is not None:
            return host.region
    return ""
