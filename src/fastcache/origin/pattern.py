"""The bytes of synthetic objects: a function of key, generation and offset, so that every byte can be checked.

A table of pseudo-random bytes whose length is prime repeats through the object from a starting point that key and
generation choose, and the first 8 bytes of every 4 KiB block are a stamp of the block's number and of key and
generation. Shifted, swapped, stale and foreign blocks are all different from the right ones.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache

from fastcache._core.expected import ExpectedPattern

BLOCK = 4096
"""Bytes between two stamps."""
STAMP = 8
PERIOD = 65_521
"""Length of the table: the largest prime below 64 KiB, so that the table is never in step with the blocks."""
PIECE = 1 << 20
"""Most bytes made by one copy."""

_TABLE = hashlib.shake_128(b"fastcache pattern table").digest(PERIOD)
_REPEATED = memoryview(_TABLE * (PIECE // PERIOD + 2))


def pattern(key: bytes, generation: int, start: int, length: int) -> bytes:
    """Bytes ``[start, start + length)`` of the synthetic object ``key`` in ``generation``."""
    if start < 0 or length < 0:
        raise ValueError("start and length must not be negative")
    end = start + length
    pieces = [pattern_piece(key, generation, at, min(PIECE, end - at)) for at in range(start, end, PIECE)]
    return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)


def pattern_piece(key: bytes, generation: int, start: int, length: int) -> bytearray:
    """Like :func:`pattern` for at most PIECE bytes, without the last copy."""
    rotation, salt = _seed(key, generation)
    offset = (rotation + start) % PERIOD
    made = bytearray(_REPEATED[offset : offset + length])
    first = start // BLOCK
    count = (start + length - 1) // BLOCK - first + 1 if length else 0
    stamps = struct.pack(f"<{count}Q", *range(salt + first, salt + first + count))
    # One strided assignment for each byte of the stamp costs far less than one assignment for each block.
    for byte in range(STAMP):
        at = (byte - start) % BLOCK
        if at < length:
            skipped = (start + at) // BLOCK - first
            written = (length - at + BLOCK - 1) // BLOCK
            made[at::BLOCK] = stamps[skipped * STAMP + byte :: STAMP][:written]
    return made


def expected_pattern(key: bytes, generation: int) -> ExpectedPattern:
    """The same bytes for compiled code to compare with, at any offset, without making them."""
    rotation, salt = _seed(key, generation)
    return ExpectedPattern(_REPEATED, period=PERIOD, rotation=rotation, salt=salt, block=BLOCK, stamp=STAMP)


def pattern_etag(key: bytes, generation: int, size: int) -> bytes:
    """The unquoted ETag of a synthetic object: 32 hexadecimal digits, as of an MD5."""
    text = b"%d:%b:%d:%d" % (len(key), key, generation, size)
    return hashlib.blake2b(text, digest_size=16).hexdigest().encode("ascii")


@lru_cache(maxsize=4096)
def _seed(key: bytes, generation: int) -> tuple[int, int]:
    digest = hashlib.blake2b(b"%d:%b:%d" % (len(key), key, generation), digest_size=16).digest()
    # Three bits stay free above the salt, so that salt + block number never leaves 64 bits.
    return int.from_bytes(digest[:8], "little") % PERIOD, int.from_bytes(digest[8:], "little") >> 3
