"""Proxies in front of an origin that goes wrong, and reads that say what a client can know about their outcome."""

from __future__ import annotations

from typing import Any

import pytest
from tests.harness.processes import wait_until
from tests.harness.raw import IncompleteResponseError, RawResponse
from tests.reads.conftest import Reader, Start, _proxies, alone, content, shared

__all__ = ["Start", "_proxies", "alone", "shared"]

MIB = 1024 * 1024
NONE = ("--authorization", "none", "--ttl", "1h")
MODES = pytest.mark.parametrize("mode", [(), NONE], ids=["revalidate", "none"])


@pytest.fixture
def reader(alone: Start) -> Start:
    """What a test here reads with, unless it says otherwise: most of them break what they use."""
    return alone


def attempt(r: Reader, key: str, range_: str | None = None, **options: Any) -> RawResponse | None:
    """A read that may fail; None when its answer was cut, so that the client knows."""
    try:
        return r.get(key, range_, **options)
    except IncompleteResponseError:
        return None


def assert_told(outcome: RawResponse | None, expected: bytes, what: object) -> None:
    """The client got the right bytes, an error, or a cut connection: never other bytes under a success."""
    if outcome is not None and outcome.status < 400:
        assert outcome.status in (200, 206), what
        assert outcome.body == expected, what


def assert_right(r: Reader, key: str, size: int, generation: int = 1, what: object = "") -> None:
    """Whole reads, ranges and HEAD of ``key`` are what the origin holds, twice each: from the origin and from here."""
    for turn in (1, 2):
        whole = r.get(key)
        assert (whole.status, whole.body) == (200, content(key, 0, size, generation)), (what, turn)
        if size > 8:
            part = r.get(key, "bytes=3-7")
            assert (part.status, part.body) == (206, content(key, 3, 8, generation)), (what, turn)
            assert part.get(b"content-range") == b"bytes 3-7/%d" % size, (what, turn)
        head = r.get(key, method="HEAD")
        assert (head.status, head.get(b"content-length")) == (200, b"%d" % size), (what, turn)


def asked(r: Reader, method: str) -> int:
    """How many requests the origin has carried out, of one method."""
    return int(r.origin.control.stats(0)["methods"].get(method, 0))


def until_asked(r: Reader, method: str, before: int) -> None:
    """The origin has carried out one more request than ``before``, whatever becomes of its answer."""
    wait_until(lambda: asked(r, method) > before, 20, f"the origin has carried out a {method}", step=0.01)


def wait_until_stored(r: Reader) -> None:
    """What was read is in files: no fill runs, and none is being committed."""
    r.proxy.wait_until_stored()
