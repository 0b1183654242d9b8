"""Uploads in any framing that a client may choose, each piece of which can be spoilt."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.gateway.conftest import Gate
from tests.harness.raw import RawConnection, RawResponse

from fastcache.protocol.sigv4 import ChunkSignatures, Credentials, PayloadKind, sign

CRC = b"x-amz-checksum-crc32"
Chunk = tuple[bytes, bytes]
"""A chunk's extension and its data."""


def crc32(body: bytes) -> bytes:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))


@dataclass(frozen=True)
class Upload:
    """A PUT. What is None is as it should be; ``spoil`` changes the chunks as they will be sent."""

    body: bytes
    kind: PayloadKind
    chunk_size: int = 64 * 1024
    payload_hash: bytes | None = None
    decoded_length: int | None = None
    """Negative: not said."""
    trailer: bytes | None = None
    trailer_signature: bytes | None = None
    te_chunked: bool = False
    fields: tuple[tuple[bytes, bytes], ...] = ()
    spoil: Callable[[list[Chunk]], Sequence[Chunk]] = lambda chunks: chunks
    piece: int = 50_000
    """Bytes of HTTP's own chunks."""

    def head_and_body(self, host: bytes, target: bytes, credentials: Credentials) -> tuple[bytes, bytes]:
        fields: tuple[tuple[bytes, bytes], ...] = ((b"Host", host), *self.fields)
        declared = self.kind.value.encode()
        if self.kind is PayloadKind.SIGNED:
            declared = self.payload_hash or hashlib.sha256(self.body).hexdigest().encode()
        if self.kind.is_aws_chunked:
            length = len(self.body) if self.decoded_length is None else self.decoded_length
            fields += ((b"Content-Encoding", b"aws-chunked"),)
            fields += ((b"x-amz-decoded-content-length", b"%d" % length),) if length >= 0 else ()
        if self.kind.has_trailer:
            fields += ((b"x-amz-trailer", CRC),)
        made = sign(
            b"PUT", target, fields, credentials, region=b"us-east-1", now=time.time(), payload_hash=declared
        )  # fmt: skip
        sent = self.body
        if self.kind.is_aws_chunked:
            signed = self.kind.has_chunk_signatures
            sent = self._coded(ChunkSignatures(made.context) if signed else None)
        framing = (b"Transfer-Encoding", b"chunked") if self.te_chunked else (b"Content-Length", b"%d" % len(sent))
        lines = [b"PUT %b HTTP/1.1" % target, *(b"%b: %b" % field for field in (*fields, *made.headers, framing))]
        if self.te_chunked:
            cut = range(0, len(sent), self.piece)
            pieces = (sent[at : at + self.piece] for at in cut)
            sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return b"\r\n".join((*lines, b"", b"")), sent

    def _coded(self, chain: ChunkSignatures | None) -> bytes:
        cut = [self.body[at : at + self.chunk_size] for at in range(0, len(self.body), self.chunk_size)]
        chunks: list[Chunk] = []
        for data in (*cut, b""):
            signature = b"" if chain is None else chain.chunk(hashlib.sha256(data).hexdigest().encode())
            chunks.append((b";chunk-signature=" + signature if signature else b"", data))
        coded = b"".join(
            b"%x%b\r\n%b" % (len(data), extension, data + b"\r\n" if data else b"")
            for extension, data in self.spoil(chunks)
        )
        if self.kind.has_trailer:
            trailer = crc32(self.body) if self.trailer is None else self.trailer
            fields = ((CRC, trailer),) if trailer else ()
            coded += b"".join(b"%b:%b\r\n" % field for field in fields)
            if chain is not None:
                signature = chain.trailer(fields) if self.trailer_signature is None else self.trailer_signature
                coded += b"x-amz-trailer-signature:%b\r\n" % signature
        return coded + b"\r\n"


def send(gate: Gate, target: str, upload: Upload) -> RawResponse:
    """One upload through the gateway."""
    host = gate.endpoint.removeprefix("http://").encode()
    client = Credentials(gate.access_key.encode(), gate.secret_key.encode())
    head, body = upload.head_and_body(host, target.encode(), client)
    with RawConnection(gate.endpoint) as connection:
        connection.send(head)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before its end
            connection.send(body)
        return connection.read_response(b"PUT")


def changed(upload: Upload, **fields: object) -> Upload:
    return replace(upload, **fields)  # type: ignore[arg-type]
