"""``?versionId=``: a version is an entry of its own; what happens to the current one leaves it alone (SEMANTICS 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.harness.clients import boto3_client
from tests.shapes.conftest import MODES, Shapes, told, x_cache

Start = Callable[..., Shapes]
HIT = (b"HIT", b"REVALIDATED")


def versioned(start: Start, mode: tuple[str, ...]) -> tuple[Shapes, Any, str, str]:
    """A bucket with versions, boto3 through the proxy, and the ids of two versions of ``o``, the second current."""
    s = start(*mode)
    s.origin.control.bucket(s.bucket, versioning="Enabled")
    s3 = boto3_client(s.proxy.endpoint, s.origin.access_key, s.origin.secret_key)
    first = s3.put_object(Bucket=s.bucket, Key="o", Body=b"first" * 100)["VersionId"]
    second = s3.put_object(Bucket=s.bucket, Key="o", Body=b"second" * 100)["VersionId"]
    return s, s3, first, second


@MODES
def test_every_version_is_its_own_entry_and_outlives_a_write(either: Start, mode: tuple[str, ...]) -> None:
    s, s3, first, second = versioned(either, mode)
    assert s.three("o").body == b"second" * 100
    assert s.three(f"o?versionId={first}").body == b"first" * 100
    assert s.three(f"o?versionId={second}").body == b"second" * 100
    s3.put_object(Bucket=s.bucket, Key="o", Body=b"third" * 100)
    s.origin.control.reset()
    old = s.get(f"o?versionId={first}")
    assert (old.body, x_cache(old) in HIT, s.body_bytes("o")) == (b"first" * 100, True, 0)
    assert s.three("o").body == b"third" * 100


@MODES
def test_a_delete_marker_hides_the_current_version_only(either: Start, mode: tuple[str, ...]) -> None:
    s, s3, first, second = versioned(either, mode)
    for key in ("o", f"o?versionId={first}", f"o?versionId={second}"):
        s.get(key)
    marker = s3.delete_object(Bucket=s.bucket, Key="o")["VersionId"]
    gone = s.three("o")
    assert (gone.status, gone.get(b"x-amz-delete-marker")) == (404, b"true")
    named = s.three(f"o?versionId={marker}")
    assert (named.status, named.get(b"x-amz-delete-marker")) == (405, b"true")
    s.origin.control.reset()
    for version, body in ((first, b"first" * 100), (second, b"second" * 100)):
        old = s.get(f"o?versionId={version}")
        assert (old.body, x_cache(old) in HIT) == (body, True)
    assert s.body_bytes("o") == 0
    s3.delete_object(Bucket=s.bucket, Key="o", VersionId=marker)
    assert s.three("o").body == b"second" * 100


@MODES
def test_a_delete_marker_behind_our_back_drops_only_the_current_one(shapes: Start, mode: tuple[str, ...]) -> None:
    s, _, first, _ = versioned(shapes, mode)
    s.get("o")
    s.get(f"o?versionId={first}")
    boto3_client(s.origin.endpoint, s.origin.access_key, s.origin.secret_key).delete_object(Bucket=s.bucket, Key="o")
    assert s.get("o", signed={"Cache-Control": "no-cache"}).status == 404
    assert s.get("o").status == 404
    s.origin.control.reset()
    assert s.get(f"o?versionId={first}").body == b"first" * 100
    assert s.body_bytes("o") == 0


@MODES
def test_deleting_a_version_ends_it_at_once(shapes: Start, mode: tuple[str, ...]) -> None:
    s, s3, first, second = versioned(shapes, mode)
    for key in ("o", f"o?versionId={first}", f"o?versionId={second}"):
        s.get(key)
    s3.delete_object(Bucket=s.bucket, Key="o", VersionId=second)
    assert s.get(f"o?versionId={second}").status == 404
    assert s.three("o").body == b"first" * 100, "the version before is current now"
    s3.delete_objects(Bucket=s.bucket, Delete={"Objects": [{"Key": "o", "VersionId": first}]})
    assert s.get(f"o?versionId={first}").status == 404
    assert s.get("o").status == 404


@MODES
def test_the_null_version_is_as_mutable_as_the_current_one(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode)
    s3 = boto3_client(s.proxy.endpoint, s.origin.access_key, s.origin.secret_key)
    s.origin.control.bucket(s.bucket, versioning="Suspended")
    s3.put_object(Bucket=s.bucket, Key="o", Body=b"one" * 100)
    assert s.three("o?versionId=null").body == b"one" * 100
    s3.put_object(Bucket=s.bucket, Key="o", Body=b"two" * 100)
    assert s.three("o?versionId=null").body == b"two" * 100
    s3.delete_object(Bucket=s.bucket, Key="o", VersionId="null")
    assert s.get("o?versionId=null").status == 404


def test_what_names_no_version_is_the_origins_to_answer(shapes: Start) -> None:
    s, _, first, _ = versioned(shapes, ("--authorization", "none"))
    s.get("o")
    s.get(f"o?versionId={first}")
    for query in ("versionId=", "versionId", "versionId={0}&versionId={0}", "versionId=nope") * 2:
        answer = s.get("o?" + query.format(first))
        assert x_cache(answer) in (b"PASS", b"MISS")
        assert told(answer) == told(s.direct("o?" + query.format(first)))


@MODES
def test_a_part_of_a_version_is_of_that_version(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode)
    s.origin.control.bucket(s.bucket, versioning="Enabled")
    old = s.multipart("o", [5 << 20, 1000])
    first = (s.direct("o", method="HEAD").get(b"x-amz-version-id") or b"").decode()
    s.multipart("o", [6 << 20, 500])
    assert s.three(f"o?versionId={first}&partNumber=2").body == old[5 << 20 :]
    assert len(s.three("o?partNumber=2").body) == 500
