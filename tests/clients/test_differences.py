"""P-33: what a client gets through the proxy is what it gets without it, but for the list in docs/differences.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.clients.comparison import Difference, differences, documented
from tests.clients.conftest import MODES, SITES, StartSite
from tests.clients.scenarios import READS, Answers, run_others, run_read
from tests.clients.sites import Site
from tests.harness.raw import RawResponse

from fastcache.origin.process import OriginProcess

Find = Callable[[str, str], list[tuple[Difference, str]]]


@pytest.fixture(scope="module")
def found(start_site: StartSite, _origin_process: OriginProcess) -> Find:
    """The differences of every request at one site, found once."""
    done: dict[tuple[str, str], list[tuple[Difference, str]]] = {}

    def find(kind: str, mode: str) -> list[tuple[Difference, str]]:
        if (kind, mode) not in done:
            site = start_site(kind, mode)
            bucket = site.new_bucket()
            answers: list[Answers] = [one for read in READS for one in run_read(site, bucket, read)]
            answers += run_others(site, bucket)
            done[kind, mode] = [
                (difference, f"{one.name}, {one.state}")
                for one in answers
                for difference in differences(one.direct, one.proxied)
            ]
        return done[kind, mode]

    return find


@pytest.mark.parametrize(("kind", "mode"), SITES)
def test_nothing_differs_that_is_not_documented(found: Find, kind: str, mode: str) -> None:
    rows = documented()
    unexplained = [one for one in found(kind, mode) if not any(row.explains(one[0]) for row in rows)]
    assert not unexplained


def test_every_documented_difference_occurs(found: Find) -> None:
    seen = [difference for kind, mode in SITES for difference, _ in found(kind, mode)]
    idle = [row for row in documented() if not any(row.explains(difference) for difference in seen)]
    assert not idle


def test_the_comparison_sees_every_kind_of_difference() -> None:
    headers = ((b"ETag", b'"a"'), (b"x-amz-meta-a", b"1"), (b"Date", b"now"))
    direct = RawResponse(200, b"OK", b"HTTP/1.1", headers, b"body")
    other = ((b"etag", b'"b"'), (b"Date", b"then"), (b"X-Cache", b"HIT"), (b"x-amz-meta-b", b"1"), (b"Date", b"then"))
    proxied = RawResponse(206, b"OK", b"HTTP/1.1", other, b"bodx")
    assert {(one.what, one.how) for one in differences(direct, proxied)} == {
        ("status", "changed"),
        ("body", "changed"),
        ("etag", "changed"),
        ("date", "changed"),
        ("x-cache", "added"),
        ("x-amz-meta-a", "missing"),
        ("x-amz-meta-b", "added"),
    }
    assert not list(differences(direct, direct))


_CALLS: dict[str, Callable[[Any, str], dict[str, Any]]] = {
    "get_object": lambda client, bucket: client.get_object(Bucket=bucket, Key="o"),
    "get_object, a range": lambda client, bucket: client.get_object(Bucket=bucket, Key="o", Range="bytes=5-99"),
    "head_object": lambda client, bucket: client.head_object(Bucket=bucket, Key="o"),
    "list_objects_v2": lambda client, bucket: client.list_objects_v2(Bucket=bucket),
    "list_objects": lambda client, bucket: client.list_objects(Bucket=bucket, EncodingType="url"),
    "list_multipart_uploads": lambda client, bucket: client.list_multipart_uploads(Bucket=bucket),
    "get_bucket_acl": lambda client, bucket: client.get_bucket_acl(Bucket=bucket),
    "get_object_acl": lambda client, bucket: client.get_object_acl(Bucket=bucket, Key="o"),
    "get_bucket_location": lambda client, bucket: client.get_bucket_location(Bucket=bucket),
}


@pytest.mark.parametrize("name", _CALLS)
def test_boto3_understands_the_same(site: Site, name: str) -> None:
    """The parsed answers of boto3, which also verifies the checksums it is sent."""
    bucket = site.new_bucket()
    site.direct.put_object(Bucket=bucket, Key="o", Body=bytes(100_000), Metadata={"a": "b"}, ContentType="text/x")

    def call(client: Any) -> dict[str, Any]:
        answer = _CALLS[name](client, bucket)
        answer["status"] = answer.pop("ResponseMetadata")["HTTPStatusCode"]
        if "Body" in answer:
            answer["Body"] = answer["Body"].read()
        return answer

    direct = call(site.direct)
    assert [call(site.through) for _ in range(2)] == [direct, direct]


def test_every_mode_is_compared() -> None:
    assert {mode for _, mode in SITES} == set(MODES)
