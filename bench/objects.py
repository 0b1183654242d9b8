"""The objects of the benchmarks, and requests for them as an SDK sends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from fastcache.model import Interval
from fastcache.origin.identity import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY
from fastcache.origin.pattern import pattern

BUCKET = "bench"

_EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_SDK_FIELDS = {
    "User-Agent": "Boto3/1.40.0 md/Botocore#1.40.0 ua/2.1 os/linux md/arch#x86_64 lang/python#3.12",
    "Accept-Encoding": "identity",
    "amz-sdk-invocation-id": "5f2c9a0e-9f1f-4c8e-8f5e-2f7d6f3f0b61",
    "amz-sdk-request": "attempt=1",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """A whole object, or a range of one."""

    key: str
    interval: Interval
    whole: bool

    def content(self) -> bytes:
        """What must come back."""
        return pattern(self.key.encode(), 1, self.interval.start, self.interval.length)


def whole_objects(prefix: str, count: int, size: int) -> list[Piece]:
    """``count`` objects of ``size`` bytes."""
    return [Piece(f"{prefix}/{number:05d}.bin", Interval(0, size), True) for number in range(count)]


def ranges(key: str, count: int, size: int) -> list[Piece]:
    """``count`` ranges of ``size`` bytes, one behind the other, of the object ``key``."""
    return [Piece(key, Interval(number * size, (number + 1) * size), False) for number in range(count)]


def request(address: tuple[str, int], piece: Piece) -> bytes:
    """A GET with the fields boto3 sends, signed (SigV4) as it signs: ``Range`` included."""
    host = f"{address[0]}:{address[1]}"
    path = f"/{BUCKET}/{piece.key}"
    fields = {"Host": host, "X-Amz-Content-SHA256": _EMPTY_SHA256}
    if not piece.whole:
        fields["Range"] = f"bytes={piece.interval.start}-{piece.interval.end - 1}"
    to_sign = AWSRequest(method="GET", url=f"http://{host}{path}", headers=fields)
    S3SigV4Auth(Credentials(DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY), "s3", "us-east-1").add_auth(to_sign)
    lines = [f"GET {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**to_sign.headers, **_SDK_FIELDS}.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def requests(address: tuple[str, int], pieces: Sequence[Piece]) -> list[bytes]:
    """One request for each piece."""
    return [request(address, piece) for piece in pieces]


def write_files(root: Path, sizes: dict[str, int]) -> None:
    """The same bytes as files, under the same paths."""
    for key, size in sizes.items():
        path = root / BUCKET / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pattern(key.encode(), 1, 0, size))
