"""A request's body on its way to the origin under our signature: proved to be what its client signed, framed anew.

Nothing is complete at the origin before it is proved here. Signed chunks of up to ``CHUNK_HELD`` bytes go on only when
their signature was right; of everything else the last piece is held back until hash, signatures, trailers and length
were compared. What does not hold ends in an exception, and with it the origin's connection before the body's last byte:
S3 stores nothing of an upload that does not end.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator

from fastcache.engine.exchange import Exchange
from fastcache.errors import RequestError
from fastcache.model import Headers
from fastcache.protocol.aws_chunked import AwsChunkedDecoder, AwsChunkedError, ChunkData, ChunkEnd, ChunkHead, End
from fastcache.protocol.framing import Framing
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.sigv4 import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    ChunkSignatures,
    PayloadKind,
    SignatureError,
    SigningContext,
    payload_kind,
)
from fastcache.protocol.sigv4_verify import Verified

CHUNK_HELD = 256 * 1024
"""The largest chunk, bytes, of which nothing goes on before its signature was compared. SDKs send 8 to 128 KiB."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientPayload:
    """What a client says of its body, and the body by that: decoded, and compared with what was said."""

    __slots__ = ("_chain", "_declared_trailers", "_exchange", "_hash", "kind", "length", "started", "trailers")

    def __init__(self, exchange: Exchange, verified: Verified | None) -> None:
        """Raises RequestError when what the head says cannot be a body. Without ``verified`` no signature can be
        compared; hashes and lengths are all the same."""
        head = exchange.head
        declared = head.get(b"x-amz-content-sha256") or UNSIGNED_PAYLOAD
        self._exchange = exchange
        self._hash = declared if verified is None else verified.payload_hash
        self.kind = payload_kind(declared) if verified is None else verified.payload
        context: SigningContext | None = None if verified is None else verified.context
        signed = context is not None and self.kind.has_chunk_signatures
        self._chain = ChunkSignatures(context) if signed and context is not None else None
        self._declared_trailers = _trailer_names(head) if self.kind.has_trailer else frozenset()
        self.length = _decoded_length(head, self.kind)
        """Decoded bytes; None when only the end of the body tells."""
        self.trailers: Headers = ()
        """The fields behind an aws-chunked body; there when the body has been read to its end."""
        self.started = False
        """Some of it was taken off the connection, so that it cannot be read again."""
        if self.length == 0 and not self.kind.is_aws_chunked:
            self._check_empty()

    @property
    def hash(self) -> bytes:
        """``x-amz-content-sha256`` as the client signed it."""
        return self._hash

    @property
    def trailer_names(self) -> frozenset[bytes]:
        """Lower-case names that ``x-amz-trailer`` declares."""
        return self._declared_trailers

    def pieces(self) -> AsyncIterator[bytes | memoryview]:
        """The decoded body; the last piece comes when all of it is proved. Raises RequestError."""
        return self._exchange.watched(self._proved())

    async def _proved(self) -> AsyncIterator[bytes | memoryview]:
        self.started = True
        held: bytes | memoryview | None = None
        source = self._decoded() if self.kind.is_aws_chunked else self._plain()
        async for piece in source:
            if held is not None:
                yield held
            held = piece
        if held is not None:
            yield held

    async def whole(self, limit: int) -> bytes:
        """The decoded body, proved, before anything goes to the origin. Raises RequestError, also when it has more than
        ``limit`` bytes."""
        body = bytearray()
        if self.length is not None and self.length > limit:
            raise _too_large(limit)
        if self._exchange.head.expect_continue:
            self._exchange.channel.write_interim(_CONTINUE)
        async for piece in self.pieces():
            if len(body) + len(piece) > limit:
                raise _too_large(limit)
            body += piece
        return bytes(body)

    def _check_empty(self) -> None:
        """S3 does not look at the hash of a read's body, and some clients do not either."""
        safe = self._exchange.head.method in (b"GET", b"HEAD")
        if self.kind is PayloadKind.SIGNED and not safe and self._hash.lower() != EMPTY_SHA256:
            raise _wrong_hash()

    async def _plain(self) -> AsyncIterator[bytes | memoryview]:
        state = hashlib.sha256() if self.kind is PayloadKind.SIGNED else None
        async for piece in self._exchange.body():
            if state is not None:
                state.update(piece)
            yield piece
        if state is not None and not hmac.compare_digest(state.hexdigest().encode("ascii"), self._hash.lower()):
            raise _wrong_hash()

    async def _decoded(self) -> AsyncIterator[bytes | memoryview]:
        decoder = AwsChunkedDecoder(self.length)
        chunk = _Chunk(self._chain)
        async for raw in self._exchange.body():
            for event in decoder.feed(bytes(raw)):
                if isinstance(event, ChunkHead):
                    chunk.begin(event)
                elif isinstance(event, ChunkData):
                    for piece in chunk.take(event.data):
                        yield piece
                elif isinstance(event, ChunkEnd):
                    for piece in chunk.end():
                        yield piece
                else:
                    self._take_trailers(event)
        decoder.finish()

    def _take_trailers(self, end: End) -> None:
        names = [name.lower() for name, _ in end.trailers]
        if len(names) != len(self._declared_trailers) or set(names) != self._declared_trailers:
            raise AwsChunkedError("the trailers are not those that x-amz-trailer declares", "MalformedTrailerError")
        if self._chain is not None and self.kind.has_trailer:
            _compare(self._chain.trailer(end.trailers), end.signature)
        self.trailers = end.trailers


class _Chunk:
    """The chunk that is arriving. Its last piece at least stays here until its signature was compared."""

    __slots__ = ("_chain", "_hash", "_held", "_pieces", "_signature")

    def __init__(self, chain: ChunkSignatures | None) -> None:
        self._chain = chain
        self._signature: bytes | None = None
        self._pieces: list[memoryview] = []
        self._held = 0
        self._hash = hashlib.sha256()

    def begin(self, head: ChunkHead) -> None:
        self._signature = head.signature

    def take(self, data: memoryview) -> list[memoryview]:
        if self._chain is None:
            return [data]
        self._hash.update(data)
        self._pieces.append(data)
        self._held += len(data)
        return self._release(keep=1) if self._held > CHUNK_HELD else []

    def end(self) -> list[memoryview]:
        if self._chain is None:
            return []
        _compare(self._chain.chunk(self._hash.hexdigest().encode("ascii")), self._signature)
        self._hash = hashlib.sha256()
        return self._release(keep=0)

    def _release(self, keep: int) -> list[memoryview]:
        cut = len(self._pieces) - keep
        released, self._pieces = self._pieces[:cut], self._pieces[cut:]
        self._held = sum(map(len, self._pieces))
        return released


def _compare(expected: bytes, given: bytes | None) -> None:
    if given is None or not hmac.compare_digest(expected, given):
        raise SignatureError(
            "The chunk signature we calculated does not match the signature you provided.", code="SignatureDoesNotMatch"
        )


def _decoded_length(head: RequestHead, kind: PayloadKind) -> int | None:
    if not kind.is_aws_chunked:
        return None if head.framing.kind is Framing.CHUNKED else head.framing.length
    declared = head.get(b"x-amz-decoded-content-length")
    if declared is None:
        raise RequestError(
            "You must provide the Content-Length and x-amz-decoded-content-length HTTP headers.",
            status=411,
            code="MissingContentLength",
        )
    if not (declared.isdigit() and len(declared) <= 19):
        raise RequestError("x-amz-decoded-content-length must be a number of bytes.", code="InvalidArgument")
    return int(declared)


def _trailer_names(head: RequestHead) -> frozenset[bytes]:
    values = head.get_all(b"x-amz-trailer")
    return frozenset(name for value in values for part in value.split(b",") if (name := part.strip().lower()))


def _wrong_hash() -> RequestError:
    return RequestError(
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
        code="XAmzContentSHA256Mismatch",
    )


def _too_large(limit: int) -> RequestError:
    return RequestError(f"The body of this request may have {limit} bytes at most.", code="MaxMessageLengthExceeded")
