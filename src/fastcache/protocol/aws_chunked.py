"""Incremental decoder of the aws-chunked content coding.

Source: S3 API Reference, "Transferring Payload in Multiple Chunks" and "Trailing headers". The coding is decoded only
where the request declares it (Content-Encoding or an x-amz-content-sha256 that begins with STREAMING-): data that
merely looks like a chunk header stays data. Sizes are Python integers, so nothing near 2^64 can wrap.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from fastcache.errors import RequestError
from fastcache.model import Headers

MAX_CHUNK_LINE = 512
"""Longest chunk header, bytes: 16 digits and a signature need 98."""
MAX_TRAILER_BYTES = 16 * 1024

_SIZE = re.compile(rb"[0-9a-fA-F]{1,16}").fullmatch
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_SIGNATURE = re.compile(rb"[0-9a-f]{64}").fullmatch


class AwsChunkedError(RequestError):
    """The coded body is malformed or not as long as declared."""

    def __init__(self, message: str, code: str = "IncompleteBody") -> None:
        super().__init__(message, status=400, code=code)


class ChunkHead(NamedTuple):
    """A chunk begins; ``size`` 0 is the last one. ``signature`` is hexadecimal, or None if the chunk has none."""

    size: int
    signature: bytes | None


class ChunkData(NamedTuple):
    """Some of the current chunk's bytes; a view of what was fed, good until the caller lets go of that."""

    data: memoryview


class ChunkEnd(NamedTuple):
    """All bytes of the current chunk were delivered; the last chunk has one too."""


class End(NamedTuple):
    """The body is complete. ``trailers`` lacks ``x-amz-trailer-signature``, which is ``signature``."""

    trailers: Headers
    signature: bytes | None


Event = ChunkHead | ChunkData | ChunkEnd | End


class _State(enum.Enum):
    HEAD = 0
    DATA = 1
    DATA_END = 2
    TRAILER = 3
    DONE = 4


class AwsChunkedDecoder:
    """Feed coded bytes in pieces of any size; get events. After an error the decoder must not be used again."""

    def __init__(self, decoded_length: int | None) -> None:
        """``decoded_length`` is ``x-amz-decoded-content-length``; None only where the request may omit it."""
        self._expected = decoded_length
        self._state = _State.HEAD
        self._left = 0
        self._held = b""
        self._trailers: list[tuple[bytes, bytes]] = []
        self._trailer_bytes = 0
        self.decoded = 0
        """Decoded bytes delivered so far."""

    @property
    def complete(self) -> bool:
        """Whether End was delivered."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> list[Event]:
        """The events in ``data``; raises AwsChunkedError."""
        events: list[Event] = []
        if self._held:
            data = self._held + data
            self._held = b""
        position, total = 0, len(data)
        view = memoryview(data)
        while position < total:
            if self._state is _State.DATA:
                taken = min(self._left, total - position)
                events.append(ChunkData(view[position : position + taken]))
                position += taken
                self.decoded += taken
                self._left -= taken
                if not self._left:
                    events.append(ChunkEnd())
                    self._state = _State.DATA_END
                continue
            if self._state is _State.DONE:
                raise AwsChunkedError("bytes after the end of the aws-chunked body", "InvalidRequest")
            limit = MAX_TRAILER_BYTES if self._state is _State.TRAILER else MAX_CHUNK_LINE
            end = data.find(b"\r\n", position, position + limit)
            if end < 0:
                self._hold(data[position:], limit)
                break
            self._line(data[position:end], events)
            position = end + 2
        return events

    def finish(self) -> None:
        """Say that the body has ended; raises AwsChunkedError if it ended early."""
        if self._state is not _State.DONE:
            raise AwsChunkedError("the aws-chunked body ended before its last chunk")

    def _hold(self, rest: bytes, limit: int) -> None:
        if len(rest) >= limit:
            raise AwsChunkedError("a line of the aws-chunked body is too long", "InvalidRequest")
        self._held = rest

    def _line(self, line: bytes, events: list[Event]) -> None:
        if self._state is _State.HEAD:
            self._chunk_head(line, events)
        elif self._state is _State.DATA_END:
            if line:
                raise AwsChunkedError("a chunk is longer than its header says", "InvalidRequest")
            self._state = _State.HEAD
        elif line:
            self._trailer_line(line)
        else:
            events.append(self._end())
            self._state = _State.DONE

    def _chunk_head(self, line: bytes, events: list[Event]) -> None:
        digits, *extensions = line.split(b";")
        if not _SIZE(digits):
            raise AwsChunkedError("a chunk size is not a hexadecimal number", "InvalidRequest")
        size = int(digits, 16)
        signature = None
        for extension in extensions:
            name, _, value = extension.strip().partition(b"=")
            if name == b"chunk-signature":
                if signature is not None or not _SIGNATURE(value):
                    raise AwsChunkedError("a chunk signature is malformed", "InvalidRequest")
                signature = value
        if self._expected is not None and size > self._expected - self.decoded:
            raise AwsChunkedError("the chunks hold more than x-amz-decoded-content-length")
        events.append(ChunkHead(size, signature))
        if size:
            self._left = size
            self._state = _State.DATA
            return
        if self._expected is not None and self.decoded != self._expected:
            raise AwsChunkedError("the chunks hold less than x-amz-decoded-content-length")
        events.append(ChunkEnd())
        self._state = _State.TRAILER

    def _trailer_line(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > MAX_TRAILER_BYTES:
            raise AwsChunkedError("the trailer section is too long", "MalformedTrailerError")
        # Some SDKs end a trailer with LF CRLF, as the signed text does.
        name, found, value = line.removesuffix(b"\n").partition(b":")
        if not found or not _NAME(name) or b"\n" in value or b"\r" in value:
            raise AwsChunkedError("a trailer is malformed", "MalformedTrailerError")
        self._trailers.append((name, value.strip(b" \t")))

    def _end(self) -> End:
        signature = None
        fields = []
        for name, value in self._trailers:
            if name.lower() == b"x-amz-trailer-signature":
                if signature is not None or not _SIGNATURE(value):
                    raise AwsChunkedError("the trailer signature is malformed", "MalformedTrailerError")
                signature = value
            else:
                fields.append((name, value))
        return End(tuple(fields), signature)
