"""Cache files: whatever lies on the disk is exactly what was written, or a miss."""

from __future__ import annotations

import atexit
import os
import tempfile
from functools import cache
from pathlib import Path

from tests.fuzz.target import Target

from fastcache._core.crc32c import crc32c
from fastcache._core.extent_codec import (
    BLOCK_SIZE,
    FIXED_SIZE,
    FORMAT_VERSION,
    FileHeader,
    Kind,
    decode_head,
    encode_head,
    header_length,
    pack,
    unpack,
)
from fastcache.errors import CorruptFileError
from fastcache.storage.files import Files

GOLDEN = {
    kind: (Path(__file__).parents[1] / "storage" / "golden" / f"v{FORMAT_VERSION}-{kind.name.lower()}").read_bytes()
    for kind in Kind
}


def _header(data: bytes) -> FileHeader | None:
    try:
        return unpack(data[: header_length(data)])
    except CorruptFileError:
        return None


def _resealed(data: bytes) -> bytes:
    """With checksums that agree with whatever the fields say: what a program with a bug, or a forger, would write."""
    if len(data) < FIXED_SIZE + 4:
        return data
    size = min(max(FIXED_SIZE + 4, int.from_bytes(data[12:16], "little")), len(data))
    blob_length = int.from_bytes(data[136:140], "little")
    blob_crc = crc32c(data[FIXED_SIZE : FIXED_SIZE + blob_length]).to_bytes(4, "little")
    body = data[:140] + blob_crc + data[144 : size - 4]
    return body + crc32c(body).to_bytes(4, "little") + data[size:]


def header(data: bytes) -> None:
    """A header that is accepted says what it is made of: packed again it is the same bytes, and so is its head."""
    for candidate in (data, _resealed(data)):
        found = _header(candidate)
        if found is None:
            continue
        assert pack(found) == candidate[: found.data_offset]
        assert 0 <= found.start <= found.start + found.length <= found.object_size
        assert len(found.blocks) == -(-found.stored_length // BLOCK_SIZE)
        head_blob(found.blob)


def head_blob(data: bytes) -> None:
    """A head record that is accepted encodes to the same bytes."""
    try:
        record = decode_head(data)
    except CorruptFileError:
        return
    assert encode_head(record) == data


@cache
def _directory() -> tuple[Path, Files]:
    directory = tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    root = os.open(directory.name, os.O_RDONLY | os.O_DIRECTORY)
    atexit.register(directory.cleanup)
    atexit.register(os.close, root)
    return Path(directory.name) / "file", Files(root, fsync=False)


def stored_file(data: bytes) -> None:
    """Read as storage reads a file under the name of what was stored: the stored bytes, or a corrupt file."""
    path, files = _directory()
    path.write_bytes(data)
    for kind in (Kind.EXTENT, Kind.OBJECT):
        good = GOLDEN[kind]
        expected = unpack(good[: header_length(good)])
        try:
            fd, found = files.open_file(path.name, expected)
        except CorruptFileError:
            continue
        try:
            files.verify(fd, found, range(len(found.blocks)))
            assert os.pread(fd, found.length, found.data_offset) == good[expected.data_offset :]
        except CorruptFileError:
            pass
        finally:
            os.close(fd)
    for kind in (Kind.HEAD, Kind.OBJECT):
        good = GOLDEN[kind]
        expected = unpack(good[: header_length(good)])
        try:
            record, size = files.read_head(path.name, expected.object_digest, kind)
        except CorruptFileError:
            continue
        assert (record, size) == (decode_head(expected.blob), len(good))


_BLOBS = tuple(unpack(GOLDEN[kind][: header_length(GOLDEN[kind])]).blob for kind in (Kind.HEAD, Kind.OBJECT))
_NUMBERS = tuple(
    number.to_bytes(width, "little")
    for width in (1, 2, 4, 8)
    for number in (0, 1, 64, 4096, BLOCK_SIZE, 3000, (1 << 8 * width) - 1, 1 << (8 * width - 1))
    if number < 1 << 8 * width
)

TARGETS = {
    "file_header": Target(header, tuple(GOLDEN.values()), _NUMBERS),
    "head_blob": Target(head_blob, _BLOBS[:1], (*_NUMBERS, b"ETag", b"\0\0\xf8\x7f", b"\1\0\0\0\0\0\xf0\x7f")),
    "stored_file": Target(stored_file, tuple(GOLDEN.values()), _NUMBERS),
}
