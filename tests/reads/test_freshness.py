"""What a TTL allows, what stale answers are for, and how often the origin is asked (mode ``none``)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.harness.processes import standing_still, wait_until
from tests.harness.raw import RawResponse
from tests.reads.conftest import Reader, Start, content

NONE = ("--authorization", "none")
MIB = 1024 * 1024


def herd(r: Reader, count: int, range_: str | None = None) -> list[RawResponse]:
    """As many readers of ``o`` at once, all of whom are there before the origin answers anybody."""
    with ThreadPoolExecutor(count) as pool:
        with standing_still(r.origin.pid):
            reading = [pool.submit(r.get, "o", range_) for _ in range(count)]
            wait_until(lambda: r.proxy.metric("fastcache_open_connections") >= count, 60, "all have asked")
        return [reader.result() for reader in reading]


def test_readers_of_an_expired_object_ask_once_and_all_get_the_answer(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "3s")
    r.origin.control.synthetic(r.bucket, "o", MIB)
    r.get("o")
    time.sleep(3.1)
    r.origin.control.reset()
    answers = herd(r, 50, "bytes=0-99")
    assert {answer.body for answer in answers} == {content("o", 0, 100)}
    assert r.origin.control.requests("GET", "o") == 1
    assert r.body_bytes("o") == 0


def test_readers_of_an_expired_object_that_was_overwritten_cost_one_transfer(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "3s")
    r.origin.control.synthetic(r.bucket, "o", MIB)
    r.get("o")
    time.sleep(3.1)
    r.origin.control.flip(r.bucket, "o")
    r.origin.control.reset()
    answers = herd(r, 30)
    assert {answer.body for answer in answers} == {content("o", 0, MIB, 2)}
    assert r.body_bytes("o") == MIB


def test_stale_while_revalidate_serves_at_once_and_the_new_content_next(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "300ms", "--stale-while-revalidate", "1h")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    time.sleep(0.4)
    r.origin.control.flip(r.bucket, "o")
    r.origin.control.reset()
    asked = r.proxy.metric("fastcache_origin_requests_total")
    with ThreadPoolExecutor(10) as pool, standing_still(r.origin.pid):
        stale = list(pool.map(lambda _: r.get("o"), range(10)))
        wait_until(lambda: r.proxy.metric("fastcache_origin_requests_total") > asked, 20, "the origin was asked")
    assert {answer.body for answer in stale} == {content("o", 0, 1000)}
    wait_until(lambda: r.body_bytes("o") == 1000, 20, "it has answered")
    assert r.origin.control.requests("GET", "o") == 1, "one question for all readers"
    wait_until(lambda: r.get("o").body == content("o", 0, 1000, 2), 20, "the answer is known")


def test_a_proved_stale_object_is_fresh_again(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "3s", "--stale-while-revalidate", "1h")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    time.sleep(3.1)
    r.origin.control.reset()
    r.get("o")
    wait_until(lambda: int(r.get("o").get(b"age") or 0) < 3, 20, "the proof is known")
    assert r.origin.control.requests() == 1
    assert r.body_bytes("o") == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_stale_if_error_stands_in_for_an_origin_in_trouble(reader: Start, status: int) -> None:
    r = reader(*NONE, "--ttl", "200ms", "--stale-if-error", "1h")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    time.sleep(0.3)
    r.origin.control.fault("status", status=status, count=2)
    assert r.get("o").body == content("o", 0, 1000)
    head = r.get("o", method="HEAD")
    assert (head.status, head.get(b"content-length")) == (200, b"1000") or head.get(b"x-cache") == b"HIT"
    r.origin.control.clear_faults()
    r.origin.control.flip(r.bucket, "o")
    assert r.get("o").body == content("o", 0, 1000, 2)


@pytest.mark.parametrize("status", [403, 404, 400])
def test_a_refusal_is_never_answered_stale(reader: Start, status: int) -> None:
    r = reader(*NONE, "--ttl", "200ms", "--stale-if-error", "1h")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    time.sleep(0.3)
    r.origin.control.fault("status", status=status, count=2)
    assert r.get("o").status == status


def test_without_the_setting_an_error_is_an_error(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "200ms")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    time.sleep(0.3)
    r.origin.control.fault("status", status=503)
    assert r.get("o").status == 503


def test_an_origin_that_cannot_be_reached_is_an_error_that_stale_if_error_covers(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "200ms", "--stale-if-error", "1h", "--timeouts-first-byte", "3s")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    time.sleep(0.3)
    r.origin.control.fault("stall", after=-1, count=1)
    assert r.get("o").body == content("o", 0, 1000)


def test_after_a_write_nothing_stale_is_served(reader: Start) -> None:
    """A raised fence voids every proof: no stale rule reaches past it."""
    r = reader(*NONE, "--stale-while-revalidate", "1h", "--stale-if-error", "1h")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    assert r.get("o", method="PUT", body=b"new").status == 200
    r.origin.control.fault("status", status=503)
    assert r.get("o").status == 503
    assert r.get("o").body == b"new"


def test_heads_have_a_ttl_of_their_own(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "1h", "--head-ttl", "200ms")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    time.sleep(0.3)
    r.origin.control.reset()
    assert r.get("o").get(b"x-cache") == b"HIT"
    assert r.origin.control.requests() == 0
    assert r.get("o", method="HEAD").status == 200
    assert r.origin.control.requests("HEAD") == 1


def test_no_cache_reaches_the_origin_whatever_may_be_stale(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "200ms", "--stale-while-revalidate", "1h")
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    r.origin.control.flip(r.bucket, "o")
    time.sleep(0.3)
    assert r.get("o", unsigned={"Cache-Control": "no-cache"}).body == content("o", 0, 1000, 2)


def test_the_objects_max_age_decides_where_the_operator_lets_it(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "1h", "--head-ttl", "1h", "--object-max-age", "honour")
    for key, value in (("long", "max-age=3600"), ("short", "max-age=0"), ("none", "public")):
        r.origin.control.synthetic(r.bucket, key, 1000, headers={"Cache-Control": value})
        assert r.get(key).body == content(key, 0, 1000)
        r.origin.control.flip(r.bucket, key)  # behind the proxy's back
    for key, generation in (("long", 1), ("short", 2), ("none", 1)):
        for _ in range(2):
            assert r.get(key).body == content(key, 0, 1000, generation), key
    r.origin.control.reset()
    for key, asked in (("long", 0), ("short", 1), ("none", 0)):
        assert r.get(key, method="HEAD").status == 200
        assert r.origin.control.requests("HEAD", key) == asked, key


def test_by_default_the_operators_ttl_decides(reader: Start) -> None:
    r = reader(*NONE, "--ttl", "1h")
    r.origin.control.synthetic(r.bucket, "o", 1000, headers={"Cache-Control": "max-age=0"})
    r.get("o")
    r.origin.control.flip(r.bucket, "o")
    assert r.get("o").body == content("o", 0, 1000, 1)
