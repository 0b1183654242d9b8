"""The objects of the benchmarks, and requests for them as an SDK sends them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastcache._core.expected import Expected
from fastcache.load.heads import Signer, request_head
from fastcache.model import Headers, Interval
from fastcache.origin.control import OriginControl
from fastcache.origin.identity import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY
from fastcache.origin.pattern import expected_pattern, pattern
from fastcache.protocol.sigv4 import Credentials

BUCKET = "bench"

KIB = 1024
MIB = 1024 * KIB

_CREDENTIALS = Credentials(DEFAULT_ACCESS_KEY.encode(), DEFAULT_SECRET_KEY.encode())
_WORKING_SET = 64 * MIB
_MOST_OBJECTS = 64

Asked = tuple[bytes, Expected | None, int, int | None]
"""What ``fastcache._core.load_task.Task`` takes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A whole object, or a range of one, and fields that its request carries besides."""

    key: str
    interval: Interval
    whole: bool
    more: Headers = ()


def whole_objects(prefix: str, count: int, size: int) -> list[Piece]:
    """``count`` objects of ``size`` bytes."""
    return [Piece(f"{prefix}/{number:05d}.bin", Interval(0, size), True) for number in range(count)]


def objects_of(size: int) -> list[Piece]:
    """As many as make a working set of a size that every cache of the processor is too small for, within reason."""
    return whole_objects(f"whole-{size}", max(1, min(_MOST_OBJECTS, _WORKING_SET // size)), size)


def ranges(key: str, count: int, size: int) -> list[Piece]:
    """``count`` ranges of ``size`` bytes, one behind the other, of the object ``key``."""
    return [Piece(key, Interval(number * size, (number + 1) * size), False) for number in range(count)]


def sizes(pieces: Sequence[Piece]) -> dict[str, int]:
    """Sizes of the objects the pieces are of, if those reach to their ends."""
    found: dict[str, int] = {}
    for piece in pieces:
        found[piece.key] = max(piece.interval.end, found.get(piece.key, 0))
    return found


def wholes(pieces: Sequence[Piece]) -> list[Piece]:
    """The objects that the pieces are of."""
    return [Piece(key, Interval(0, size), True) for key, size in sizes(pieces).items()]


def request(address: tuple[str, int], piece: Piece) -> bytes:
    """A GET as boto3 sends it, signed for our own origin."""
    signer = Signer(_CREDENTIALS, b"us-east-1", time.time())
    interval = None if piece.whole else (piece.interval.start, piece.interval.end)
    host = f"{address[0]}:{address[1]}".encode()
    target = f"/{BUCKET}/{piece.key}".encode()
    return request_head("boto3", host, target, interval=interval, signer=signer, more=piece.more)


def asked(address: tuple[str, int], pieces: Sequence[Piece]) -> list[Asked]:
    """Requests for the pieces, with the bytes that must come back."""
    contents = {piece.key: expected_pattern(piece.key.encode(), 1) for piece in pieces}
    return [
        (request(address, piece), contents[piece.key], piece.interval.start, piece.interval.length) for piece in pieces
    ]


def create(controls: Sequence[OriginControl], pieces: Sequence[Piece]) -> None:
    """Make the objects of the pieces in our own origins."""
    by_size: dict[int, list[str]] = {}
    for key, size in sizes(pieces).items():
        by_size.setdefault(size, []).append(key)
    for control in controls:
        for size, keys in by_size.items():
            control.synthetic(BUCKET, keys, size)


def write_files(root: Path, pieces: Sequence[Piece]) -> None:
    """The same bytes as files, under the same paths; every user may read them."""
    for key, size in sizes(pieces).items():
        path = root / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pattern(key.encode(), 1, 0, size))
