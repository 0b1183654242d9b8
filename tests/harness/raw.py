"""A client that sends exactly the bytes it is told and reads answers strictly, for what no SDK would send.

Anything RFC 9112 does not allow in an answer is an ``InvalidResponseError``; an answer that ends early is an
``IncompleteResponseError`` that holds what came. Never more is read than one answer needs: what follows it stays in
``RawConnection.buffered``.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
_FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*"  # no white space before the colon (RFC 9112 §5.1)
    rb"((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[\t ]*"
)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[\t ]*;[\t\x20-\x7e]*)?")
_DIGITS = re.compile(rb"[0-9]{1,19}")
_HEAD_LIMIT = 256 << 10


class InvalidResponseError(AssertionError):
    """The peer's answer breaks RFC 9112."""


class IncompleteResponseError(AssertionError):
    """The connection ended inside an answer. ``body`` is what came of its body, ``reset`` whether by RST."""

    def __init__(
        self, message: str, *, head: RawResponse | None = None, body: bytes = b"", reset: bool = False
    ) -> None:
        super().__init__(message)
        self.head = head
        self.body = body
        self.reset = reset


@dataclass(frozen=True)
class RawResponse:
    """One final answer; ``interim`` are the 1xx answers before it, ``trailers`` the fields after a chunked body."""

    status: int
    reason: bytes
    version: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    interim: tuple[RawResponse, ...] = ()

    def all(self, name: bytes) -> list[bytes]:
        """Every value of ``name``, in order."""
        return [value for field, value in self.headers if field.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        """The only value of ``name``, or None; several are an ``InvalidResponseError``."""
        values = self.all(name)
        if len(values) > 1:
            raise InvalidResponseError(f"{len(values)} fields {name!r}: {values!r}")
        return values[0] if values else None


class RawConnection:
    """One TCP (or TLS) connection to ``endpoint`` (``http://host:port``)."""

    def __init__(self, endpoint: str, *, timeout: float = 20.0, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        self.host = parts.netloc
        self.buffered = b""
        self._socket = socket.create_connection((parts.hostname, port), timeout)
        # Each send is a segment of its own, so that "byte by byte" is what the peer sees.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname=parts.hostname)

    def __enter__(self) -> RawConnection:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Close with RST instead of FIN, as a process that dies with unread data does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self._socket.close()

    def end_sending(self) -> None:
        """Half-close: nothing more will be sent, answers can still come."""
        self._socket.shutdown(socket.SHUT_WR)

    @property
    def socket(self) -> socket.socket:
        return self._socket

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_pieces(self, pieces: Iterable[bytes]) -> None:
        """Each piece in a send of its own."""
        for piece in pieces:
            self._socket.sendall(piece)

    def send_byte_by_byte(self, data: bytes) -> None:
        self.send_pieces(data[i : i + 1] for i in range(len(data)))

    def read_response(self, method: bytes = b"GET") -> RawResponse:
        """The next final answer to a request whose method was ``method``, framed as RFC 9112 §6.3 says."""
        interim: list[RawResponse] = []
        while True:
            head = self.read_head()
            if head.status >= 200 or head.status == 101:
                break
            interim.append(head)
        body, trailers = self._read_body(head, method)
        return RawResponse(head.status, head.reason, head.version, head.headers, body, trailers, tuple(interim))

    def read_head(self) -> RawResponse:
        """Status line and fields of the next answer, an interim one included; its body stays unread."""
        while (end := self.buffered.find(b"\r\n\r\n")) < 0:
            if len(self.buffered) > _HEAD_LIMIT:
                raise InvalidResponseError(f"no end of head within {_HEAD_LIMIT} bytes")
            self._fill(None, b"")
        lines = self.buffered[:end].split(b"\r\n")
        self.buffered = self.buffered[end + 4 :]
        match = _STATUS_LINE.fullmatch(lines[0])
        if match is None:
            raise InvalidResponseError(f"status line: {lines[0]!r}")
        return RawResponse(int(match[2]), match[3], b"HTTP/1." + match[1], tuple(_field(line) for line in lines[1:]))

    def read_exactly(self, count: int, head: RawResponse | None = None, before: bytes = b"") -> bytes:
        """``count`` bytes; ``before`` goes in front of them in an ``IncompleteResponseError``."""
        parts, missing = [], count
        while missing:
            if not self.buffered:
                self._fill(head, before + b"".join(parts))
            part, self.buffered = self.buffered[:missing], self.buffered[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def expect_close(self, timeout: float = 20.0) -> None:
        """Assert that the peer closes now and has nothing more to say."""
        self._socket.settimeout(timeout)
        data = self.buffered
        try:
            data += self._socket.recv(65536)
        except ConnectionResetError:
            pass
        except TimeoutError:
            raise AssertionError(f"the connection is still open after {timeout:g} s") from None
        assert not data, f"expected the end of the connection, got {data[:200]!r}"

    def expect_silence(self, seconds: float = 0.2) -> None:
        """Assert that for ``seconds`` nothing comes and the connection stays open."""
        assert not self.buffered, f"unexpected bytes {self.buffered[:200]!r}"
        timeout = self._socket.gettimeout()
        self._socket.settimeout(seconds)
        try:
            data = self._socket.recv(65536)
        except TimeoutError:
            return
        finally:
            self._socket.settimeout(timeout)
        raise AssertionError(f"unexpected bytes {data[:200]!r}" if data else "the connection was closed")

    def _fill(self, head: RawResponse | None, body: bytes) -> None:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionResetError as error:
            raise IncompleteResponseError("reset inside an answer", head=head, body=body, reset=True) from error
        if not data:
            raise IncompleteResponseError(
                f"connection closed inside an answer, after {len(body)} bytes of body", head=head, body=body
            )
        self.buffered += data

    def _read_body(self, head: RawResponse, method: bytes) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
        codings = head.all(b"transfer-encoding")
        lengths = head.all(b"content-length")
        if codings and lengths:
            raise InvalidResponseError("both Transfer-Encoding and Content-Length")
        if len(lengths) > 1 or not all(_DIGITS.fullmatch(length) for length in lengths):
            raise InvalidResponseError(f"Content-Length: {lengths!r}")
        if method == b"HEAD" or head.status in (204, 304):
            return b"", ()
        if codings:
            if [coding.lower() for coding in codings] != [b"chunked"]:
                raise InvalidResponseError(f"Transfer-Encoding: {codings!r}")
            return self._read_chunked(head)
        if lengths:
            return self.read_exactly(int(lengths[0]), head), ()
        return self._read_to_end(head), ()

    def _read_chunked(self, head: RawResponse) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
        body = b""
        while True:
            line = self._read_line(head, body)
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise InvalidResponseError(f"chunk size: {line!r}")
            size = int(match[1], 16)
            if size == 0:
                break
            body += self.read_exactly(size, head, body)
            if self.read_exactly(2, head, body) != b"\r\n":
                raise InvalidResponseError("no CRLF after a chunk")
        trailers = []
        while line := self._read_line(head, body):
            trailers.append(_field(line))
        return body, tuple(trailers)

    def _read_line(self, head: RawResponse, body: bytes) -> bytes:
        while (end := self.buffered.find(b"\r\n")) < 0:
            self._fill(head, body)
        line, self.buffered = self.buffered[:end], self.buffered[end + 2 :]
        return line

    def _read_to_end(self, head: RawResponse) -> bytes:
        parts, self.buffered = [self.buffered], b""
        while True:
            try:
                part = self._socket.recv(1 << 20)
            except ConnectionResetError as error:
                raise IncompleteResponseError(
                    "reset inside a close-delimited body", head=head, body=b"".join(parts), reset=True
                ) from error
            if not part:
                return b"".join(parts)
            parts.append(part)


def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise InvalidResponseError(f"field line: {line!r}")
    return match[1], match[2]


def exchange(endpoint: str, request: bytes, *, method: bytes | None = None, timeout: float = 20.0) -> RawResponse:
    """Send ``request`` whole on a connection of its own and read its one answer."""
    with RawConnection(endpoint, timeout=timeout) as connection:
        connection.send(request)
        return connection.read_response(method or request.split(b" ", 1)[0])
