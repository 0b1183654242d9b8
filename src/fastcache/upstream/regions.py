"""The region each bucket is in, learnt from what the origin refuses, and the endpoint that has it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from fastcache.model import OriginId
from fastcache.policy.redirection import told_region
from fastcache.protocol.aws_hosts import default_region, parse_aws_host
from fastcache.protocol.responses import ResponseHead

MOST_BUCKETS = 4096
"""Buckets whose region is remembered; the least used is forgotten, and costs one refused request more."""
MOST_REGIONS = 64
"""Different regions believed in one life: AWS has fewer, and each may mean connections of its own."""


class Regions:
    """What to sign for and where to send it, for every bucket of one origin.

    In front of AWS a bucket's requests go to its region's own endpoint: a name made here, of the configured one and a
    region of the same partition, never one that an answer names. In front of any other service, a network's endpoint
    at AWS among them, only the region in the signature changes.
    """

    def __init__(self, origin: OriginId, configured: str = "") -> None:
        self._origin = origin
        self._aws = parse_aws_host(origin.host)
        self._default = configured or default_region(origin.host)
        self._learnt: OrderedDict[bytes, str] = OrderedDict()
        self._endpoints: dict[str, OriginId] = {}
        if configured:
            self._name_endpoint(configured)

    def region_of(self, bucket: bytes | None) -> bytes:
        """The region to sign a request for ``bucket`` for; None is the service itself (ListBuckets)."""
        return self._region(bucket).encode("ascii")

    def endpoint_of(self, bucket: bytes | None) -> OriginId:
        """Where a request for ``bucket`` goes: that of the configured region until something else was learnt."""
        return self._endpoints.get(self._region(bucket), self._origin)

    def learn(self, bucket: bytes, head: ResponseHead, body: bytes) -> bool:
        """Take note of an answer to a request of ours; whether it is worth sending once more.

        ``body`` is that of an error, up to ``policy.redirection.LARGEST_ERROR`` bytes. Not for CreateBucket, whose
        refusal is about the region it asks for.
        """
        region = told_region(head.status, head.get(b"x-amz-bucket-region"), body)
        if region is None or region == self._region(bucket) or not self._believe(region):
            return False
        self._learnt[bucket] = region
        self._learnt.move_to_end(bucket)
        if len(self._learnt) > MOST_BUCKETS:
            self._learnt.popitem(last=False)
        return True

    def _region(self, bucket: bytes | None) -> str:
        if bucket is None or bucket not in self._learnt:
            return self._default
        self._learnt.move_to_end(bucket)
        return self._learnt[bucket]

    def _believe(self, region: str) -> bool:
        """Whether a region may be used, and with which endpoint from now on."""
        if region in self._endpoints or region == self._default:
            return True
        return len(self._endpoints) < MOST_REGIONS and self._name_endpoint(region)

    def _name_endpoint(self, region: str) -> bool:
        """Note the endpoint for ``region``; whether there is one."""
        if self._aws is None or region == self._aws.region:
            self._endpoints[region] = self._origin
            return True
        host = self._aws.at(region)
        if host is None:
            return False
        self._endpoints[region] = replace(self._origin, host=str(host))
        return True
