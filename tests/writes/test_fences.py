"""What changes an object without a new ETag is seen by its readers (SEMANTICS 17, 30)."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.faults.conftest import wait_until_stored
from tests.faults.test_unsafe_requests import signed
from tests.harness.raw import RawConnection, exchange
from tests.reads.conftest import Reader
from tests.writes.conftest import KIB, MODES, Start, data_of, straight
from tests.writes.uploads import upload

TAGS = b"<Tagging><TagSet>%b</TagSet></Tagging>"


def tags(count: int) -> bytes:
    return TAGS % b"".join(b"<Tag><Key>%d</Key><Value>v</Value></Tag>" % n for n in range(count))


def tagged(r: Reader, key: str) -> bytes:
    return signed(r, "PUT", f"/{r.bucket}/{key}?tagging", tags(3))


def untagged(r: Reader, key: str) -> bytes:
    return signed(r, "DELETE", f"/{r.bucket}/{key}?tagging")


def put_with_one_tag(r: Reader, key: str) -> None:
    sent = upload(r, key, data_of(key, KIB), x_amz_tagging="a=b")
    assert exchange(r.proxy.endpoint, bytes(sent), method=b"PUT").status == 200
    wait_until_stored(r)
    for _ in range(2):
        assert r.get(key).get(b"x-amz-tagging-count") == b"1"


@MODES
@pytest.mark.parametrize("change", [tagged, untagged])
def test_no_hit_tells_the_old_number_of_tags(
    reader: Start, mode: tuple[str, ...], change: Callable[[Reader, str], bytes]
) -> None:
    """A hit may leave the field out; it never has a value that the origin does not."""
    r = reader(*mode)
    for when in ("before", "half", "during"):
        put_with_one_tag(r, when)
        if when == "during":
            r.origin.control.fault("latency", seconds=0.3, params="tagging")
        request = change(r, when)
        with RawConnection(r.proxy.endpoint) as connection:
            connection.send(request if when != "half" else request[:-5])
            time.sleep(0.05)
            if when != "before":
                assert r.get(when).status == r.get(when, method="HEAD").status == 200
            if when == "half":  # the origin cannot have done anything yet: what was just read is the old number
                connection.send(request[-5:])
            assert connection.read_response(request.split(b" ")[0]).status < 300
        expected = straight(r, when).get(b"x-amz-tagging-count")
        before = r.body_bytes(when)
        for _ in range(3):
            got = r.get(when)
            assert got.body == data_of(when, KIB)
            assert got.get(b"x-amz-tagging-count") in (None, expected)
        assert r.body_bytes(when) == before, "a change of tags cost a transfer"
