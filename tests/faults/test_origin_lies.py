"""P-07: an origin that cuts, stalls, resets or lies never becomes a hit, and its client is told."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from tests.faults.conftest import MIB, MODES, NONE, Start, assert_right, assert_told, attempt
from tests.harness.raw import RawConnection
from tests.reads.conftest import Reader, content

from fastcache.origin.faults import KINDS

SIZE = 60
"""Of the objects that are cut at every byte: small, so that every byte is few."""
IMPATIENT = ("--timeouts-first-byte", "3s", "--timeouts-origin-idle", "3s")
"""With an origin that says nothing; not with one that is slow."""
HEAD = 700
"""More bytes than the head of any answer of the origin: a cut behind its end is one behind the body's last byte."""


def cut_everywhere(r: Reader, kind: str, range_: str | None, offsets: range) -> None:
    """Each offset has an object of its own, so that nothing is learnt from another cut."""
    start, end = (0, SIZE) if range_ is None else (10, 40)
    keys = {f"{kind}-{'r' if range_ else 'w'}-{offset:04d}": offset for offset in offsets}
    r.origin.control.synthetic(r.bucket, list(keys), SIZE)
    for key, after in keys.items():
        r.origin.control.fault(kind, key=key, after=after, count=2)
        assert_told(attempt(r, key, range_), content(key, start, end), key)
        r.origin.control.clear_faults()
        for turn in (1, 2):
            again = r.get(key, range_)
            assert again.status == (206 if range_ else 200), (key, turn)
            assert again.body == content(key, start, end), (key, turn)
        whole = r.get(key)
        assert (whole.status, whole.body) == (200, content(key, 0, SIZE)), key


@MODES
@pytest.mark.parametrize("range_", [None, "bytes=10-39"], ids=["whole", "range"])
@pytest.mark.parametrize("kind", ["cut-body", "reset"])
def test_a_body_cut_at_any_byte_is_no_hit(shared: Start, mode: tuple[str, ...], kind: str, range_: str | None) -> None:
    cut_everywhere(shared(*mode), kind, range_, range(SIZE if range_ is None else 30))


@MODES
@pytest.mark.parametrize("range_", [None, "bytes=10-39"], ids=["whole", "range"])
def test_a_head_cut_at_every_eleventh_byte_is_no_hit(shared: Start, mode: tuple[str, ...], range_: str | None) -> None:
    cut_everywhere(shared(*mode), "cut-head", range_, range(0, HEAD, 11))


@pytest.mark.slow
@pytest.mark.timeout(400)
@MODES
@pytest.mark.parametrize("range_", [None, "bytes=10-39"], ids=["whole", "range"])
def test_a_head_cut_at_any_byte_is_no_hit(shared: Start, mode: tuple[str, ...], range_: str | None) -> None:
    cut_everywhere(shared(*mode), "cut-head", range_, range(HEAD))


@MODES
def test_a_stall_at_any_eighth_byte_ends_by_the_timeout_and_is_no_hit(shared: Start, mode: tuple[str, ...]) -> None:
    r = shared(*mode, *IMPATIENT)
    keys = {f"s{after}-": after for after in (-1, *range(0, SIZE, 8))}
    r.origin.control.synthetic(r.bucket, list(keys), SIZE)
    for key, after in keys.items():
        r.origin.control.fault("stall", key=key, after=after, seconds=3600, count=2)
    began = time.monotonic()
    with ThreadPoolExecutor(len(keys)) as pool:
        outcomes = dict(zip(keys, pool.map(partial(attempt, r), keys), strict=True))
    assert time.monotonic() - began < 60
    r.origin.control.clear_faults()
    for key, after in keys.items():
        outcome = outcomes[key]
        assert_told(outcome, content(key, 0, SIZE), key)
        if after == -1:
            assert outcome is not None
            assert outcome.status == 504
        assert_right(r, key, SIZE, what=key)


LIES: list[tuple[str, dict[str, Any]]] = [
    ("content-length", {"delta": 5}),
    ("content-length", {"delta": -5}),
    ("content-length", {"delta": 1_000_000}),
    ("content-range", {"value": "bytes 0-29/60"}),
    ("content-range", {"value": "bytes 11-40/60"}),
    ("content-range", {"value": "bytes 10-39/61"}),
    ("content-range", {"value": "bytes 10-39/39"}),
    ("content-range", {"value": "bytes 10-38/60"}),
    ("content-range", {"value": "bytes 39-10/60"}),
    ("content-range", {"value": "bytes */60"}),
    ("content-range", {"value": "bytes 10-39/18446744073709551676"}),
    ("content-range", {"value": "total-star"}),
    ("content-range", {"value": "rubbish"}),
    ("etag", {"value": "missing"}),
    ("etag", {"value": "weak"}),
    ("etag", {"value": "unquoted"}),
    ("etag", {"value": '"another"'}),
    ("framing", {"value": "close"}),
    ("framing", {"value": "chunked"}),
    ("ignore-range", {}),
    ("extra-bytes", {"value": "HTTP/1.1 200 OK\r\n\r\n"}),
    ("garbage-head", {}),
    ("cut", {}),
    ("headers", {"headers": {"content-range": "bytes 0-59/60"}}),
    ("headers", {"headers": {"content-encoding": "gzip", "vary": "*"}}),
    ("headers", {"headers": {"transfer-encoding": "chunked"}}),
    ("headers", {"headers": {"content-length": "60, 60"}}),
    ("status", {"status": 500}),
    ("status", {"status": 503}),
    ("status", {"status": 403}),
    ("status", {"status": 404}),
    ("status", {"status": 206}),
    ("status", {"status": 200}),
]
"""A lie may reach the client as it does without a cache; what it never does is stay."""


@MODES
@pytest.mark.parametrize("range_", [None, "bytes=10-39"], ids=["whole", "range"])
def test_a_lie_is_over_when_the_origin_tells_the_truth_again(
    shared: Start, mode: tuple[str, ...], range_: str | None
) -> None:
    """Cold, and again on top of a warm object: neither bytes, nor size, nor head of the lie answer anybody later."""
    r = shared(*mode, *IMPATIENT)
    lies = [
        (f"{kind}-{number}-{warm}-", kind, parameters, warm)
        for number, (kind, parameters) in enumerate(LIES)
        for warm in (False, True)
    ]
    fresh = {"Cache-Control": "no-cache"}
    for key, kind, parameters, warm in lies:
        r.origin.control.synthetic(r.bucket, key, SIZE)
        if warm:
            assert r.get(key).status == 200
            r.origin.control.flip(r.bucket, key)
        # Twice: a request sent again, or the rest of an answer asked for, meets the same liar.
        r.origin.control.fault(kind, key=key, count=2, **parameters)
    ask = {key: partial(attempt, r, key, range_, unsigned=fresh if warm else {}) for key, _, _, warm in lies}
    # What comes behind an answer is taken for the next one by who has asked for that already: nobody may have.
    alone = [key for key, kind, _, _ in lies if kind == "extra-bytes"]
    with ThreadPoolExecutor(8) as pool:  # some end by a time limit
        under_way = {key: pool.submit(ask[key]) for key in ask if key not in alone}
    told = {key: outcome.result() for key, outcome in under_way.items()}
    for key in alone:
        told[key] = ask[key]()
        r.origin.control.stats(0)
    r.origin.control.clear_faults()
    for key, kind, parameters, warm in lies:
        what = (kind, parameters, "warm" if warm else "cold")
        generation = 2 if warm else 1
        start, end = (0, SIZE) if range_ is None or kind == "ignore-range" else (10, 40)
        if kind != "status":
            assert_told(told[key], content(key, start, end, generation), what)
        if mode and warm:
            # Where nothing could be learnt, the old object may still be served for its TTL.
            assert r.get(key, unsigned=fresh).body == content(key, 0, SIZE, generation), what
        assert_right(r, key, SIZE, generation, what)


def test_a_304_that_nobody_caused_and_one_with_junk_headers_change_no_later_answer(shared: Start) -> None:
    r = shared()
    r.origin.control.synthetic(r.bucket, "o", 1000, headers={"Content-Type": "text/plain"})
    assert r.get("o").get(b"content-type") == b"text/plain"
    r.origin.control.fault("not-modified-headers", key="o", count=1)
    for _ in range(3):
        answer = r.get("o")
        assert (answer.status, answer.body) == (200, content("o", 0, 1000))
        assert answer.get(b"content-type") == b"text/plain"
        assert answer.get(b"content-length") == b"1000"
        assert answer.get(b"set-cookie") is None
        assert answer.get(b"x-cache") == b"REVALIDATED"


def test_a_304_with_another_etag_is_no_proof(shared: Start) -> None:
    r = shared()
    r.origin.control.synthetic(r.bucket, "o", 1000)
    r.get("o")
    r.origin.control.fault("etag", value='"somebody-elses"', key="o", count=1)
    assert r.get("o").body == content("o", 0, 1000)
    r.origin.control.flip(r.bucket, "o")
    assert r.get("o").body == content("o", 0, 1000, 2)


@MODES
@pytest.mark.parametrize("name", ["if-none-match", "if-match", "if-range", ""])
def test_an_origin_that_ignores_conditions_never_mixes_generations(
    shared: Start, mode: tuple[str, ...], name: str
) -> None:
    """The gap of a half-known object is asked for with If-Match; ignored, it brings another generation's bytes."""
    r = shared(*mode)
    r.origin.control.synthetic(r.bucket, "o", 3 * MIB)
    r.get("o", f"bytes=0-{MIB - 1}")
    r.origin.control.flip(r.bucket, "o")
    r.origin.control.fault("ignore-conditions", value=name, key="o", count=-1)
    for _ in range(2):
        answer = r.get("o", unsigned={"Cache-Control": "no-cache"})
        assert (answer.status, answer.body) == (200, content("o", 0, 3 * MIB, 2))
    r.origin.control.flip(r.bucket, "o")
    answer = r.get("o", unsigned={"Cache-Control": "no-cache"})
    assert answer.body == content("o", 0, 3 * MIB, 3)
    r.origin.control.clear_faults()
    assert r.get("o").body == content("o", 0, 3 * MIB, 3)


def test_the_rest_of_a_cut_answer_never_comes_from_another_generation(shared: Start) -> None:
    """The origin cuts in the middle and the object changes before the rest can be asked for."""
    r = shared(*NONE)
    size = 4 * MIB
    r.origin.control.synthetic(r.bucket, "o", size)
    r.origin.control.fault("stall", after=MIB, seconds=3600, key="o")
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(r.request("o"))
        head = connection.read_head()
        begin = connection.read_exactly(MIB, head)
        r.origin.control.flip(r.bucket, "o")
        r.origin.control.drop_connections()
        with pytest.raises(AssertionError, match="inside an answer"):
            connection.read_exactly(size - MIB, head, begin)
    assert begin == content("o", 0, MIB)
    assert_right(r, "o", size, 2)


def test_a_cut_in_the_middle_is_healed_without_the_client_noticing(shared: Start) -> None:
    r = shared()
    r.origin.control.synthetic(r.bucket, "o", 4 * MIB)
    r.origin.control.fault("cut-body", key="o", after=3 * MIB, count=1)
    assert r.get("o").body == content("o", 0, 4 * MIB)
    assert_right(r, "o", 4 * MIB)


def test_every_kind_of_fault_is_used_here_or_beside(request: pytest.FixtureRequest) -> None:
    """A new kind of fault is to be thought about here."""
    directory = request.path.parent
    source = "".join(path.read_text() for path in sorted(directory.glob("*.py")))
    unused = [kind for kind in KINDS if f'"{kind}"' not in source]
    assert not unused
