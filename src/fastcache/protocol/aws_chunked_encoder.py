"""Encoder of the aws-chunked content coding, of equal chunks, so that the coded length is known before the first byte.

Source: S3 API Reference, "Transferring Payload in Multiple Chunks" and "Trailing headers".
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from fastcache.model import BytesLike, Headers
from fastcache.protocol.sigv4 import ChunkSignatures

CHUNK_SIZE = 64 * 1024
"""Decoded bytes of every chunk but the last; S3 wants 8 KiB at least."""
_SIGNATURE = len(b";chunk-signature=") + 64
_TRAILER_SIGNATURE = len(b"x-amz-trailer-signature:") + 64 + 2

CHECKSUM_LENGTHS = {
    b"x-amz-checksum-crc32": 8,
    b"x-amz-checksum-crc32c": 8,
    b"x-amz-checksum-crc64nvme": 12,
    b"x-amz-checksum-sha1": 28,
    b"x-amz-checksum-sha256": 44,
    b"x-amz-checksum-sha512": 88,
    b"x-amz-checksum-md5": 24,
    b"x-amz-checksum-xxhash64": 12,
    b"x-amz-checksum-xxhash3": 12,
    b"x-amz-checksum-xxhash128": 24,
}
"""Bytes of each checksum's value, which is Base64: a trailer's length is known before its value is."""


def coded_length(decoded: int, trailers: Iterable[bytes], *, signed: bool) -> int | None:
    """Bytes of the coded body of ``decoded`` bytes and the trailers of these names; None when that depends on a
    trailer's value."""
    whole, rest = divmod(decoded, CHUNK_SIZE)
    length = whole * _chunk_length(CHUNK_SIZE, signed)
    if rest:
        length += _chunk_length(rest, signed)
    length += len(b"0\r\n\r\n") + (_SIGNATURE if signed else 0)
    names = list(trailers)
    for name in names:
        value = CHECKSUM_LENGTHS.get(name.lower())
        if value is None:
            return None
        length += len(name) + 1 + value + 2
    if names and signed:
        length += _TRAILER_SIGNATURE
    return length


def _chunk_length(size: int, signed: bool) -> int:
    return len(b"%x" % size) + (_SIGNATURE if signed else 0) + 2 + size + 2


class AwsChunkedEncoder:
    """Takes decoded bytes in pieces of any size, which must not change, and gives whole coded chunks; ``signatures``
    None makes chunks without signatures."""

    __slots__ = ("_hash", "_pieces", "_signatures", "_size")

    def __init__(self, signatures: ChunkSignatures | None) -> None:
        self._signatures = signatures
        self._pieces: list[memoryview] = []
        self._size = 0
        self._hash = hashlib.sha256()

    def feed(self, data: BytesLike) -> list[bytes]:
        """The chunks that are complete with ``data``."""
        coded = []
        view = memoryview(data)
        while len(view):
            part = view[: CHUNK_SIZE - self._size]
            view = view[len(part) :]
            self._pieces.append(part)
            self._size += len(part)
            if self._signatures is not None:
                self._hash.update(part)
            if self._size == CHUNK_SIZE:
                coded.append(self._chunk())
        return coded

    def end(self, trailers: Headers) -> bytes:
        """The rest: the chunk that is not full, the empty one, the trailers."""
        last = [self._chunk()] if self._size else []
        last.append(b"0%b\r\n" % self._extension())
        last += [b"%b:%b\r\n" % field for field in trailers]
        if self._signatures is not None and trailers:
            last.append(b"x-amz-trailer-signature:%b\r\n" % self._signatures.trailer(trailers))
        return b"".join((*last, b"\r\n"))

    def _chunk(self) -> bytes:
        # One piece to send: behind TLS each would be a record of its own.
        coded = b"".join((b"%x%b\r\n" % (self._size, self._extension()), *self._pieces, b"\r\n"))
        self._pieces, self._size = [], 0
        return coded

    def _extension(self) -> bytes:
        """The chunk's signature; the next chunk begins behind it."""
        if self._signatures is None:
            return b""
        digest, self._hash = self._hash.hexdigest().encode("ascii"), hashlib.sha256()
        return b";chunk-signature=" + self._signatures.chunk(digest)
