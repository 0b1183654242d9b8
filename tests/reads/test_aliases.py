"""Two names of one bucket, as the operator says they are: one entry, and a write by either is seen by both."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.harness.proxy import FastcacheProcess
from tests.reads.conftest import content
from tests.shapes.conftest import Shapes, x_cache

from fastcache.origin.process import OriginProcess

NAMES = ("data", "data-ap-x1y2-s3alias")


@pytest.fixture
def both(origin: OriginProcess, start_fastcache: Callable[..., FastcacheProcess]) -> tuple[Shapes, Shapes]:
    """Readers by the bucket's name and by its alias. At the origin they are two buckets with equal objects."""
    flags = ("--authorization", "none", "--ttl", "1h", "--aliases", f"{NAMES[1]}={NAMES[0]}")
    proxy = start_fastcache(origin.endpoint, *flags)
    readers = []
    for name in NAMES:
        origin.control.bucket(name)
        readers.append(Shapes(origin, proxy, name))
        readers[-1].synthetic("o", 5000)
    return readers[0], readers[1]


def test_what_one_name_brought_the_other_reads(both: tuple[Shapes, Shapes]) -> None:
    bucket, alias = both
    bucket.get("o")
    bucket.origin.control.reset()
    warm = alias.get("o")
    assert (warm.body, x_cache(warm)) == (content("o", 0, 5000), b"HIT")
    assert bucket.origin.control.requests() == 0


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PUT", "o", b"new"),
        ("DELETE", "o", b""),
        ("POST", "?delete", b"<Delete><Object><Key>o</Key></Object></Delete>"),
        ("DELETE", "", b""),
    ],
    ids=["put", "delete", "delete-objects", "delete-bucket"],
)
@pytest.mark.parametrize("written", [0, 1], ids=["bucket", "alias"])
def test_a_write_by_either_name_makes_readers_of_both_ask(
    both: tuple[Shapes, Shapes], method: str, target: str, body: bytes, written: int
) -> None:
    for one in both:
        one.get("o")
    both[written].get(target, method=method, body=body)
    both[0].origin.control.reset()
    for one in both:
        one.get("o", signed={"If-Match": '"other"'})  # the answer is not stored: each of them has to ask
    assert both[0].origin.control.requests("GET", "o") == 2
