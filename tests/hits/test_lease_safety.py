"""What a hostile client, an impossible size or a caller with a bug could do to the memory under leases."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from pathlib import Path

import pytest
from tests.engine.conftest import Embed, read_answer
from tests.engine.conftest import until as until_so
from tests.harness.handles import nothing_stays
from tests.harness.reactor import Recorder, receive
from tests.hits.leased import NAME, Leased, leased, opened
from tests.hits.test_answers import client_of, warm
from tests.hits.test_leases import NOW, publish

from fastcache._core.extents import ExtentState
from fastcache._core.fences import Fences
from fastcache._core.handles import held_now
from fastcache._core.hit_log import records
from fastcache._core.leases import Leases
from fastcache._core.reactor import Reactor

MIB = 1 << 20
LARGEST = 2**63 - 1
CHUNK = 4 * MIB
HEAD = b"HEAD /b/k HTTP/1.1\r\nHost: h\r\nA: %04d\r\n\r\n"
MANY = 4000
"""Answers of more than five thousand bytes each: more than the buffers of a connection take."""


async def blocked(stage: Leased) -> socket.socket:
    """A client that asks often and reads nothing, until the hit branch waits for it with a head in hand."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, stage.address)
    await loop.sock_sendall(sock, b"".join(HEAD % number for number in range(MANY)))
    await until_so(lambda: stage.recorder.reactor.answering() == 1, "the client's buffers are full")
    return sock


def terms_of_a_blocked_answer() -> dict[str, object]:
    return {"headers": b"x-amz-meta-a: " + b"v" * 5000 + b"\r\n"}


async def test_a_lease_that_ends_under_an_answer_serves_it_to_its_last_byte_and_its_request_is_kept() -> None:
    before = held_now()

    def more(kind: str) -> int:
        return held_now()[kind] - before[kind]

    async with leased() as stage:
        stage.recorder.answer = lambda cid, head: stage.recorder.reactor.close(cid)
        former = stage.publish(**terms_of_a_blocked_answer())
        with await blocked(stage) as sock:
            assert {kind: more(kind) for kind in ("leases", "kept_heads", "hit_records")} == {
                "leases": 1, "kept_heads": 1, "hit_records": 1,
            }  # fmt: skip
            served = stage.hits.served
            stage.leases.revoke(former)
            assert stage.leases.take_released() == []
            after = stage.publish(headers=b"x-amz-meta-b: new\r\n")
            assert more("leases") == 2
            got = b""
            while b"x-amz-meta-b: new" not in got:
                got += await receive(sock, 5000)
            assert got.count(b"x-amz-meta-a: " + b"v" * 5000 + b"\r\n") == served + 1
            assert got.count(b"HTTP/1.1 200 OK\r\n") >= served + 2
            async with asyncio.timeout(20):
                while stage.hits.served < MANY:
                    await receive(sock, 1000)
            assert stage.leases.take_released() == [former]
            assert stage.leases.holds(after, NOW)
        logged = [hit.head for hit in records(stage.log.take())]
        assert logged == [HEAD % number for number in range(MANY)]


@pytest.mark.parametrize("end", ["close", "reset", "abort", "shut down"])
async def test_an_answer_that_is_cut_off_gives_everything_back(end: str) -> None:
    with nothing_stays():
        async with leased() as stage:
            stage.publish(**terms_of_a_blocked_answer())
            reactor = stage.recorder.reactor
            sock = await blocked(stage)
            if end == "abort":
                reactor.abort(0)  # the id of the first connection there ever was
            elif end == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if end in ("close", "reset"):
                sock.close()
            if end != "shut down":
                await until_so(lambda: reactor.answering() == 0, "the answer ended")
        sock.close()
        *_, last = records(stage.log.take())
        assert not last.complete
        assert last.head == HEAD % stage.hits.served
        stage.leases.revoke_all()
        stage.leases.take_released()


@pytest.mark.parametrize("kind", ["leases", "leased_extents", "kept_heads", "hit_records"])
async def test_a_test_that_leaves_an_answer_under_way_fails(kind: str) -> None:
    async with leased() as stage:

        async def leave() -> socket.socket:
            with nothing_stays():
                stage.publish(**terms_of_a_blocked_answer(), extents=[ExtentState(0, 4)])
                socks.append(await blocked(stage))
            return socks[0]

        socks: list[socket.socket] = []
        with pytest.raises(AssertionError, match=f"still holds: .*'{kind}': 1"):
            await leave()
        socks[0].close()


async def test_a_reactor_that_is_only_dropped_under_an_answer_leaves_nothing() -> None:
    loop = asyncio.get_running_loop()
    with nothing_stays(), socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        stage = Leased()
        stage.recorder, stage.address = Recorder(), server.getsockname()
        reactor = stage.recorder.reactor = Reactor(stage.recorder, hits=stage.hits)  # a cycle
        reactor.listen(server.fileno())
        loop.add_reader(reactor.fileno(), reactor.drain)
        stage.publish(**terms_of_a_blocked_answer())
        with await blocked(stage):
            loop.remove_reader(reactor.fileno())
        del reactor, stage


@pytest.mark.parametrize("checked_ahead", [True, False], ids=["checked", "a later block unchecked"])
async def test_the_end_of_the_largest_size_there_is_can_be_sent(tmp_path: Path, checked_ahead: bool) -> None:
    content = os.urandom(3 * MIB)
    start = LARGEST - len(content)
    path = tmp_path / "extent"
    path.write_bytes(content)
    with path.open("rb") as file:
        async with leased() as stage:
            extent = opened(path, start, content, file.fileno())
            if not checked_ahead:
                extent = ExtentState(start, LARGEST)
                extent.fd, extent.data_offset = file.fileno(), 0
                extent.mark_verified(0, 10)  # not the last of twelve
            stage.publish(size=LARGEST, memo=None, extents=[extent])
            sock = socket.create_connection(stage.address)
            with sock:
                sock.setblocking(False)
                request = b"GET /b/k HTTP/1.1\r\nHost: h\r\nRange: bytes=%d-\r\n\r\n" % start
                await asyncio.get_running_loop().sock_sendall(sock, request)
                if not checked_ahead:
                    # Left to the engine while nothing was sent, not in the middle of the body.
                    await stage.recorder.until("request")
                    assert stage.hits.served == 0
                    return
                head, _, body = (await receive(sock, 1000)).partition(b"\r\n\r\n")
                assert b"\r\nContent-Range: bytes %d-%d/%d" % (start, LARGEST - 1, LARGEST) in head
                assert body + await receive(sock, len(content) - len(body)) == content
        assert stage.hits.served == 1
        stage.leases.revoke_all()


@pytest.mark.parametrize("start", [0, 1, LARGEST - 1, LARGEST])
def test_an_interval_that_no_map_of_blocks_can_cover_is_refused(start: int) -> None:
    assert ExtentState(start, start).start == start
    if start < LARGEST - MIB:
        with pytest.raises(ValueError, match="not the interval"):
            ExtentState(start, LARGEST)
    with pytest.raises(ValueError, match="not the interval"):
        ExtentState(-LARGEST - 1, start)


@pytest.mark.parametrize("what", [None, "an extent", 1])
def test_what_is_no_extent_is_refused_and_takes_no_room(what: object) -> None:
    fences = Fences()
    leases = Leases(fences, 2, MIB, 10)
    whole = publish(leases, fences, (b"h", b"/w"), size=4, memo=None, extents=[ExtentState(0, 2)])
    for _ in range(3):
        with pytest.raises(TypeError):
            publish(leases, fences, NAME, memo=None, extents=[ExtentState(0, 2), what])
        with pytest.raises(TypeError):
            leases.extend(whole, [ExtentState(2, 4), what])  # type: ignore[list-item]
    assert (len(leases), leases.open_extents) == (1, 1)
    assert publish(leases, fences, NAME)
    assert leases.holds(whole, NOW)


class NoDigest:
    """An object id whose digest is made anew each time, or is none."""

    def __init__(self, length: int) -> None:
        self.length = length

    @property
    def digest(self) -> bytes:
        return bytes(self.length)

    bucket_digest = digest


@pytest.mark.parametrize("length", [0, 1, 31, 33])
def test_a_digest_of_another_length_names_no_fence(length: int) -> None:
    fences = Fences()
    leases = Leases(fences, 2, MIB, 10)
    with pytest.raises(ValueError, match="32 bytes"):
        leases.publish(
            b"h", b"/b/k", NoDigest(length), (fences.epoch, 0, 0), proved_at=NOW, get_ttl=1, head_ttl=1,  # type: ignore[arg-type]
            until=NOW + 1, etag=b"", size=0, last_modified=None, headers=b"", checksums=b"", not_modified=b"",
            resource=None, checksums_known=False, memo=b"", extents=[],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("until", "good"),
    [(1e12, True), (math.inf, True), (1e300, True), (math.nan, False), (-math.inf, False), (-1e300, False)],
)
def test_times_beyond_the_clock_are_far_away_and_what_is_no_time_is_over(until: float, good: bool) -> None:
    fences = Fences()
    leases = Leases(fences, 2, MIB, 10)
    lease = publish(leases, fences, NAME, until=until, get_ttl=until, head_ttl=until)
    assert leases.holds(lease, NOW) == good
    assert not leases.holds(lease, math.inf)


async def test_a_head_over_the_limit_is_refused_wherever_it_comes_from_and_the_log_lives(
    embed: Embed, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    async with client_of(embed, access_log="all", access_log_file=str(log)) as client:
        client.proxy.origin.control.synthetic("bkt", "o", 4096)
        await warm(client, "o")
        put, _, _ = client.proxy.request("p", method="PUT", body=b"x").partition(b"\r\n\r\n")
        fields = [field for field in put.split(b"\r\n") if not field.lower().startswith(b"content-length")]
        long = client.proxy.request("o").replace(b"\r\n\r\n", b"\r\nA: " + b"a" * 70_000 + b"\r\n\r\n")
        served = client.hits.served
        # So much before it that the kernel takes all of what follows at once, and that it is read in one piece.
        client.writer.write(b"\r\n".join([*fields, b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % CHUNK]))
        client.writer.write(bytes(CHUNK - 1))
        await client.writer.drain()
        await asyncio.sleep(0.5)
        client.writer.write(b"x\r\n0\r\n\r\n" + long)
        await read_answer(client.reader)
        refused, _ = await read_answer(client.reader)
        assert refused.startswith(b"HTTP/1.1 431 ")
        assert client.hits.served == served
        client.reader, client.writer = await client.proxy.connect()
        assert (await client.ask("GET", "o", {}))[1]
        client.writer.close()
        await until_so(lambda: log.read_bytes().count(b"GET /bkt/o ") > served, "the last line is written")
