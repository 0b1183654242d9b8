"""Streams of requests, damaged at random, as the origin gets them through the proxy and as h11 and httptools read them.

Whatever reaches the origin is a request that both others find in the client's bytes at the same place, with the same
method, target and body, in the same order; the proxy may refuse one for its Host, and stop earlier than they do (P-30).
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator

import h11
import httptools
import pytest
from tests.harness.proxy import FastcacheProcess
from tests.harness.raw import RawConnection
from tests.protocol.test_smuggling import ENDS, NAMES, VALUES

Message = tuple[bytes, bytes, bytes]
"""Method, target, body."""
HIDDEN = b"GET /b/hidden HTTP/1.1\r\nHost: a\r\n\r\n"


# ---- readers


def read_by_h11(stream: bytes) -> list[Message]:
    """The complete requests at the beginning of ``stream``, each read by a parser of its own: which of two requests is
    the last of a connection is not the question. Empty lines between them are skipped, as RFC 9112 section 2.2 asks."""
    found: list[Message] = []
    while stream := stream.lstrip(b"\r\n"):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(stream)
        message = _one_by_h11(connection)
        if message is None:
            break
        found.append(message)
        stream = connection.trailing_data[0]
    return found


def _one_by_h11(connection: h11.Connection, more: Callable[[], bytes] = bytes) -> Message | None:
    """The next complete request; None when it is refused or ends early. ``more`` gives bytes where some are missing."""
    request: h11.Request | None = None
    body = b""
    with contextlib.suppress(h11.RemoteProtocolError):
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif event is h11.NEED_DATA and (received := more()):
                connection.receive_data(received)
            else:
                return None
        assert request is not None
        return bytes(request.method), bytes(request.target), body
    return None


class _Collected:
    def __init__(self) -> None:
        self.found: list[Message] = []
        self.parser = httptools.HttpRequestParser(self)
        self._target = self._body = b""

    def on_message_begin(self) -> None:
        self._target = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self.found.append((self.parser.get_method(), self._target, self._body))


def read_by_httptools(stream: bytes) -> list[Message] | None:
    """As above, by httptools; None when it stops at an Upgrade, which the proxy never takes part in."""
    collected = _Collected()
    try:
        collected.parser.feed_data(stream)
    except httptools.HttpParserUpgrade:
        return None
    except httptools.HttpParserError:
        pass
    return collected.found


class Recorder:
    """An origin that says 200 to everything and keeps what h11 read; None for what h11 refused."""

    def __init__(self, listener: socket.socket) -> None:
        self.seen: list[Message | None] = []
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._listener = listener
        threading.Thread(target=self._accept, daemon=True).start()

    def taken(self) -> list[Message | None]:
        """What was seen since the last call."""
        seen, self.seen = self.seen, []
        return seen

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            buffered = b""
            while True:
                reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
                if buffered:  # h11 takes no bytes for the end
                    reader.receive_data(buffered)
                message = _one_by_h11(reader, lambda: connection.recv(65536))
                if message is None:
                    if reader.their_state is h11.ERROR:
                        self.seen.append(None)
                    return  # else the proxy left, in the middle of a message or after one
                self.seen.append(message)
                buffered = reader.trailing_data[0]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


# ---- streams


def stream_of(rng: random.Random) -> bytes:
    """One to four requests, some of them damaged, some with a request in their body."""
    stream = b"".join(_request(rng, number) for number in range(rng.randint(1, 4)))
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        stream = _damaged(rng, stream)
    # White space around a chunk's semicolon is allowed (RFC 9112 section 7.1.1), and the others refuse it.
    return re.sub(rb"([0-9A-Fa-f])[ \t]*;[ \t]*", rb"\1;", stream)


def _request(rng: random.Random, number: int) -> bytes:
    method = rng.choice((b"GET", b"PUT", b"PUT", b"POST", b"DELETE", b"HEAD"))
    version = rng.choice((b"HTTP/1.1",) * 9 + (b"HTTP/1.0",))
    lines = [b"%b /b/%d %b\r\n" % (method, number, version), b"Host: 127.0.0.1\r\n"]
    lines += [
        rng.choice(NAMES) + rng.choice((b": ", b":")) + rng.choice(VALUES) + rng.choice(ENDS)
        for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))
    ]
    content = rng.choice((b"", b"12345", HIDDEN, rng.randbytes(rng.randint(0, 40))))
    framed = rng.randint(0, 3)
    if method in (b"PUT", b"POST") and framed:
        if framed & 1:
            lines.append(b"Content-Length: %d\r\n" % len(content))
        if framed & 2:
            lines.append(b"Transfer-Encoding: chunked\r\n")
            content = _chunked(rng, content)
    else:
        content = b""
    return b"".join(lines) + b"\r\n" + content


def _chunked(rng: random.Random, content: bytes) -> bytes:
    cut = rng.randint(0, len(content))
    size = rng.choice((b"%x", b"%X", b"0%x", b"%x;a=b", b'%x;a="b"', b"%x ", b"+%x", b"0x%x"))
    chunks = [size % len(part) + b"\r\n" + part + b"\r\n" for part in (content[:cut], content[cut:]) if part]
    trailer = rng.choice((b"", b"", b"a: b\r\n", b"Content-Length: 5\r\n", b"a: b\n", b" a: b\r\n"))
    return b"".join(chunks) + rng.choice((b"0", b"00", b"0;a", b"")) + b"\r\n" + trailer + b"\r\n"


def _damaged(rng: random.Random, stream: bytes) -> bytes:
    at = rng.randrange(len(stream) + 1)
    kind = rng.randint(0, 4)
    if kind == 0:
        return stream[:at] + bytes((rng.choice(b"\r\n\0 \t:,;#/0"),)) + stream[at + 1 :]
    if kind == 1:
        return stream[:at] + bytes((rng.choice(b"\r\n\0 \t:,;#/0"),)) + stream[at:]
    if kind == 2:
        return stream[:at] + stream[at + rng.randint(1, 3) :]
    if kind == 3:  # a line twice
        lines = stream.split(b"\r\n")
        index = rng.randrange(len(lines))
        return b"\r\n".join([*lines[: index + 1], lines[index], *lines[index + 1 :]])
    return stream.replace(b"\r\n", b"\n", 1) if rng.random() < 0.5 else stream[:at]


def pieces_of(rng: random.Random, stream: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True) if start < end]


# ---- the test


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Recorder(listener)


def is_part_of(seen: list[Message | None], found: list[Message]) -> bool:
    """Whether ``found`` is ``seen`` with perhaps more between."""
    rest = iter(found)
    return all(message in rest for message in seen)


def compare(recorder: Recorder, proxy: FastcacheProcess, seeds: range) -> tuple[int, int]:
    """How many requests reached the origin, and how many h11 found."""
    reached = found = 0
    for seed in seeds:
        rng = random.Random(seed)
        stream = stream_of(rng)
        with RawConnection(proxy.endpoint) as connection, contextlib.suppress(ConnectionError):
            connection.send_pieces(pieces_of(rng, stream))
            connection.end_sending()
            while connection.socket.recv(65536):
                pass
        seen, by_h11, by_httptools = recorder.taken(), read_by_h11(stream), read_by_httptools(stream)
        assert is_part_of(seen, by_h11), (seed, stream, seen, by_h11)
        assert by_httptools is None or is_part_of(seen, by_httptools), (seed, stream, seen, by_httptools)
        reached, found = reached + len(seen), found + len(by_h11)
    return reached, found


def test_what_reaches_the_origin_is_what_others_read_there(
    recorder: Recorder, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    reached, found = compare(recorder, start_fastcache(recorder.endpoint, "--cache", "off"), range(400))
    assert 200 < reached <= found, "most streams are too broken to show anything, or none is"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_reaches_the_origin_is_what_others_read_there_in_many_streams(
    recorder: Recorder, start_fastcache: Callable[..., FastcacheProcess]
) -> None:
    compare(recorder, start_fastcache(recorder.endpoint, "--cache", "off"), range(400, 40_000))
