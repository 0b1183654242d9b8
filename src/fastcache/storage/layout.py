"""Where things lie in a cache directory: the only maker of paths.

A path is made of digests, tags and numbers that this process computed, in hexadecimal or decimal. No byte a client
sent is ever part of one. All paths are relative to the cache directory, and are opened relative to its descriptor.
"""

from __future__ import annotations

import re
from typing import NamedTuple

FORMAT = "FORMAT"
LOCK = "LOCK"
OBJECTS = "objects"
FILLS = "fills"
HEAD = "head"

_EXTENT = re.compile(r"([0-9a-f]{16})-(0|[1-9][0-9]{0,19})-([1-9][0-9]{0,19})\.ext", re.ASCII)
_OBJECT = re.compile(r"([0-9a-f]{64})(\.obj|\.void|)", re.ASCII)
_UPLOAD = re.compile(r"[0-9a-f]{64}", re.ASCII)
_STAGED = re.compile(
    r"([1-9][0-9]{0,4})-([0-9a-f]{16})-([1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})-([1-9][0-9]{0,19})\.staged", re.ASCII
)
_PART = re.compile(r"[0-9]+-[0-9]+\.part(\.head)?", re.ASCII)
_SHARD = re.compile(r"[0-9a-f]{2}", re.ASCII)


class ExtentName(NamedTuple):
    """What an extent's file name says; its header must say the same."""

    generation: str
    start: int
    end: int


class StagedName(NamedTuple):
    """What the name of a part of an upload says, or of a piece of one; its header must say the same."""

    number: int
    generation: str
    size: int
    """Bytes of the whole part."""
    start: int
    end: int


def shard_of(digest: bytes) -> tuple[str, str]:
    """The two directories above everything of an object, outer first."""
    outer = f"{OBJECTS}/{digest[:1].hex()}"
    return outer, f"{outer}/{digest[1:2].hex()}"


def object_directory(digest: bytes) -> str:
    """Holds the head and the extents of an object that is not one file."""
    return f"{shard_of(digest)[1]}/{digest.hex()}"


def object_file(digest: bytes) -> str:
    """An object complete in one file."""
    return f"{object_directory(digest)}.obj"


def void_file(digest: bytes) -> str:
    """While this exists, what is stored of the object must be asked for again before any use."""
    return f"{object_directory(digest)}.void"


def generation_name(tag: bytes) -> str:
    """The part of a generation's tag that file names carry; the header carries all of it."""
    return tag[:8].hex()


def extent_name(tag: bytes, start: int, end: int) -> str:
    """The name of an extent inside of its object's directory."""
    return f"{generation_name(tag)}-{start}-{end}.ext"


def part_file(slot: int, sequence: int) -> str:
    """A file in progress."""
    return f"{FILLS}/{slot}-{sequence}.part"


def part_number(path: str) -> int:
    """The sequence number in the path of a file in progress."""
    return int(path.rpartition("-")[2].removesuffix(".part"))


def upload_directory(digest: bytes) -> str:
    """Holds the parts of an upload that is not complete yet. A file of this name is all that is left of one that has
    ended: no part can be put into it."""
    return f"{FILLS}/{digest.hex()}"


def staged_name(number: int, tag: bytes, size: int, start: int, end: int) -> str:
    """The name of a piece of a part inside of its upload's directory."""
    return f"{number}-{generation_name(tag)}-{size}-{start}-{end}.staged"


def parse_staged_name(name: str) -> StagedName | None:
    """The reverse of ``staged_name``; None for any other name."""
    match = _STAGED.fullmatch(name)
    if match is None:
        return None
    size, start, end = int(match[3]), int(match[4]), int(match[5])
    return StagedName(int(match[1]), match[2], size, start, end) if start < end <= size < 1 << 64 else None


def is_upload_name(name: str) -> bool:
    return _UPLOAD.fullmatch(name) is not None


def parse_extent_name(name: str) -> ExtentName | None:
    """The reverse of ``extent_name``; None for any other name."""
    match = _EXTENT.fullmatch(name)
    if match is None:
        return None
    start, end = int(match[2]), int(match[3])
    return ExtentName(match[1], start, end) if start < end < 1 << 64 else None


def parse_object_name(name: str) -> tuple[bytes, str] | None:
    """Digest and suffix ("", ".obj", ".void") of a name in a shard; None for any other name."""
    match = _OBJECT.fullmatch(name)
    return None if match is None else (bytes.fromhex(match[1]), match[2])


def is_part_name(name: str) -> bool:
    return _PART.fullmatch(name) is not None


def is_shard_name(name: str) -> bool:
    return _SHARD.fullmatch(name) is not None
