"""What `fastcache bench` asks for: objects that are there, and requests for them or for ranges of them."""

from __future__ import annotations

import itertools
import mmap
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from fastcache._core.expected import Expected, ExpectedBytes
from fastcache.load.connections import LoadError, fetch
from fastcache.load.heads import Signer, request_head
from fastcache.origin.pattern import expected_pattern
from fastcache.protocol.sigv4 import Credentials

MOST_RANGES = 10_000
"""Different ranges that are prepared; of objects that have more, these are drawn at random."""
PATTERN = "pattern"
"""The name of the bytes that the objects of ``python -m fastcache.origin`` are made of."""

_AS_THEY_ARE = "/%-_.~!$&'()*+,;=:@"


class PlanError(Exception):
    """It cannot be measured; the text says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """An object: where it is asked for, how, and its size in bytes as a HEAD told."""

    path: bytes
    size: int

    @property
    def key(self) -> bytes:
        """Its key, in a path that begins with the bucket."""
        return unquote_to_bytes(self.path.partition(b"?")[0]).lstrip(b"/").partition(b"/")[2]


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: ``shape`` is a name of CLIENTS; without ``signer`` anonymously."""

    shape: str
    address: tuple[str, int]
    host: bytes
    signer: Signer | None

    def head(self, path: bytes, method: bytes = b"GET", interval: tuple[int, int] | None = None) -> bytes:
        return request_head(self.shape, self.host, path, method=method, interval=interval, signer=self.signer)


def credentials(environment: Mapping[str, str]) -> Signer | None:
    """Those in the usual variables, for now; None when there are none. Raises PlanError when half of them are there."""
    access, secret = environment.get("AWS_ACCESS_KEY_ID", ""), environment.get("AWS_SECRET_ACCESS_KEY", "")
    if not access and not secret:
        return None
    if not access or not secret:
        raise PlanError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together")
    token = environment.get("AWS_SESSION_TOKEN", "").encode() or None
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    return Signer(Credentials(access.encode(), secret.encode(), token), region.encode(), time.time())


def client_for(urls: Sequence[str], shape: str, signer: Signer | None) -> tuple[Client, list[bytes]]:
    """The client for the server that all URLs name, and their paths. Raises PlanError."""
    parts = [urlsplit(url) for url in urls]
    for url, part in zip(urls, parts, strict=True):
        if part.scheme != "http" or not part.hostname or len(part.path) < 2:
            raise PlanError(f"{url} is not like http://host:port/bucket/key")
    first = parts[0]
    if any(part.netloc != first.netloc for part in parts):
        raise PlanError("all URLs must name the same server")
    assert first.hostname is not None, "checked above"
    host = first.netloc.rpartition("@")[2]
    client = Client(
        shape, (first.hostname, first.port or 80), host.encode("idna" if not host.isascii() else "ascii"), signer
    )
    paths = [quote(part.path, safe=_AS_THEY_ARE) + (f"?{part.query}" if part.query else "") for part in parts]
    return client, [path.encode("ascii") for path in paths]


def find(client: Client, paths: Sequence[bytes]) -> list[Target]:
    """Ask for each with a HEAD. Raises PlanError unless all are there, and OSError."""
    targets = []
    for path in paths:
        try:
            answer, _ = fetch(client.address, client.head(path, b"HEAD"))
        except LoadError as error:
            raise PlanError(f"HEAD {path.decode()}: {error}") from None
        if answer.status != 200 or answer.length is None:
            raise PlanError(f"HEAD {path.decode()} was answered with status {answer.status}")
        targets.append(Target(path, answer.length))
    return targets


def contents(targets: Sequence[Target], against: str | None) -> list[Expected | None]:
    """The bytes that each must have: of the PATTERN, of a file, or unknown. Raises PlanError."""
    if against is None:
        return [None] * len(targets)
    if against == PATTERN:
        return [expected_pattern(target.key, 1) for target in targets]
    if len(targets) != 1:
        raise PlanError("a file has the bytes of one object; name one URL")
    expected, size = _of_file(Path(against))
    if size != targets[0].size:
        raise PlanError(f"{against} has {size:,} bytes, the object has {targets[0].size:,}")
    return [expected]


def _of_file(path: Path) -> tuple[Expected, int]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        # The mapping lives as long as what compares with it. There is none of an empty file.
        return ExpectedBytes(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""), size


def requests(
    client: Client, targets: Sequence[Target], expected: Sequence[Expected | None], range_size: int | None, seed: int
) -> list[tuple[bytes, Expected | None, int, int | None]]:
    """Each object whole, or aligned ranges of ``range_size`` bytes of all of them: what a Task takes."""
    if range_size is None:
        return [
            (client.head(target.path), content, 0, target.size)
            for target, content in zip(targets, expected, strict=True)
        ]
    asked: list[tuple[bytes, Expected | None, int, int | None]] = []
    for index, start in _ranges(targets, range_size, seed):
        end = min(start + range_size, targets[index].size)
        asked.append((client.head(targets[index].path, interval=(start, end)), expected[index], start, end - start))
    if not asked:
        raise PlanError("an empty object has no ranges")
    return asked


def _ranges(targets: Sequence[Target], size: int, seed: int) -> Iterator[tuple[int, int]]:
    """(index of the object, start), all there are or MOST_RANGES of them."""
    ends = list(itertools.accumulate(-(-target.size // size) for target in targets))
    numbers: Sequence[int] = range(ends[-1])
    if len(numbers) > MOST_RANGES:
        numbers = sorted(random.Random(seed).sample(numbers, MOST_RANGES))
    index = 0
    for number in numbers:
        while number >= ends[index]:
            index += 1
        yield index, (number - (ends[index - 1] if index else 0)) * size
