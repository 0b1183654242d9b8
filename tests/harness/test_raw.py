"""The raw client: what it accepts, what it refuses, and what it reports when an answer ends early."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.harness.raw import IncompleteResponseError, InvalidResponseError, RawConnection, exchange

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(answer, reset=False)``: an endpoint that reads a head, sends ``answer`` and ends the connection."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(answer: bytes, *, reset: bool = False) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            peer, _ = listener.accept()
            with peer:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += peer.recv(65536)
                peer.sendall(answer)
                if reset:
                    # The answer must have arrived before the RST throws away what has not been read.
                    peer.recv(1)
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    for listener in listeners:
        listener.close()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_reads_a_body_by_content_length_and_leaves_what_follows(serve: Serve) -> None:
    endpoint = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Two:  a b \r\n\r\nabcHTTP/1.1 204 \r\n\r\n")
    with RawConnection(endpoint) as connection:
        connection.send_byte_by_byte(GET)
        first = connection.read_response()
        second = connection.read_response()
        connection.expect_close()
    assert (first.status, first.reason, first.body, first.get(b"x-two")) == (200, b"OK", b"abc", b"a b")
    assert (second.status, second.body) == (204, b"")


def test_reads_chunks_with_extensions_and_trailers(serve: Serve) -> None:
    endpoint = serve(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;name=value\r\nab\r\n0a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n"
    )
    response = exchange(endpoint, GET)
    assert response.body == b"ab0123456789"
    assert response.trailers == ((b"X-Sum", b"1"),)


def test_collects_interim_answers(serve: Serve) -> None:
    endpoint = serve(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    response = exchange(endpoint, GET)
    assert [interim.status for interim in response.interim] == [100]
    assert response.status == 200


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_reads_no_body_where_there_is_none(serve: Serve, status: bytes) -> None:
    endpoint = serve(b"HTTP/1.1 " + status + b"\r\nETag: a\r\n\r\n")
    assert exchange(endpoint, GET).body == b""


def test_reads_no_body_after_head(serve: Serve) -> None:
    endpoint = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    response = exchange(endpoint, GET.replace(b"GET", b"HEAD"))
    assert (response.get(b"content-length"), response.body) == (b"5", b"")


def test_reads_to_the_end_without_framing(serve: Serve) -> None:
    assert exchange(serve(b"HTTP/1.0 200 OK\r\n\r\nrest"), GET).body == b"rest"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    ],
)
def test_refuses_what_rfc_9112_forbids(serve: Serve, answer: bytes) -> None:
    with pytest.raises(InvalidResponseError):
        exchange(serve(answer), GET)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", b"abc"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\nde", b"abcde"),
    ],
)
def test_reports_an_answer_that_ends_early(serve: Serve, answer: bytes, body: bytes) -> None:
    with pytest.raises(IncompleteResponseError) as caught:
        exchange(serve(answer), GET)
    assert caught.value.body == body
    assert not caught.value.reset


def test_tells_a_reset_from_an_end(serve: Serve) -> None:
    with RawConnection(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", reset=True)) as connection:
        connection.send(GET)
        head = connection.read_head()
        assert connection.read_exactly(3, head) == b"abc"
        connection.send(b"x")
        with pytest.raises(IncompleteResponseError) as caught:
            connection.read_exactly(2, head, b"abc")
    assert (caught.value.body, caught.value.reset) == (b"abc", True)


def test_a_repeated_field_is_not_one_value(serve: Serve) -> None:
    response = exchange(serve(b"HTTP/1.1 204 No\r\nX: 1\r\nx: 2\r\n\r\n"), GET)
    assert response.all(b"x") == [b"1", b"2"]
    with pytest.raises(InvalidResponseError):
        response.get(b"x")


def test_silence_is_told_from_bytes_and_from_an_end() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        RawConnection(f"http://127.0.0.1:{listener.getsockname()[1]}") as connection,
    ):
        peer, _ = listener.accept()
        connection.expect_silence(0.05)
        with pytest.raises(AssertionError, match="still open"):
            connection.expect_close(0.05)
        peer.sendall(b"x")
        with pytest.raises(AssertionError, match="unexpected bytes"):
            connection.expect_silence(5)
        peer.close()
        with pytest.raises(AssertionError, match="was closed"):
            connection.expect_silence(5)
