"""What one client may cost: heads that are too large or too slow, idle and stalled connections, bodies nobody wants."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest
from tests.front.conftest import MIB, Front, content, wait
from tests.harness.raw import IncompleteResponseError, RawConnection

StartFront = Callable[..., Front]


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /bkt/o HTTP/1.1\r\nHost: 127.0.0.1\r\nx: " + b"y" * 70_000, 431, b"RequestHeaderSectionTooLarge"),
        (
            b"GET /bkt/o HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"x: y\r\n" * 100 + b"\r\n",
            431,
            b"RequestHeaderSectionTooLarge",
        ),
        (b"GET /bkt/" + b"k" * 8200 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414, b"URITooLong"),
        (b"GET /bkt/" + b"k" * 30_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414, b"URITooLong"),
        (b"GET /bkt/" + b"k" * 80_000, 431, b"RequestHeaderSectionTooLarge"),
        (b"\0" * 70_000, 431, b"RequestHeaderSectionTooLarge"),
    ],
    ids=["endless field", "too many fields", "long target", "very long target", "endless target", "no line at all"],
)
def test_a_head_over_a_limit_is_refused_and_the_refusal_can_be_read(
    front: Front, head: bytes, status: int, code: bytes
) -> None:
    for step in (len(head), 1000):
        with front.connect() as connection:
            connection.send_pieces(head[i : i + step] for i in range(0, len(head), step))
            response = connection.read_response()
            assert response.status == status
            assert b"<Code>%b</Code>" % code in response.body
            assert response.get(b"connection") == b"close"
            connection.end_sending()
            connection.expect_close()
    assert front.origin.control.log() == []


def test_heads_just_under_the_limits_are_served(front: Front) -> None:
    front.origin.control.synthetic("bkt", "o", 10)
    fields = [b"x-%d: %b" % (n, b"y" * 600) for n in range(99)]
    with front.connect() as connection:
        connection.send(front.request("o", *fields))
        assert connection.read_response().status == 200
        connection.send(front.request("o?x=" + "k" * (8 * 1024 - len("/bkt/o?x="))))
        assert connection.read_response().status == 200


def test_a_refused_head_request_has_no_body(front: Front) -> None:
    with front.connect() as connection:
        connection.send(b"HEAD /bkt/o HTTP/1.1\r\nHost: 127.0.0.1\r\nno colon\r\n\r\n")
        response = connection.read_response(b"HEAD")
        assert response.status == 400
        connection.expect_close()


def test_slow_clients_are_cut_off_each_in_its_own_time(start_front: StartFront) -> None:
    """A dripped head, a head that stops, an idle connection, a body that stops, a reader that stops: all at once."""
    front = start_front(
        *("--timeouts-head", "1s", "--timeouts-keep-alive", "5s", "--timeouts-client-stall", "2s"),
        *("--authorization", "none"),
    )
    size = 64 * MIB
    front.origin.control.synthetic("bkt", "large", size)
    front.origin.control.synthetic("bkt", "small", 10)
    before = front.sockets()
    with (
        front.connect() as dripping,
        front.connect() as stopped,
        front.connect() as silent,
        front.connect() as idle,
        front.connect() as sending,
        front.connect() as reading,
    ):
        stopped.send(b"GET /bkt/small HTTP/1.1\r\nHo")
        idle.send(front.request("small"))
        assert idle.read_response().status == 200
        sending.send(front.request("up", b"Content-Length: 1000", method=b"PUT") + b"only this")
        reading.send(front.request("large"))
        head = reading.read_head()
        started = time.monotonic()
        dripped = 0
        dripping.socket.settimeout(0.1)
        line = b"GET /bkt/small HTTP/1.1\r\nHost: 127.0.0.1\r\nx: " + b"y" * 1000
        while not dripping.buffered and time.monotonic() - started < 20:
            dripping.send(line[dripped : dripped + 1])
            dripped += 1
            try:
                dripping.buffered = dripping.socket.recv(1 << 16)
            except TimeoutError:
                continue
        for connection in (dripping, stopped):
            connection.socket.settimeout(20)
            response = connection.read_response()
            assert response.status == 408
            assert b"<Code>RequestTimeout</Code>" in response.body
            connection.end_sending()
            connection.expect_close()
        for connection in (silent, idle):
            connection.expect_close()
        with pytest.raises(IncompleteResponseError):
            sending.read_response(b"PUT")
        # What the kernel had taken can still be read (and counts as taken once); then the reset, never a clean end.
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == 0, "all are cut off")
        with pytest.raises(IncompleteResponseError) as cut:
            reading.read_exactly(size, head)
        assert len(cut.value.body) < size
        assert cut.value.body == content("large", 0, len(cut.value.body))
    front.until_idle(before)
    assert front.origin.control.requests("PUT", "up") == 0


def test_patience_is_counted_from_progress_not_from_the_start(start_front: StartFront) -> None:
    front = start_front(*(f"--timeouts-{what}=4s" for what in ("head", "client-stall", "keep-alive")))
    front.origin.control.synthetic("bkt", "o", 16 * MIB)
    with front.connect() as sending, front.connect() as reading:
        sending.send(front.request("up", b"Content-Length: 9", method=b"PUT"))
        reading.send(front.request("o"))
        head = reading.read_head()
        received = b""
        for n in range(9):
            sending.send(b"%d" % n)
            received += reading.read_exactly(MIB, head)
            wait(0.5)
        assert sending.read_response(b"PUT").status == 200
        assert received + reading.read_exactly(7 * MIB) == content("o", 0, 16 * MIB)


@pytest.mark.parametrize("size", [100_000, 3 * MIB, 40 * MIB])
def test_an_error_can_be_read_behind_a_large_body_that_nobody_took(front: Front, size: int) -> None:
    """RFC 9112 section 9.6: closing over unread bytes would be a reset, which can destroy the answer."""
    body = b"x" * size
    with front.connect() as connection:
        connection.send(front.request("big", host=b"unknown.example", method=b"PUT", body=body))
        response = connection.read_response(b"PUT")
        assert response.status == 400
        assert b"hosts:" in response.body
        connection.end_sending()
        connection.expect_close()
    assert front.origin.control.log() == []


def test_what_is_read_to_be_thrown_away_is_bounded(front: Front) -> None:
    with front.connect() as flood:
        flood.send(front.request("big", b"Content-Length: 1000000000", host=b"unknown.example", method=b"PUT"))
        assert flood.read_response(b"PUT").status == 400
        flood.socket.settimeout(0.5)
        sent = 0
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < 400 * MIB:
                flood.send(b"x" * (4 * MIB))
                sent += 4 * MIB
    assert sent < 400 * MIB


def test_clients_that_reset_in_any_phase_leave_nothing_behind(front: Front) -> None:
    size = 20 * MIB
    front.origin.control.synthetic("bkt", "large", size)
    front.origin.control.synthetic("bkt", "small", 10)
    with front.connect() as warm:
        warm.send(front.request("small"))
        assert warm.read_response().status == 200
    front.until_idle()
    before = front.sockets()

    def connected(_: RawConnection) -> None: ...

    def in_head(c: RawConnection) -> None:
        c.send(b"GET /bkt/small HT")

    def behind_the_head(c: RawConnection) -> None:
        c.send(front.request("large"))

    def in_the_answer(c: RawConnection) -> None:
        c.send(front.request("large"))
        c.read_exactly(100_000, c.read_head())

    def in_a_body(c: RawConnection) -> None:
        c.send(front.request("up", b"Content-Length: 100000", method=b"PUT") + b"x" * 1000)

    def in_a_chunk(c: RawConnection) -> None:
        c.send(front.request("up", b"Transfer-Encoding: chunked", method=b"PUT") + b"ffff\r\nx")

    def behind_a_body(c: RawConnection) -> None:
        c.send(front.request("up", method=b"PUT", body=b"x" * 1000))

    def between_requests(c: RawConnection) -> None:
        c.send(front.request("small"))
        c.read_response()

    def in_a_pipeline(c: RawConnection) -> None:
        c.send(front.request("small") * 5 + front.request("large") * 5)

    def at_a_slow_origin(c: RawConnection) -> None:
        c.send(front.request("slow"))
        wait(0.02)

    def while_refused(c: RawConnection) -> None:
        c.send(b"nonsense\r\n\r\n" + b"x" * 100_000)

    front.origin.control.fault("latency", seconds=1.0, key="slow", count=-1)
    phases = [connected, in_head, behind_the_head, in_the_answer, in_a_body, in_a_chunk, behind_a_body,
              between_requests, in_a_pipeline, at_a_slow_origin, while_refused]  # fmt: skip
    for phase in phases:
        for leave in (RawConnection.reset, RawConnection.close):
            for _ in range(5):
                connection = front.connect()
                phase(connection)
                leave(connection)
    front.until_idle(before)
    front.until(lambda: front.proxy.metric("fastcache_window_bytes") == 0, "no reader holds anything")
    with front.connect() as connection:
        connection.send(front.request("large"))
        assert connection.read_response().body == content("large", 0, size)


@pytest.mark.parametrize("delay", [0.0, 0.2])
def test_a_client_that_ends_its_side_behind_a_whole_request_is_answered(front: Front, delay: float) -> None:
    front.origin.control.fault("latency", seconds=0.6, key="half", count=-1)
    front.origin.control.synthetic("bkt", "half-get", 300_000)
    requests = [
        (front.request("half-get"), b"GET", content("half-get", 0, 300_000)),
        (front.request("half-put", method=b"PUT", body=b"x" * 200_000), b"PUT", b""),
        (front.request("half-put"), b"GET", b"x" * 200_000),
    ]
    for data, method, body in requests:
        with front.connect() as connection:
            connection.send(data)
            wait(delay)
            connection.end_sending()
            response = connection.read_response(method)
            assert (response.status, response.body) == (200, body)
            connection.expect_close()


def test_a_client_that_ended_its_side_while_output_waited_for_it_is_not_waited_for_for_ever(front: Front) -> None:
    """Its end is told once: when the output is through and the origin has to be waited for, it is long gone by."""
    sent = 32 * MIB
    front.origin.control.synthetic("bkt", "half", 2 * sent)
    front.origin.control.fault("stall", after=sent, seconds=3600, key="half")
    with front.connect() as connection:
        connection.send(front.request("half"))
        head = connection.read_head()
        # More than the buffers of two sockets take: the rest waits for the client.
        front.until(lambda: front.origin.control.body_sent("bkt", "half") > 16 * MIB, "output waits")
        connection.end_sending()
        time.sleep(0.5)
        assert front.proxy.metric("fastcache_open_connections") >= 1
        assert connection.read_exactly(sent, head) == content("half", 0, sent)
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == 0, "the connection was given up", 50)


def test_a_client_that_ended_its_side_is_not_waited_for_for_ever_when_the_answer_has_begun(front: Front) -> None:
    front.origin.control.synthetic("bkt", "begun", 100_000)
    front.origin.control.fault("latency", seconds=0.5, key="begun")
    front.origin.control.fault("stall", after=1000, seconds=3600, key="begun")
    with front.connect() as connection:
        connection.send(front.request("begun"))
        connection.end_sending()
        head = connection.read_head()
        assert connection.read_exactly(1000, head) == content("begun", 0, 1000)
        front.until(lambda: front.proxy.metric("fastcache_open_connections") == 0, "the connection was given up", 50)


def test_a_client_that_left_for_good_is_not_waited_for(front: Front) -> None:
    """A FIN may be a half-close, so it is given a few seconds; not as many as the origin takes."""
    front.origin.control.synthetic("bkt", "left", 10)
    front.origin.control.fault("latency", seconds=3600, key="left")
    connection = front.connect()
    connection.send(front.request("left"))
    front.until(lambda: front.origin.control.requests() == 1, "the origin was asked")
    connection.close()
    front.until(lambda: front.proxy.metric("fastcache_open_connections") == 0, "the connection was given up", 50)
