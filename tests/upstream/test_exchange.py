"""One exchange after the other on real sockets: reuse, framing, heads, bodies."""

from __future__ import annotations

import asyncio
import select
import socket
from collections import Counter
from collections.abc import AsyncIterator

import pytest
from tests.upstream.origins import GET, HEAD, Peer, origin, pool_for, put, read_all, settled, sized

from fastcache.errors import RequestError, UpstreamConnectError, UpstreamProtocolError, UpstreamSurplusError
from fastcache.model import OriginId
from fastcache.protocol.responses import ResponseHead
from fastcache.upstream.metrics import NoMetrics
from fastcache.upstream.pool import Pool
from fastcache.upstream.response import Response
from fastcache.upstream.settings import UpstreamSettings


async def test_connections_are_reused_and_answers_never_mixed() -> None:
    async def script(peer: Peer) -> None:
        count = 0
        while True:
            await peer.answer(sized(b"answer %d" % count))
            count += 1

    async with origin(script) as source, pool_for(source) as pool:
        for count in range(20):
            response = await pool.request(b"GET", GET, retry_safe=True)
            assert response.head.status == 200
            assert await read_all(response) == b"answer %d" % count
            assert not await response.read()
            response.abort()
        assert source.accepted == 1
        assert (pool.open_connections, pool.idle_connections) == (1, 1)


async def test_the_head_goes_out_as_it_was_given() -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.answer(sized(b"")))

    head = b"GET /b/a%28%2F//+?x-id=GetObject HTTP/1.1\r\nhost: o\r\nX-Amz-MiXed:  two  blanks \r\n\r\n"
    async with origin(script) as source, pool_for(source) as pool:
        assert await read_all(await pool.request(b"GET", head, retry_safe=True)) == b""
    assert seen == [head]


async def test_an_answer_to_head_with_a_length_has_no_body_and_the_connection_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nETag: "a"\r\n\r\n')
        await peer.answer(sized(b"the second"))

    async with origin(script) as source, pool_for(source) as pool:
        first = await pool.request(b"HEAD", HEAD, retry_safe=True)
        assert first.head.get(b"content-length") == b"1000000"
        assert await read_all(first) == b""
        second = await pool.request(b"GET", GET, retry_safe=True)
        assert await read_all(second) == b"the second"
        assert source.accepted == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_statuses_without_body_leave_the_connection_usable(status: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 %b\r\nContent-Length: 77\r\n\r\n" % status)
        await peer.answer(sized(b"next"))

    async with origin(script) as source, pool_for(source) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b""
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"next"
        assert source.accepted == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_chunked_bodies_with_trailers_arrive_decoded_and_the_connection_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED + b"5\r\nhello\r\n7;x=1\r\n, world\r\n0\r\nx-amz-checksum-crc32c: AA==\r\n\r\n")
        await peer.answer(sized(b"next"))

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        assert await read_all(response) == b"hello, world"
        assert response.trailers == ((b"x-amz-checksum-crc32c", b"AA=="),)
        assert response.bytes_received == 12
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"next"
        assert source.accepted == 1


@pytest.mark.parametrize("block", [5000, 65536])
async def test_chunks_of_every_size_across_blocks_of_any_size(block: int) -> None:
    body = bytes(range(256)) * 4000

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(CHUNKED)
        start, size = 0, 1
        while start < len(body):
            piece = body[start : start + size]
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            start, size = start + size, size * 2 + 1
        for byte in (b"0", b"\r", b"\n", b"\r", b"\n"):
            await peer.send(byte)
        await peer.answer(sized(b"next"))

    settings = UpstreamSettings(receive_block=block, first_block=16384)
    async with origin(script) as source, pool_for(source, settings) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == body
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"next"


async def test_a_body_ended_by_close_is_whole_and_its_connection_is_gone() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\n" + b"until the end")

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        assert not response.head.keep_alive
        assert await read_all(response) == b"until the end"
        await settled(lambda: pool.open_connections == 0)


async def test_a_body_ended_by_a_reset_is_cut() -> None:
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\n" + b"until")
        await arrived.wait()
        peer.reset()

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        assert bytes(await response.read()) == b"until"
        arrived.set()
        with pytest.raises(UpstreamProtocolError):
            await read_all(response)


@pytest.mark.parametrize("extra", [b"Connection: close\r\n", b"Connection: x, Close\r\n"])
async def test_close_is_honoured(extra: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"bye", extra=extra))
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        for _ in range(2):
            assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"bye"
        assert source.accepted == 2


async def test_bytes_behind_a_chunked_answer_close_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(CHUNKED + b"1\r\nx\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"x"
        await settled(lambda: pool.open_connections == 0)


@pytest.mark.parametrize("body", [b"", b"body"])
async def test_more_bytes_than_announced_are_not_taken_for_a_whole_body(body: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(sized(body) + b"X")
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        with pytest.raises(UpstreamSurplusError):
            await read_all(response)
        await settled(lambda: pool.open_connections == 0)


async def test_bytes_on_an_idle_connection_are_never_the_next_answer() -> None:
    first_is_over = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"first"))
        if peer.number == 0:
            await first_is_over.wait()  # behind the answer's last byte it would be a surplus of that answer
            await peer.send(sized(b"poison"))
            await peer.gone()
        await peer.answer(sized(b"second"))

    async with origin(script) as source, pool_for(source) as pool:
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"first"
        await settled(lambda: pool.idle_connections == 1)
        first_is_over.set()
        await settled(lambda: pool.idle_connections == 0)
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"first"
        assert source.accepted == 2


@pytest.mark.parametrize("last_act", ["poison", "close"])
async def test_what_the_loop_has_not_seen_yet_is_found_before_reuse(last_act: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer_one() -> socket.socket:
        accepted, _ = listener.accept()
        while b"\r\n\r\n" not in accepted.recv(65536):
            pass
        accepted.sendall(sized(b"right"))
        return accepted

    async def ask() -> socket.socket:
        answering = asyncio.create_task(asyncio.to_thread(answer_one))
        assert await read_all(await pool.request(b"POST", GET, retry_safe=False)) == b"right"
        return await answering

    pool = Pool(OriginId("http", *listener.getsockname()), UpstreamSettings())
    first = await ask()
    # From here to is_usable() the loop does not turn.
    if last_act == "poison":
        first.sendall(sized(b"poison"))
    else:
        first.close()
    (connection,) = pool._idle
    assert select.select([connection._sock], [], [], 5)[0]
    assert not connection.is_usable()
    second = await ask()
    await pool.close()
    for sock in (first, second, listener):
        sock.close()


async def test_informational_answers_are_passed_on_in_order() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + sized(b"final")
        )
        await peer.answer(sized(b"next"))

    seen: list[ResponseHead] = []
    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, on_informational=seen.append, retry_safe=True)
        assert [head.status for head in seen] == [100, 103]
        assert seen[1].get(b"link") == b"</x>"
        assert await read_all(response) == b"final"
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"next"


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]
    + [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 65 + sized(b"final")],
    ids=["101", "too many"],
)
async def test_informational_answers_that_are_refused(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(answer)
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        with pytest.raises(UpstreamProtocolError):
            await pool.request(b"GET", GET, retry_safe=True)
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


GARBAGE = [
    b"hello\r\n\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000,
    b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n",
    CHUNKED[:-2] + b"Content-Length: 1\r\n\r\n",
]


@pytest.mark.parametrize("answer", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_an_error_and_the_connection_is_gone(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(answer)
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        with pytest.raises(UpstreamProtocolError):
            await pool.request(b"GET", GET, retry_safe=True)
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_a_head_of_exactly_the_limit_passes_byte_by_byte_blocks_or_not() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nA: "
    head += b"x" * (65536 - len(head) - 4) + b"\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"y" * 50_000))
        await peer.answer(head + b"body")
        await peer.answer(head[:100] + b"x" + head[100:] + b"body")

    async with origin(script) as source, pool_for(source) as pool:
        await read_all(await pool.request(b"GET", GET, retry_safe=True))
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"body"
        with pytest.raises(UpstreamProtocolError, match="65536"):
            await pool.request(b"GET", GET, retry_safe=True)
        assert source.accepted == 1


ANSWERS = [
    pytest.param(sized(b"ten bytes!"), id="length"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n", id="chunked"),
]


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_cut_at_any_byte_is_an_error(answer: bytes) -> None:
    cuts = iter(range(len(answer)))

    async def script(peer: Peer) -> None:
        await peer.answer(answer[: next(cuts)])

    async with origin(script) as source, pool_for(source) as pool:
        for _ in range(len(answer)):
            with pytest.raises(UpstreamProtocolError):
                await read_all(await pool.request(b"GET", GET, retry_safe=True))
        assert source.accepted == len(answer)
        await settled(lambda: pool.open_connections == 0)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_an_answer_that_comes_byte_by_byte_is_whole(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        for byte in answer:
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"GET", GET, retry_safe=True)
        assert await read_all(response) in (b"ten bytes!", b"helloabc")


async def test_views_stay_what_they_were_while_the_connection_is_reused() -> None:
    async def script(peer: Peer) -> None:
        count = 0
        while True:
            await peer.answer(sized(bytes([count]) * 3000))
            count += 1

    kept: list[memoryview] = []
    async with origin(script) as source, pool_for(source) as pool:
        for _ in range(100):
            response = await pool.request(b"GET", GET, retry_safe=True)
            while piece := await response.read():
                kept.append(piece)
    assert b"".join(kept) == b"".join(bytes([count]) * 3000 for count in range(100))


async def pieces(*values: bytes | memoryview | BaseException) -> AsyncIterator[bytes | memoryview]:
    for value in values:
        if isinstance(value, BaseException):
            raise value
        yield value


async def test_a_sized_body_arrives_and_the_connection_goes_on() -> None:
    body = bytes(range(256)) * 8192
    got = []

    async def script(peer: Peer) -> None:
        await peer.head()
        got.append(await peer.reader.readexactly(len(body)))
        await peer.send(sized(b""))
        await peer.answer(sized(b"next"))

    async with origin(script) as source, pool_for(source) as pool:
        parts = [memoryview(body)[at : at + 100_000] for at in range(0, len(body), 100_000)]
        response = await pool.request(
            b"PUT", put(len(body)), body=pieces(b"", *parts), content_length=len(body), retry_safe=False
        )
        assert response.request_complete
        await read_all(response)
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"next"
        assert source.accepted == 1
    assert got == [body]


async def test_a_chunked_body_is_framed_piece_by_piece() -> None:
    got = []

    async def script(peer: Peer) -> None:
        await peer.head()
        got.append(await peer.reader.readuntil(b"0\r\n\r\n"))
        await peer.send(sized(b""))
        await peer.answer(sized(b"next"))

    head = b"PUT /b/k HTTP/1.1\r\nHost: o\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(
            b"PUT", head, body=pieces(b"hello", memoryview(b", wide world")), chunked=True, retry_safe=False
        )
        await read_all(response)
        assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"next"
    assert got == [b"5\r\nhello\r\nc\r\n, wide world\r\n0\r\n\r\n"]


@pytest.mark.parametrize("body", [(b"1234",), (b"123456",), (b"12345", b"6")], ids=["short", "long", "long, late"])
async def test_a_body_of_another_length_than_promised_is_refused(body: tuple[bytes, ...]) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        with pytest.raises(RequestError):
            await pool.request(b"PUT", put(5), body=pieces(*body), content_length=5, retry_safe=False)
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_what_the_body_raises_is_raised_and_the_connection_is_gone() -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        with pytest.raises(ZeroDivisionError):
            await pool.request(
                b"PUT", put(50), body=pieces(b"12345", ZeroDivisionError()), content_length=50, retry_safe=False
            )
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_what_the_informational_callback_raises_is_raised_and_the_connection_is_gone() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.gone()

    def refuse(head: ResponseHead) -> None:
        raise ZeroDivisionError

    async with origin(script) as source, pool_for(source) as pool:
        with pytest.raises(ZeroDivisionError):
            await pool.request(b"GET", GET, on_informational=refuse, retry_safe=True)
        await settled(lambda: pool.open_connections == 0 and source.open == 0)


async def test_a_final_answer_before_the_body_ends_stops_the_sending_and_closes() -> None:
    stopped = asyncio.Event()
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        try:
            while True:
                sent += 65536
                yield bytes(65536)
                await asyncio.sleep(0)
        finally:
            stopped.set()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.reader.readexactly(100_000)
        await peer.send(sized(b"<Error/>", b"403 Forbidden"))
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"PUT", put(2**40), body=endless(), content_length=2**40, retry_safe=False)
        at_answer = sent
        assert response.head.status == 403
        assert not response.request_complete
        assert await read_all(response) == b"<Error/>"
        await settled(lambda: pool.open_connections == 0)
        assert sent == at_answer
        assert pool.idle_connections == 0


async def test_an_expected_body_that_is_refused_is_never_asked_for() -> None:
    """A client that waits for a 100 must not have to send its body to get the final answer (RFC 9110 10.1.1)."""

    async def withheld() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b"never"

    async def script(peer: Peer) -> None:
        await peer.answer(sized(b"", b"417 Expectation Failed"))
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(b"PUT", put(5), body=withheld(), content_length=5, retry_safe=False)
        assert (response.head.status, response.request_complete) == (417, False)
        await settled(lambda: pool.open_connections == 0)


async def test_a_100_from_the_origin_arrives_before_the_body_is_there() -> None:
    go = asyncio.Event()

    async def held() -> AsyncIterator[bytes]:
        await go.wait()
        yield b"12345"

    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await peer.reader.readexactly(5) == b"12345"
        await peer.send(sized(b"stored"))

    def on_informational(head: ResponseHead) -> None:
        assert head.status == 100
        go.set()

    async with origin(script) as source, pool_for(source) as pool:
        response = await pool.request(
            b"PUT", put(5), body=held(), content_length=5, on_informational=on_informational, retry_safe=False
        )
        assert response.request_complete
        assert await read_all(response) == b"stored"


async def test_two_readers_of_one_body_are_a_mistake() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await peer.gone()

    async with origin(script) as source, pool_for(source) as pool:
        response: Response = await pool.request(b"GET", GET, retry_safe=True)
        first = asyncio.create_task(response.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await response.read()
        with pytest.raises(Exception, match=r"aborted|given up"):
            await first


class Counted(NoMetrics):
    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def connection_opened(self) -> None:
        self.calls["opened"] += 1

    def connection_closed(self) -> None:
        self.calls["closed"] += 1

    def connect_failed(self) -> None:
        self.calls["failed"] += 1

    def request_sent(self, method: bytes) -> None:
        self.calls[method.decode()] += 1

    def request_retried(self, method: bytes) -> None:
        self.calls["retried"] += 1

    def body_received(self, count: int) -> None:
        self.calls["received"] += count

    def bytes_sent(self, count: int) -> None:
        self.calls["sent"] += count


async def test_every_request_connection_and_byte_is_reported() -> None:
    answer = CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.answer(answer)
        await peer.head()

    counted = Counted()
    async with origin(script) as source:
        pool = Pool(source.id, UpstreamSettings(), metrics=counted)
        for _ in range(2):
            assert await read_all(await pool.request(b"GET", GET, retry_safe=True)) == b"hello"
        await pool.close()
    closed = Pool(source.id, UpstreamSettings(), metrics=counted)
    with pytest.raises(UpstreamConnectError):
        await closed.request(b"GET", GET, retry_safe=True)
    received, sent = 2 * len(b"hello"), 3 * len(GET)
    assert counted.calls == Counter(opened=2, closed=2, failed=1, GET=3, retried=1, received=received, sent=sent)
