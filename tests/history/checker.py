"""Whether what readers were answered can be explained by what writers did. Pure: a history in, its violations out.

Versions of a key are numbered in the order in which its one writer began them; that writer begins none before it knows
what became of the last. A read that begins after a version was acknowledged, or was seen by a read that had ended, may
get that version or a later one, and none that was begun only after the read had ended. One answer is one version.
"""

from __future__ import annotations

import enum
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

STAMP = 8
"""Bytes of a version's number, repeated through its whole content."""


class By(enum.Enum):
    """Which way a write went."""

    PROXY = "proxy"
    ORIGIN = "origin"
    """Behind the proxy's back."""


@dataclass(frozen=True, slots=True)
class Write:
    """One version. ``acknowledged`` is None when its writer never learned what became of it."""

    key: str
    version: int
    begun: float
    acknowledged: float | None
    by: By
    etag: str | None
    """None for a deletion."""


@dataclass(frozen=True, slots=True)
class Read:
    """One answer that ended properly. ``etag`` is None for 404, ``stamps`` for answers without a body."""

    key: str
    begun: float
    ended: float
    etag: str | None
    stamps: frozenset[int] | None
    what: str


def content_of(version: int, start: int, end: int) -> bytes:
    """Bytes ``[start, end)`` of a version."""
    first = start - start % STAMP
    return (version.to_bytes(STAMP, "big") * ((end - first) // STAMP + 1))[start - first : end - first]


def stamps_in(body: bytes, start: int) -> frozenset[int]:
    """The versions that a stretch from offset ``start`` on consists of; -1 for what is no version's. Too little to tell
    is the empty set."""
    at = -start % STAMP
    seen = body[at : at + STAMP]
    if len(seen) < STAMP:
        return frozenset()
    version = int.from_bytes(seen, "big")
    if body == content_of(version, start, start + len(body)):
        return frozenset({version})
    found = {int.from_bytes(body[i : i + STAMP], "big") for i in range(at, len(body) - STAMP + 1, STAMP)}
    if len(found) == 1 or body[:at] != content_of(version, start, start + at):
        found.add(-1)
    return frozenset(found)


def violations(writes: Iterable[Write], reads: Iterable[Read], *, all_writes_are_seen: bool) -> Iterator[str]:
    """What no order of events explains. ``all_writes_are_seen``: an acknowledged write behind the proxy's back binds
    its readers, too; else only what readers were shown."""
    by_key: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        by_key[write.key].append(write)
    read_of: dict[str, list[Read]] = defaultdict(list)
    for read in reads:
        read_of[read.key].append(read)
    for key, of_key in read_of.items():
        yield from _of_key(sorted(by_key[key], key=lambda write: write.version), of_key, all_writes_are_seen)


def _of_key(writes: list[Write], reads: list[Read], all_writes_are_seen: bool) -> Iterator[str]:
    named = {write.etag: write.version for write in writes if write.etag is not None}
    deletions = [write.version for write in writes if write.etag is None]
    # (time, version) from which on nothing older may be answered.
    floors = [
        (write.acknowledged, write.version)
        for write in writes
        if write.acknowledged is not None and (all_writes_are_seen or write.by is By.PROXY)
    ]
    floors += [(read.ended, named[read.etag]) for read in reads if read.etag is not None and read.etag in named]
    floors.sort()
    reads = sorted(reads, key=lambda read: read.begun)
    begun = [write.begun for write in writes]
    floor, next_floor = 0, 0
    for read in reads:
        while next_floor < len(floors) and floors[next_floor][0] < read.begun:
            floor = max(floor, floors[next_floor][1])
            next_floor += 1
        until = bisect_right(begun, read.ended)
        newest = writes[until - 1].version if until else 0
        yield from _of_read(read, floor, newest, named, deletions)


def _of_read(read: Read, floor: int, newest: int, named: dict[str, int], deletions: list[int]) -> Iterator[str]:
    what = f"{read.key} {read.what} [{read.begun:.4f}, {read.ended:.4f}]"
    if read.etag is None:
        at = bisect_left(deletions, floor)
        if floor > 0 and (at == len(deletions) or deletions[at] > newest):
            yield f"{what}: not there, although {floor} to {newest} are"
        return
    if read.etag not in named:
        yield f"{what}: an ETag of no version"
        return
    version = named[read.etag]
    if read.stamps is not None and read.stamps - {version}:
        yield f"{what}: mixed: ETag of {version}, bytes of {sorted(read.stamps)}"
    if not floor <= version <= newest:
        yield f"{what}: version {version}, not {floor} to {newest}"
