"""``kms: refuse`` and ``kms: allow`` (SEMANTICS 24)."""

from __future__ import annotations

from collections.abc import Callable

from tests.harness.proxy import FastcacheProcess
from tests.shapes.conftest import MODES, Shapes, x_cache

from fastcache.origin.process import OriginProcess

Start = Callable[..., Shapes]
ENCRYPTED = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "arn:key"}


@MODES
def test_such_an_object_is_not_stored_and_cache_status_says_why(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode)
    s.synthetic("o", 5000, headers=ENCRYPTED)
    warm = s.three("o")
    assert x_cache(warm) == b"MISS"
    assert b"detail=kms" in (warm.get(b"cache-status") or b"")
    assert s.body_bytes("o") == 5000


@MODES
def test_allow_stores_it_and_shows_the_encryption(shapes: Start, mode: tuple[str, ...]) -> None:
    s = shapes(*mode, "--kms", "allow")
    kind = "aws:kms:dsse" if mode else "aws:kms"
    s.synthetic("o", 5000, headers=ENCRYPTED | {"x-amz-server-side-encryption": kind})
    warm = s.three("o")
    assert x_cache(warm) in (b"HIT", b"REVALIDATED")
    assert warm.get(b"x-amz-server-side-encryption") == kind.encode()
    assert s.body_bytes("o") == 0
    assert s.three("o", method="HEAD").get(b"content-length") == b"5000"


def test_what_was_stored_under_allow_is_not_served_under_refuse(
    aws: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    aws.control.bucket("bkt")
    allowing = Shapes(aws, start_fastcache(aws.endpoint, "--kms", "allow"), "bkt")
    allowing.synthetic("o", 5000, headers=ENCRYPTED)
    allowing.get("o")
    allowing.proxy.stop()
    refusing = Shapes(aws, start_fastcache(aws.endpoint, cache_directory=allowing.proxy.cache_directory), "bkt")
    aws.control.reset()
    answer = refusing.get("o")
    assert (answer.status, x_cache(answer)) == (200, b"MISS")
    assert b"detail=kms" in (answer.get(b"cache-status") or b"")
    assert aws.control.requests() == 1
    assert refusing.body_bytes("o") == 5000
