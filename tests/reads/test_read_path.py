"""A miss is a fill plus a hit that follows it: bytes, headers and what the origin had to send."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.harness.raw import RawConnection, RawResponse, exchange
from tests.harness.signing import presigned_url
from tests.reads.conftest import Start, content

MIB = 1024 * 1024
NONE = ("--authorization", "none")
MODES = pytest.mark.parametrize("mode", [(), NONE], ids=["revalidate", "none"])


def x_cache(response: RawResponse) -> bytes | None:
    return response.get(b"x-cache")


@MODES
@pytest.mark.parametrize("size", [0, 1, 1000, 65536, MIB, MIB + 1, 5 * MIB + 123])
def test_the_second_read_of_a_whole_object_moves_no_body_byte(reader: Start, mode: tuple[str, ...], size: int) -> None:
    r = reader(*mode)
    r.origin.control.synthetic(r.bucket, "o", size)
    first = r.get("o")
    assert (first.status, first.body) == (200, content("o", 0, size))
    assert x_cache(first) == b"MISS"
    r.origin.control.reset()
    second = r.get("o")
    assert (second.status, second.body) == (200, content("o", 0, size))
    assert x_cache(second) == (b"HIT" if mode else b"REVALIDATED") or size == 0
    assert r.body_bytes("o") == 0


@MODES
@pytest.mark.parametrize(
    ("range_", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-4999", 100, 5000),
        ("bytes=1000000-", 1000000, 3 * MIB),
        ("bytes=-700", 3 * MIB - 700, 3 * MIB),
        ("bytes=3145000-9999999", 3145000, 3 * MIB),
        ("bytes=0-", 0, 3 * MIB),
    ],
)
def test_ranges_of_every_form_hit_the_second_time(
    reader: Start, mode: tuple[str, ...], range_: str, start: int, end: int
) -> None:
    r = reader(*mode)
    r.origin.control.synthetic(r.bucket, "o", 3 * MIB)
    for attempt in (1, 2):
        response = r.get("o", range_)
        assert response.status == 206
        assert response.body == content("o", start, end)
        assert response.get(b"content-range") == b"bytes %d-%d/%d" % (start, end - 1, 3 * MIB)
        if attempt == 1:
            assert x_cache(response) == b"MISS"
            r.origin.control.reset()
    assert x_cache(response) == (b"HIT" if mode else b"REVALIDATED")
    assert r.body_bytes("o") == 0


@MODES
def test_a_range_inside_another_and_one_over_several_extents_hit(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    r.origin.control.synthetic(r.bucket, "o", 10 * MIB)
    for start in range(0, 4 * MIB, MIB):
        r.get("o", f"bytes={start}-{start + MIB - 1}")
    r.origin.control.reset()
    for start, end in ((10, 20), (MIB - 5, MIB + 5), (1, 4 * MIB), (500, 3 * MIB + 77)):
        response = r.get("o", f"bytes={start}-{end - 1}")
        assert response.body == content("o", start, end)
    assert r.body_bytes("o") == 0


@MODES
def test_any_range_of_a_whole_object_read_before_hits(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    r.origin.control.synthetic(r.bucket, "o", 2 * MIB)
    r.get("o")
    r.origin.control.reset()
    for range_, start, end in (("bytes=5-9", 5, 10), ("bytes=-1", 2 * MIB - 1, 2 * MIB), ("bytes=7-", 7, 2 * MIB)):
        assert r.get("o", range_).body == content("o", start, end)
    assert r.body_bytes("o") == 0


@MODES
def test_a_whole_read_after_ranges_asks_only_for_the_gap(reader: Start, mode: tuple[str, ...]) -> None:
    """The signature of a whole-object GET does not cover Range, so the second read of a byte moves nothing."""
    r = reader(*mode)
    r.origin.control.synthetic(r.bucket, "o", 8 * MIB)
    r.get("o", f"bytes=0-{3 * MIB - 1}")
    r.get("o", f"bytes={6 * MIB}-")
    r.origin.control.reset()
    response = r.get("o")
    assert (response.status, response.body) == (200, content("o", 0, 8 * MIB))
    assert x_cache(response) == b"PARTIAL"
    assert r.body_bytes("o") == 3 * MIB
    assert r.get("o").body == content("o", 0, 8 * MIB)
    assert r.body_bytes("o") == 3 * MIB


def test_an_aborted_whole_read_is_resumed_from_what_arrived(reader: Start) -> None:
    r = reader()
    size = 40 * MIB
    r.origin.control.synthetic(r.bucket, "o", size)
    r.origin.control.settings(bandwidth_connection=100 * MIB)
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(r.request("o"))
        head = connection.read_head()
        taken = connection.read_exactly(20 * MIB, head)
    assert taken == content("o", 0, 20 * MIB)
    r.proxy.wait_until_stored()
    sent = r.body_bytes("o")
    assert sent >= 20 * MIB
    assert r.get("o").body == content("o", 0, size)
    assert r.body_bytes("o") <= size + 2 * MIB, "bytes that had arrived were asked for again"


def test_the_overwritten_object_is_read_anew_in_revalidate(reader: Start) -> None:
    r = reader()
    r.origin.control.synthetic(r.bucket, "o", MIB)
    r.get("o")
    for generation in (2, 3, 4):
        r.origin.control.flip(r.bucket, "o")
        assert r.get("o").body == content("o", 0, MIB, generation)
        assert r.get("o", "bytes=5-99").body == content("o", 5, 100, generation)


def test_a_ttl_hides_an_overwrite_behind_our_back_until_it_ends_and_a_write_through_us_ends_it(reader: Start) -> None:
    long, r = reader(*NONE), reader(*NONE, "--ttl", "1s")
    for one in (long, r):
        one.origin.control.synthetic(one.bucket, "o", 1000)
        assert one.get("o").body == content("o", 0, 1000)
        one.origin.control.flip(one.bucket, "o")
    assert long.get("o").body == content("o", 0, 1000)
    time.sleep(1.1)
    assert r.get("o").body == content("o", 0, 1000, 2)
    put = r.get("o", method="PUT", body=b"new")
    assert put.status == 200
    assert r.get("o").body == b"new"


def test_no_cache_from_the_client_asks_the_origin(reader: Start) -> None:
    r = reader(*NONE)
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    r.origin.control.flip(r.bucket, "o")
    assert r.get("o", unsigned={"Cache-Control": "no-cache"}).body == content("o", 0, 1000, 2)
    assert r.get("o").body == content("o", 0, 1000, 2)


def test_the_wrong_key_gets_403_on_a_warm_object_and_harms_nobody(reader: Start) -> None:
    r = reader()
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    r.origin.control.reset()
    refused = r.get("o", secret="not the secret")
    assert refused.status == 403
    assert b"SignatureDoesNotMatch" in refused.body
    assert x_cache(r.get("o")) == b"REVALIDATED"
    assert r.body_bytes("o") == 0


def test_an_anonymous_request_gets_nothing_from_a_warm_cache(reader: Start) -> None:
    r = reader()
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    response = exchange(r.proxy.endpoint, f"GET /{r.bucket}/o HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert response.status == 403
    assert content("o", 0, 16) not in response.body


def test_head_is_answered_from_a_get_only_within_the_ttl(reader: Start) -> None:
    long, r = reader(*NONE), reader(*NONE, "--ttl", "1s", "--head-ttl", "1s")
    for one in (long, r):
        one.origin.control.synthetic(one.bucket, "o", 12345)
        one.get("o")
    r.origin.control.reset()
    head = long.get("o", method="HEAD")
    assert (head.status, head.get(b"content-length"), x_cache(head)) == (200, b"12345", b"HIT")
    assert r.origin.control.requests() == 0
    time.sleep(1.1)
    assert r.get("o", method="HEAD").status == 200
    assert r.origin.control.requests("HEAD") == 1


def test_a_404_becomes_an_object_at_once(reader: Start) -> None:
    r = reader(*NONE)
    assert r.get("o").status == 404
    r.origin.control.synthetic(r.bucket, "o", 10)
    assert r.get("o").status == 200


def test_an_object_that_is_gone_is_gone(reader: Start) -> None:
    r = reader()
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    assert r.get("o", method="DELETE").status == 204
    assert r.get("o").status == 404


def test_conditions_are_answered_as_the_origin_would(reader: Start) -> None:
    for mode in ((), NONE):
        r = reader(*mode)
        etag = r.origin.control.synthetic(r.bucket, "o", 1000)["etag"]
        quoted = etag if etag.startswith('"') else f'"{etag}"'
        r.get("o")
        assert r.get("o", signed={"If-None-Match": quoted}).status == 304
        assert r.get("o", signed={"If-None-Match": '"other"'}).status == 200
        assert r.get("o", signed={"If-Match": quoted}).status == 200
        assert r.get("o", signed={"If-Match": '"other"'}).status == 412
        assert r.get("o", "bytes=0-9", signed={"If-Match": quoted}).status == 206
        assert r.get("o", signed={"If-Modified-Since": "Wed, 01 Jan 2070 00:00:00 GMT"}).status in (200, 304)
        assert r.get("o", "bytes=1000-").status == 416
        assert r.get("o", "bytes=5-9,20-29").status == 200


def test_a_presigned_url_hits_and_its_tampered_copy_does_not(reader: Start) -> None:
    r = reader()
    r.origin.control.synthetic(r.bucket, "o", 1000)
    url = presigned_url("GET", f"{r.proxy.endpoint}/{r.bucket}/o", r.origin.access_key, r.origin.secret_key)
    target = url[len(r.proxy.endpoint) :]
    host = r.proxy.endpoint.removeprefix("http://")

    def get(target: str) -> RawResponse:
        return exchange(r.proxy.endpoint, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())

    assert get(target).body == content("o", 0, 1000)
    again = get(target)
    assert (again.body, x_cache(again)) == (content("o", 0, 1000), b"REVALIDATED")
    assert get(target[:-4] + "0000").status == 403


@MODES
def test_a_hundred_first_readers_cost_one_transfer(reader: Start, mode: tuple[str, ...]) -> None:
    """P-17: in revalidate each is authorised by its own request, but only one body moves."""
    r = reader(*mode)
    size = 4 * MIB
    r.origin.control.synthetic(r.bucket, "o", size)
    r.origin.control.settings(latency=0.1, bandwidth_connection=8 * MIB)
    with ThreadPoolExecutor(100) as pool:
        bodies = list(pool.map(lambda _: r.get("o"), range(100)))
    assert all(response.body == content("o", 0, size) for response in bodies)
    assert r.body_bytes("o") == size
    results = [x_cache(response) for response in bodies]
    assert results.count(b"MISS") == 1
    if not mode:
        assert r.origin.control.requests("GET", "o") == 100


def test_followers_get_their_first_byte_while_the_fill_runs(reader: Start) -> None:
    r = reader(*NONE)
    size = 8 * MIB
    r.origin.control.synthetic(r.bucket, "o", size)
    r.origin.control.settings(bandwidth_connection=MIB // 2)
    with RawConnection(r.proxy.endpoint) as leader, RawConnection(r.proxy.endpoint) as follower:
        leader.send(r.request("o"))
        head = leader.read_head()
        leader.read_exactly(64 * 1024, head)
        follower.send(r.request("o"))
        other = follower.read_head()
        assert other.get(b"x-cache") == b"COALESCED"
        follower.read_exactly(64 * 1024, other)
        assert r.body_bytes("o") < size, "the follower waited for the whole object"
    r.origin.control.settings(bandwidth_connection=0)


def test_the_leader_leaving_changes_nothing_for_its_followers(reader: Start) -> None:
    r = reader(*NONE)
    size = 6 * MIB
    r.origin.control.synthetic(r.bucket, "o", size)
    r.origin.control.settings(bandwidth_connection=4 * MIB)
    with RawConnection(r.proxy.endpoint) as leader, ThreadPoolExecutor(5) as pool:
        leader.send(r.request("o"))
        head = leader.read_head()
        leader.read_exactly(64 * 1024, head)
        followers = [pool.submit(r.get, "o") for _ in range(5)]
        time.sleep(0.3)
        leader.reset()
        for future in followers:
            assert future.result().body == content("o", 0, size)
    assert r.body_bytes("o") == size
    r.origin.control.settings(bandwidth_connection=0)


def test_a_leader_that_leaves_before_its_head_is_replaced_by_one_of_those_who_wait(reader: Start) -> None:
    r = reader(*NONE)
    r.origin.control.synthetic(r.bucket, "o", MIB)
    r.origin.control.settings(latency=0.4)
    with RawConnection(r.proxy.endpoint) as leader, ThreadPoolExecutor(20) as pool:
        leader.send(r.request("o"))
        time.sleep(0.1)
        followers = [pool.submit(r.get, "o") for _ in range(20)]
        time.sleep(0.1)
        leader.reset()
        for future in followers:
            assert future.result().body == content("o", 0, MIB)
    assert r.body_bytes("o") <= 2 * MIB
    r.origin.control.settings(latency=0.0)


def test_a_forbidden_leader_does_not_make_those_who_wait_wait_one_after_another(reader: Start) -> None:
    """Leader 403 with 20 authorised and 5 unauthorised followers: 1 body, 20 x 200, 6 x 403."""
    r = reader()
    r.origin.control.synthetic(r.bucket, "o", MIB)
    r.origin.control.settings(latency=0.2)
    with ThreadPoolExecutor(30) as pool:
        leader = pool.submit(r.get, "o", secret="wrong")
        time.sleep(0.05)
        wrong = [pool.submit(r.get, "o", secret="wrong") for _ in range(5)]
        good = [pool.submit(r.get, "o") for _ in range(20)]
        statuses = [future.result().status for future in (leader, *wrong)]
        assert statuses == [403] * 6
        assert all(future.result().body == content("o", 0, MIB) for future in good)
    r.origin.control.settings(latency=0.0)


def test_a_restart_keeps_the_bytes(alone: Start) -> None:
    r = alone()
    r.origin.control.synthetic(r.bucket, "small", 4000)
    r.origin.control.synthetic(r.bucket, "large", 5 * MIB)
    r.get("small")
    r.get("large")
    r.get("large", "bytes=0-99")
    r.proxy.stop()
    again = alone(cache_directory=r.proxy.cache_directory)
    r.origin.control.reset()
    assert again.get("small").body == content("small", 0, 4000)
    assert again.get("large").body == content("large", 0, 5 * MIB)
    assert again.body_bytes("small") == again.body_bytes("large") == 0


def test_an_object_larger_than_the_cache_streams_past_a_slow_reader(reader: Start) -> None:
    r = reader("--cache-size", "10MiB")
    size = 50 * MIB
    r.origin.control.synthetic(r.bucket, "o", size)
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(r.request("o"))
        head = connection.read_head()
        for start in range(0, size, MIB):
            if start < 5 * MIB:
                time.sleep(0.05)
            assert connection.read_exactly(MIB, head) == content("o", start, start + MIB)
    used = 0
    for file in r.proxy.cache_directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # evicted while we look
            used += file.stat().st_size if file.is_file() else 0
    assert used <= 11 * MIB
    assert r.get("o", "bytes=0-999").body == content("o", 0, 1000)
