"""What happens between a question and its answer: evictions, overwrites, other writes. And what time does to a hit."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime

import pytest
from tests.faults.conftest import MIB, MODES, NONE, Start, asked, until_asked, wait_until_stored
from tests.harness.clients import boto3_client
from tests.reads.conftest import content


def test_what_leaves_the_cache_between_our_question_and_the_304_is_still_sent(alone: Start) -> None:
    """The extents were opened before the origin was asked, so that neither others that need the room nor a removed file
    take them from the answer."""
    for key in ("small", "large"):
        r = alone("--cache-size", "6MiB")  # the keeper goes on counting what the test removes
        size = 1000 if key == "small" else 2 * MIB
        r.origin.control.synthetic(r.bucket, key, size)
        r.get(key)
        wait_until_stored(r)
        r.origin.control.reset()
        r.origin.control.fault("latency", seconds=1.5, method="GET", key=key)
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(r.get, key)
            until_asked(r, "GET", 0)
            for n in range(12):  # twice what fits
                r.origin.control.synthetic(r.bucket, f"other-{key}-{n}", MIB)
                r.get(f"other-{key}-{n}")
            for file in r.proxy.cache_directory.rglob("objects/**/*"):
                if file.is_file():
                    file.unlink()
            answer = reading.result()
        assert (answer.status, answer.body) == (200, content(key, 0, size))
        assert answer.get(b"x-cache") == b"REVALIDATED"
        assert r.body_bytes(key) == 0
        assert r.get(key).body == content(key, 0, size)


def test_an_old_if_modified_since_after_an_overwrite_behind_our_back_gets_the_new_object(shared: Start) -> None:
    """Our If-None-Match makes the origin ignore the date, so the date has to be tested against what the 304 says."""
    r = shared()
    r.origin.control.synthetic(r.bucket, "o", 1000)
    date = (r.get("o").get(b"last-modified") or b"").decode()
    assert r.get("o", signed={"If-Modified-Since": date}).status == 304
    time.sleep(1.1)  # the date has whole seconds
    r.origin.control.flip(r.bucket, "o")
    for _ in range(2):
        fresh = r.get("o", signed={"If-Modified-Since": date})
        assert (fresh.status, fresh.body) == (200, content("o", 0, 1000, 2))
    newer = (fresh.get(b"last-modified") or b"").decode()
    assert r.get("o", signed={"If-Modified-Since": newer}).status == 304


@MODES
@pytest.mark.parametrize("range_", [None, "bytes=5-900000"])
def test_a_slow_read_of_the_old_generation_that_ends_last_does_not_bring_it_back(
    shared: Start, mode: tuple[str, ...], range_: str | None
) -> None:
    """Its request was sent before the one that set the head."""
    r = shared(*mode)
    r.origin.control.synthetic(r.bucket, "o", MIB)
    r.origin.control.fault("stall", after=MIB // 2, seconds=1.5, method="GET", key="o")
    span = (0, MIB) if range_ is None else (5, 900001)
    before = asked(r, "GET")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(r.get, "o", range_)
        until_asked(r, "GET", before)
        r.origin.control.flip(r.bucket, "o")
        assert r.get("o", signed={"Cache-Control": "no-cache"}).body == content("o", 0, MIB, 2)
        old = slow.result()
    assert old.body == content("o", *span, 1), "one response, one generation"
    for _ in range(2):
        assert r.get("o").body == content("o", 0, MIB, 2)
        assert r.get("o", "bytes=7-9").body == content("o", 7, 10, 2)


@MODES
@pytest.mark.parametrize("later", [0, 1], ids=["the first ends last", "the second ends last"])
def test_after_two_overlapping_writes_a_read_is_what_the_origin_holds(
    shared: Start, mode: tuple[str, ...], later: int
) -> None:
    r = shared(*mode)
    bodies = (b"one " * 1000, b"two " * 1000)
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    r.origin.control.fault("latency", seconds=1.0 if later == 0 else 0.4, method="PUT", key="o")
    if later:
        r.origin.control.fault("latency", seconds=1.0, method="PUT", key="o")
    with ThreadPoolExecutor(2) as pool:
        writes = []
        for body in bodies:
            before = asked(r, "PUT")
            writes.append(pool.submit(r.get, "o", method="PUT", body=body))
            until_asked(r, "PUT", before)
        assert writes[1 - later].result().status == 200
        between = r.get("o")
        assert writes[later].result().status == 200
    assert between.body in (*bodies, content("o", 0, 1000))
    origin = boto3_client(r.origin.endpoint, r.origin.access_key, r.origin.secret_key)
    held = origin.get_object(Bucket=r.bucket, Key="o")["Body"].read()
    assert held in bodies
    for _ in range(2):
        assert r.get("o").body == held


def test_the_date_of_a_hit_is_now_and_its_age_counts(shared: Start) -> None:
    """SDKs derive their clock from Date: an old one would make the next signature expired."""
    r = shared(*NONE)
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    time.sleep(2.1)
    for method in ("GET", "HEAD"):
        asked = time.time()
        hit = r.get("o", method=method)
        assert hit.get(b"x-cache") == b"HIT"
        date = parsedate_to_datetime((hit.get(b"date") or b"").decode()).timestamp()
        assert date > asked - 2, "a second's resolution, and no time of its own to be late"
        assert int(hit.get(b"age") or 0) >= 2


@MODES
def test_a_get_that_says_it_has_no_body_is_a_hit(shared: Start, mode: tuple[str, ...]) -> None:
    """awscrt sends and signs ``content-length: 0``."""
    r = shared(*mode)
    r.origin.control.synthetic(r.bucket, "o", 1000)
    fields = {"content-length": "0"}
    r.get("o", signed=fields)
    warm = r.get("o", signed=fields)
    assert (warm.status, warm.body) == (200, content("o", 0, 1000))
    assert warm.get(b"x-cache") == (b"HIT" if mode else b"REVALIDATED")
