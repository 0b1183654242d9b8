"""Where an object's bytes come from: memory, a pattern, a part of another object, or several of those in a row."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from fastcache.origin.pattern import PIECE, pattern_etag, pattern_piece

Buffer = bytes | bytearray | memoryview


class Content(Protocol):
    """Immutable bytes, read in pieces."""

    @property
    def size(self) -> int: ...

    @property
    def literal(self) -> bool:
        """Whether the bytes are somebody's data; patterns are not hashed, their digests are made up."""
        ...

    def read(self, start: int, length: int) -> Buffer:
        """At most ``length`` bytes from ``start`` and at least one; fewer where that saves a copy."""
        ...

    def md5(self) -> bytes:
        """An MD5 in hexadecimal, as used for ETags."""
        ...


class Literal:
    """Bytes in memory."""

    __slots__ = ("_view", "size")
    literal = True

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).toreadonly()
        self.size = len(self._view)

    def read(self, start: int, length: int) -> Buffer:
        return self._view[start : start + length]

    def md5(self) -> bytes:
        return hashlib.md5(self._view, usedforsecurity=False).hexdigest().encode("ascii")


class Synthetic:
    """The pattern of a key and a generation; takes no memory."""

    __slots__ = ("generation", "key", "size")
    literal = False

    def __init__(self, key: bytes, generation: int, size: int) -> None:
        self.key = key
        self.generation = generation
        self.size = size

    def read(self, start: int, length: int) -> Buffer:
        return pattern_piece(self.key, self.generation, start, min(length, PIECE, self.size - start))

    def md5(self) -> bytes:
        return pattern_etag(self.key, self.generation, self.size)


class Slice:
    """A range of another content (UploadPartCopy)."""

    __slots__ = ("_content", "_start", "literal", "size")

    def __init__(self, content: Content, start: int, size: int) -> None:
        self._content = content
        self._start = start
        self.size = size
        self.literal = content.literal

    def read(self, start: int, length: int) -> Buffer:
        return self._content.read(self._start + start, min(length, self.size - start))

    def md5(self) -> bytes:
        if self.literal:
            return _hashed(self)
        text = b"%b:%d:%d" % (self._content.md5(), self._start, self.size)
        return hashlib.blake2b(text, digest_size=16).hexdigest().encode("ascii")


class Segments:
    """Contents one after the other (a completed multipart upload)."""

    __slots__ = ("_contents", "_ends", "literal", "size")

    def __init__(self, contents: Sequence[Content]) -> None:
        self._contents = [content for content in contents if content.size]
        self._ends = list(accumulate(content.size for content in self._contents))
        self.size = self._ends[-1] if self._ends else 0
        self.literal = all(content.literal for content in self._contents)

    def read(self, start: int, length: int) -> Buffer:
        index = bisect_right(self._ends, start)
        content = self._contents[index]
        begin = self._ends[index] - content.size
        return content.read(start - begin, min(length, self._ends[index] - start))

    def md5(self) -> bytes:
        if self.literal:
            return _hashed(self)
        state = hashlib.md5(usedforsecurity=False)
        for content in self._contents:
            state.update(content.md5())
        return state.hexdigest().encode("ascii")


def read_all(content: Content, start: int = 0, length: int | None = None) -> bytes:
    """The bytes joined into one object; ``length`` None reads to the end."""
    end = content.size if length is None else start + length
    pieces = []
    while start < end:
        piece = content.read(start, end - start)
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def _hashed(content: Content) -> bytes:
    state = hashlib.md5(usedforsecurity=False)
    position = 0
    while position < content.size:
        piece = content.read(position, content.size - position)
        state.update(piece)
        position += len(piece)
    return state.hexdigest().encode("ascii")
