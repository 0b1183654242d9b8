"""PutObject through the proxy: what went up is not fetched again, and what could not be kept is not served (SEMANTICS
32)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from tests.clients.comparison import differences, documented
from tests.faults.conftest import wait_until_stored
from tests.front.conftest import ScriptedOrigin, read_until, scripted
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawConnection, exchange
from tests.reads.conftest import Reader
from tests.writes.conftest import (
    KIB,
    MIB,
    MODES,
    NONE,
    SHORT,
    Start,
    data_of,
    straight,
    uploads,
    wait_for_uploads,
    wait_until_nothing_is_left,
)
from tests.writes.uploads import (
    FRAMINGS,
    Upload,
    aws_chunked,
    aws_chunked_in_chunks,
    of_unknown_length,
    presigned,
    upload,
)

from fastcache.origin.process import OriginProcess

__all__ = ["scripted"]

SIZES = [0, 1, 5 * KIB, MIB, MIB + 1, 3 * MIB + 77]
IN_FLIGHT = 12 * MIB
"""More than the sockets between an origin and a proxy hold when the proxy cuts an answer."""


def put(r: Reader, sent: Upload, status: int = 200) -> None:
    assert exchange(r.proxy.endpoint, bytes(sent), method=b"PUT").status == status


def assert_as_straight(r: Reader, key: str, **signed: str) -> None:
    """What a read through the proxy gets is what it gets straight, but for what is documented."""
    fields = {name.replace("_", "-"): value for name, value in signed.items()}
    for method in ("GET", "HEAD"):
        proxied = r.get(key, method=method, signed=fields)
        found = differences(straight(r, key, method, **signed), proxied)
        assert [one for one in found if not any(row.explains(one) for row in documented())] == []


@MODES
def test_the_first_read_of_what_was_put_moves_no_body(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    for number, size in enumerate(SIZES):
        for framing, make in FRAMINGS.items():
            key, data = f"{framing}/{size}", data_of(framing, size, number)
            put(r, make(r, key, data))
            wait_until_stored(r)
            before = r.body_bytes(key)
            for method in ("HEAD", "GET", "GET"):
                got = r.get(key, method=method)
                assert (got.status, got.body) == (200, b"" if method == "HEAD" else data), (method, key)
            if size > 10:
                assert r.get(key, "bytes=3-9").body == data[3:10]
            assert r.body_bytes(key) == before, key
            assert_as_straight(r, key)
            assert_as_straight(r, key, x_amz_checksum_mode="ENABLED")
    assert uploads(r, "stored") == len(SIZES) * len(FRAMINGS)


@MODES
@pytest.mark.parametrize("checksum", [False, True], ids=["plain", "checksum-mode"])
def test_a_read_before_any_head_asks_for_one_byte(reader: Start, mode: tuple[str, ...], checksum: bool) -> None:
    """Where the put's own answer told the checksums, also for a client that wants them."""
    r = reader(*mode)
    data = data_of("o", 5 * MIB)
    put(r, FRAMINGS["hashed"](r, "o", data))
    r.origin.control.reset()
    signed = {"x-amz-checksum-mode": "ENABLED"} if checksum else {}
    first = r.get("o", signed=signed)
    assert (first.status, first.body) == (200, data)
    assert (first.get(b"x-amz-checksum-crc32") is not None) == checksum
    assert r.body_bytes("o") == 1
    assert r.get("o", signed=signed).body == data
    assert r.body_bytes("o") == 1


@MODES
def test_a_signed_range_costs_what_was_in_flight_when_the_origin_was_cut(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    size = 32 * MIB
    data = data_of("o", size)
    put(r, upload(r, "o", data))
    wait_until_stored(r)
    r.origin.control.reset()
    assert r.get("o", f"bytes=0-{size - 2}").body == data[:-1]
    assert r.body_bytes("o") < IN_FLIGHT
    r.origin.control.reset()
    assert r.get("o", f"bytes=1-{size - 1}").body == data[1:]
    assert r.body_bytes("o") == 0


def test_a_read_that_follows_at_once_waits_for_the_disk(reader: Start) -> None:
    r = reader(*NONE)
    for number in range(20):
        data = data_of("o", 2 * MIB, number)
        put(r, upload(r, "o", data))
        assert r.get("o").body == data
    assert r.body_bytes("o") == 20


def test_the_header_set_is_the_origins_not_the_uploads(reader: Start) -> None:
    r = reader(*NONE)
    data = data_of("o", 100 * KIB)
    described = {"Content-Type": "text/x", "x_amz_meta_a": "1", "Cache_Control": "max-age=5", "Content_Encoding": "zz"}
    put(r, upload(r, "o", data, **described))
    for _ in range(2):
        got = r.get("o")
        assert got.body == data
        assert got.get(b"content-encoding") == b"zz"
        assert got.get(b"last-modified") == straight(r, "o", "HEAD").get(b"last-modified")
    assert_as_straight(r, "o")


def test_what_was_put_and_never_read_is_asked_about_after_a_restart(reader: Start) -> None:
    r = reader(*NONE, own=True)
    for size in (KIB, 3 * MIB):
        put(r, upload(r, f"o{size}", data_of("o", size)))
    wait_until_stored(r)
    r.proxy.kill()
    again = reader(*NONE, own=True, cache_directory=r.proxy.cache_directory)
    r.origin.control.reset()
    for size in (KIB, 3 * MIB):
        key, data = f"o{size}", data_of("o", size)
        got = again.get(key)
        assert got.body == data
        assert r.body_bytes(key) == 1
        assert_as_straight(again, key)


@MODES
def test_an_overwrite_behind_our_back_before_the_first_read_is_seen(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode)
    for size in (KIB, 3 * MIB):
        key = f"o{size}"
        put(r, upload(r, key, data_of("o", size)))
        wait_until_stored(r)
        r.origin.control.put(r.bucket, key, data_of("other", size))
        for range_ in (None, "bytes=5-99"):
            got = r.get(key, range_)
            assert got.body == (data_of("other", size) if range_ is None else data_of("other", size)[5:100])


def test_expect_is_answered_by_the_origin_and_the_body_kept(reader: Start) -> None:
    r = reader(*NONE)
    data = data_of("o", MIB)
    sent = upload(r, "o", data)
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(sent.head.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        assert connection.read_head().status == 100
        connection.send(sent.body)
        assert connection.read_response(b"PUT").status == 200
    wait_until_stored(r)
    r.origin.control.reset()
    assert r.get("o", method="HEAD").status == 200
    assert r.get("o").body == data
    assert r.body_bytes("o") == 0


def test_a_conditional_put_is_kept_when_it_happened_and_changes_nothing_when_not(reader: Start) -> None:
    r = reader(*NONE)
    first, second = data_of("o", MIB), data_of("o", MIB, 2)
    put(r, upload(r, "o", first, If_None_Match="*"))
    assert r.get("o").body == first
    wait_until_stored(r)  # or the fence keeps it from being stored
    put(r, upload(r, "o", second, If_None_Match="*"), status=412)
    assert uploads(r, "rejected") == 1
    r.origin.control.reset()
    assert r.get("o").body == first
    assert r.body_bytes("o") == 0


NOT_KEPT: dict[str, Callable[[Reader, str, bytes], Upload]] = {
    "append": lambda r, key, data: upload(r, key, data, x_amz_write_offset_bytes="0"),
    "unknown-field": lambda r, key, data: upload(r, key, data, x_amz_something_new="1"),
    "customers-key": lambda r, key, data: upload(
        r, key, data, x_amz_server_side_encryption_customer_algorithm="AES256"
    ),
    "kms": lambda r, key, data: upload(r, key, data, x_amz_server_side_encryption="aws:kms"),
    "archived": lambda r, key, data: upload(r, key, data, x_amz_storage_class="GLACIER"),
    "named-only-in-the-coding": lambda r, key, data: upload(r, key, data, Content_Encoding="aws-chunked"),
    "hoisted": lambda r, key, data: Upload(
        presigned(r, key, data).head.replace(b"X-Amz-Algorithm", b"x-amz-something-new=1&X-Amz-Algorithm"), data
    ),
    "length-near-2-to-the-64": lambda r, key, data: _with_length(aws_chunked(r, key, data), data, 2**64 + len(data)),
    "too-long": lambda r, key, data: upload(r, key, data + bytes(2 * MIB)),
    "too-long-of-unknown-length": lambda r, key, data: of_unknown_length(r, key, data + bytes(2 * MIB)),
}


def _with_length(sent: Upload, data: bytes, length: int) -> Upload:
    return Upload(sent.head.replace(b"length: %d" % len(data), b"length: %d" % length), sent.body)


def test_what_is_not_plainly_the_object_is_not_kept(reader: Start) -> None:
    r = reader(*NONE, "--write-through-max", "2MiB")
    for name, make in NOT_KEPT.items():
        exchange(r.proxy.endpoint, bytes(make(r, name, data_of(name, MIB))), method=b"PUT")
        expected = straight(r, name)
        for _ in range(2):
            got = r.get(name)
            assert got.status == expected.status, name
            assert got.status != 200 or got.body == expected.body, name
    assert uploads(r, "stored") == 0


def test_switched_off_nothing_is_kept(reader: Start) -> None:
    r = reader(*NONE, "--write-through", "off")
    data = data_of("o", MIB)
    put(r, upload(r, "o", data))
    r.origin.control.reset()
    assert r.get("o").body == data
    assert r.body_bytes("o") == MIB


@pytest.mark.parametrize("make", [aws_chunked, aws_chunked_in_chunks])
def test_a_coded_body_that_lies_about_its_length_is_not_kept(
    reader: Start, make: Callable[[Reader, str, bytes], Upload]
) -> None:
    r = reader(*NONE)
    old, data = data_of("o", KIB), data_of("o", MIB, 2)
    put(r, upload(r, "o", old))
    wait_until_stored(r)
    for change in (-1, 1):
        sent = _with_length(make(r, "o", data), data, len(data) + change)
        assert exchange(r.proxy.endpoint, bytes(sent), method=b"PUT").status >= 400
    assert uploads(r, "stored") == 1
    assert r.get("o").body == old


def test_data_that_looks_like_chunks_stays_data(reader: Start) -> None:
    r = reader(*NONE)
    data = b"5\r\nhello\r\n0\r\n\r\n" * 1000
    for framing, make in FRAMINGS.items():
        put(r, make(r, framing, data))
        for _ in range(2):
            assert r.get(framing).body == data


@MODES
@pytest.mark.parametrize("first_to_end", [1, 2])
def test_of_two_overlapping_writes_neither_is_published(
    reader: Start, mode: tuple[str, ...], first_to_end: int
) -> None:
    """Whichever ends first: the next read is the origin's object, from the origin."""
    r = reader(*mode)
    versions = {number: data_of("o", 2 * MIB, number) for number in (1, 2)}
    sent = {number: upload(r, "o", data) for number, data in versions.items()}
    with RawConnection(r.proxy.endpoint) as one, RawConnection(r.proxy.endpoint) as two:
        connections = {1: one, 2: two}
        for number in (1, 2):
            connections[number].send(sent[number].head + sent[number].body[:MIB])
            time.sleep(0.1)
        for number in (first_to_end, 3 - first_to_end):
            connections[number].send(sent[number].body[MIB:])
            assert connections[number].read_response(b"PUT").status == 200
    last = versions[3 - first_to_end]
    assert straight(r, "o").body == last
    assert uploads(r, "overlapped") >= 1
    r.origin.control.reset()
    for _ in range(2):
        assert r.get("o").body == last
    assert r.body_bytes("o") == len(last)


def test_a_put_during_which_the_object_is_deleted_is_not_published(reader: Start) -> None:
    r = reader(*NONE)
    data = data_of("o", 2 * MIB)
    sent = upload(r, "o", data)
    with RawConnection(r.proxy.endpoint) as connection:
        connection.send(sent.head + sent.body[:MIB])
        time.sleep(0.1)
        assert r.get("o", method="DELETE").status == 204
        connection.send(sent.body[MIB:])
        assert connection.read_response(b"PUT").status == 200
    assert uploads(r, "overlapped") == 1
    assert r.get("o").body == data


ENDINGS: dict[str, tuple[int, dict[str, object]]] = {
    "cut": (502, {"kind": "cut"}),
    "cut-head": (502, {"kind": "cut-head", "after": 20}),
    "stall": (504, {"kind": "stall", "after": -1, "seconds": 30}),
    **{str(status): (status, {"kind": "status", "status": status}) for status in (307, 403, 500, 503)},
    "no-etag": (200, {"kind": "etag", "value": "missing"}),
    "weak-etag": (200, {"kind": "etag", "value": "weak"}),
    "error-in-200": (200, {"kind": "late-error", "seconds": 0.1}),
}
"""What the client is answered, and the fault that causes it."""


@MODES
def test_an_upload_that_fails_leaves_nothing_behind(reader: Start, mode: tuple[str, ...]) -> None:
    r = reader(*mode, *SHORT)
    for key, (status, fault) in ENDINGS.items():
        old, new = data_of(key, MIB), data_of(key, 3 * MIB, 2)
        put(r, upload(r, key, old))
        assert r.get(key).body == old
        r.origin.control.fault(method="PUT", **fault)
        put(r, upload(r, key, new), status)
        r.origin.control.clear_faults()
        held = straight(r, key).body
        for _ in range(2):
            assert r.get(key).body == held, key
    wait_until_stored(r)
    assert uploads(r, "stored") == len(ENDINGS)
    wait_until_nothing_is_left(r)


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(reader: Start) -> None:
    r = reader(*NONE)
    data = data_of("o", 3 * MIB)
    for after in (0, 10, MIB, 3 * MIB - 1):
        with RawConnection(r.proxy.endpoint) as connection:
            sent = upload(r, "o", data)
            connection.send(sent.head + sent.body[:after])
            time.sleep(0.05)
    wait_for_uploads(r, "failed", 4)
    wait_until_nothing_is_left(r)
    assert r.get("o").status == 404


EARLY = b'HTTP/1.1 200 OK\r\nETag: "0123456789abcdef0123456789abcdef"\r\nContent-Length: 0\r\n\r\n'


def test_an_origin_that_answers_before_it_has_the_body_has_not_got_the_object(
    origin: OriginProcess, scripted: ScriptedOrigin, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    r = Reader(origin, start_fastcache(scripted.endpoint, *NONE))
    for number, make in enumerate((upload, of_unknown_length, aws_chunked), 1):
        sent = make(r, "o", data_of("o", 12 * MIB))
        with RawConnection(r.proxy.endpoint) as client:
            client.send(sent.head + sent.body[:KIB])
            with scripted.accept() as peer:
                read_until(peer, b"\r\n\r\n")
                peer.sendall(EARLY)
                assert client.read_response(b"PUT").status == 200
        wait_for_uploads(r, "incomplete", number)
    assert uploads(r, "stored") == 0


def test_more_than_a_quarter_of_the_cache_is_never_on_its_way(reader: Start) -> None:
    r = reader(*NONE, "--cache-size", "16MiB")
    side_by_side = [upload(r, f"o{n}", data_of(f"o{n}", MIB)) for n in range(6)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawConnection(r.proxy.endpoint)) for _ in side_by_side]
        for client, sent in zip(clients, side_by_side, strict=True):
            client.send(sent.head + sent.body[:KIB])
        time.sleep(0.2)
        for client, sent in zip(clients, side_by_side, strict=True):
            client.send(sent.body[KIB:])
        assert [client.read_response(b"PUT").status for client in clients] == [200] * 6
    wait_until_stored(r)
    before = uploads(r, "stored")
    assert before <= 4
    for key, size, kept in (("small", 3 * MIB, 1), ("large", 5 * MIB, 1), ("small", 2 * MIB, 2)):
        data = data_of(key, size)
        put(r, upload(r, key, data))
        assert r.get(key).body == data
        wait_until_stored(r)
        assert uploads(r, "stored") == before + kept
