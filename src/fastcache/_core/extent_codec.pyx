"""The binary format of cache files: one fixed header for heads, extents and whole small objects.

All integers are little-endian. Layout of format version 2, offsets in bytes::

      0   8  magic "fcextent"             96   8  offset of the data in the file
      8   2  format version              104   4  block size, 262,144
     10   1  kind                        108   4  number of blocks
     11   1  codec                       112   8  epoch          \\
     12   4  bytes of the header         120   8  object fence    | informative: where the fences stood
     16  32  object digest               128   8  bucket fence   /
     48  16  generation tag              136   4  bytes of the head blob
     64   8  size of the object          140   4  CRC32C of the head blob
     72   8  start of the extent         144  16  zero
     80   8  length of the extent        160   …  head blob, then a CRC32C per block of stored bytes,
     88   8  bytes stored                        then the CRC32C of everything before it

Zeros follow up to the data, which begins at a multiple of 64, or of 4096 where blocks should lie on pages.
Changing any of this needs another FORMAT_VERSION: the golden files of the tests see to that.
"""

from libc.stdint cimport uint8_t, uint32_t
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

import struct
from dataclasses import dataclass
from enum import IntEnum

from fastcache._core.crc32c cimport fc_crc32c, fc_crc32c_init
from fastcache.errors import CorruptFileError
from fastcache.model import ChecksumState, Codec, FenceToken, Generation, HeadRecord, Interval, Part

MAGIC = b"fcextent"
FORMAT_VERSION = 2
BLOCK_SIZE = 262_144
FIXED_SIZE = 160
PAGE_ALIGNED_ABOVE = 65_536
MAX_HEADER_SIZE = 1 << 20

_FIXED = struct.Struct("<8sHBBI32s16sQQQQQIIQQQII16s")
_BLOB_FIXED = struct.Struct("<BBdQ")
_PART = struct.Struct("<IQQ")
_BLOB_VERSION = 2
_ZEROS = b"\0" * 16

assert _FIXED.size == FIXED_SIZE
fc_crc32c_init()


class Kind(IntEnum):
    """What a cache file is."""

    HEAD = 1
    EXTENT = 2
    OBJECT = 3


@dataclass(frozen=True, slots=True)
class FileHeader:
    """Everything a cache file says about itself."""

    kind: Kind
    object_digest: bytes
    generation_tag: bytes
    object_size: int
    start: int
    length: int
    stored_length: int
    codec: Codec
    data_offset: int
    token: FenceToken
    blob: bytes
    blocks: tuple[int, ...]

    @property
    def file_size(self) -> int:
        return self.data_offset + self.stored_length


cdef uint32_t _crc(bytes data, Py_ssize_t length):
    return fc_crc32c(PyBytes_AS_STRING(data), <size_t>length, 0)


def block_count(stored_length):
    """How many CRCs an extent of ``stored_length`` bytes carries."""
    return -(-stored_length // BLOCK_SIZE)


def header_size(blob_length, stored_length):
    """Bytes of a header with its CRC, without the zeros that follow it."""
    return FIXED_SIZE + blob_length + 4 * block_count(stored_length) + 4


def data_offset_for(blob_length, stored_length):
    """Where the data of a file begins: page-aligned for large data, tight for small."""
    align = 4096 if stored_length > PAGE_ALIGNED_ABOVE else 64
    return -(-header_size(blob_length, stored_length) // align) * align


def pack(header):
    """The first ``header.data_offset`` bytes of a file. Raises ValueError when the fields contradict each other."""
    size = header_size(len(header.blob), header.stored_length)
    if len(header.blocks) != block_count(header.stored_length):
        raise ValueError("one CRC per block")
    if header.data_offset < size or header.data_offset % 64:
        raise ValueError("the data would overlap the header")
    if header.start + header.length > header.object_size or header.start < 0:
        raise ValueError("the extent reaches outside of the object")
    if len(header.object_digest) != 32 or len(header.generation_tag) != 16:
        raise ValueError("a digest has 32 bytes, a generation tag 16")
    epoch, object_fence, bucket_fence = header.token
    head = _FIXED.pack(
        MAGIC, FORMAT_VERSION, header.kind, header.codec, size, header.object_digest, header.generation_tag,
        header.object_size, header.start, header.length, header.stored_length, header.data_offset, BLOCK_SIZE,
        len(header.blocks), epoch, object_fence, bucket_fence, len(header.blob), _crc(header.blob, len(header.blob)),
        _ZEROS,
    )
    cdef bytes body = head + header.blob + struct.pack(f"<{len(header.blocks)}I", *header.blocks)
    body += _crc(body, len(body)).to_bytes(4, "little")
    return body + bytes(header.data_offset - size)


def header_length(data):
    """How many bytes from the start of a file ``unpack`` needs, from at least the first 160 of them.

    Raises CorruptFileError when they are not the start of a cache file of this version.
    """
    if len(data) < FIXED_SIZE:
        raise CorruptFileError("shorter than a header")
    if data[:8] != MAGIC:
        raise CorruptFileError("not a cache file")
    if int.from_bytes(data[8:10], "little") != FORMAT_VERSION:
        raise CorruptFileError("another format version")
    length = int.from_bytes(data[96:104], "little")
    if not FIXED_SIZE < length <= MAX_HEADER_SIZE:
        raise CorruptFileError("impossible data offset")
    return length


def unpack(bytes data):
    """The header in ``data``, which holds all bytes before the file's data (see ``header_length``), every field checked.

    Raises CorruptFileError; the text names the field.
    """
    if header_length(data) != PyBytes_GET_SIZE(data):
        raise CorruptFileError("header cut short")
    (
        _, _, kind, codec, size, digest, tag, object_size, start, length, stored, offset, block_size, blocks, epoch,
        object_fence, bucket_fence, blob_length, blob_crc, reserved,
    ) = _FIXED.unpack_from(data)
    if block_size != BLOCK_SIZE or blocks != block_count(stored):
        raise CorruptFileError("block table does not fit the data")
    if size != header_size(blob_length, stored) or size > offset:
        raise CorruptFileError("header length does not fit its parts")
    if offset != data_offset_for(blob_length, stored) and offset != -(-size // 4096) * 4096:
        raise CorruptFileError("data offset does not fit the header")
    if int.from_bytes(data[size - 4 : size], "little") != _crc(data, size - 4):
        raise CorruptFileError("header checksum differs")
    if reserved != _ZEROS or data.count(0, size) != offset - size:
        raise CorruptFileError("reserved bytes are not zero")
    blob = data[FIXED_SIZE : FIXED_SIZE + blob_length]
    if _crc(blob, blob_length) != blob_crc:
        raise CorruptFileError("head blob checksum differs")
    if kind not in (Kind.HEAD, Kind.EXTENT, Kind.OBJECT) or codec not in (Codec.RAW, Codec.LZ4):
        raise CorruptFileError("unknown kind or codec")
    if start + length > object_size or (codec == Codec.RAW and stored != length):
        raise CorruptFileError("lengths contradict each other")
    if kind == Kind.HEAD and (start or length or stored or codec):
        raise CorruptFileError("a head with data")
    if kind == Kind.OBJECT and (start or length != object_size):
        raise CorruptFileError("a whole object that is not whole")
    if (kind == Kind.EXTENT) != (blob_length == 0):
        raise CorruptFileError("a head blob where none belongs, or none where one does")
    return FileHeader(
        Kind(kind), digest, tag, object_size, start, length, stored, Codec(codec), offset,
        FenceToken(epoch, object_fence, bucket_fence), blob,
        struct.unpack_from(f"<{blocks}I", data, FIXED_SIZE + blob_length),
    )


def encode_head(record):
    """A head record as bytes: the same record gives the same bytes, always."""
    generation = record.generation
    parts = [
        _BLOB_FIXED.pack(_BLOB_VERSION, record.checksum_state, record.stored_at, generation.size),
        len(generation.etag).to_bytes(4, "little"),
        generation.etag,
    ]
    for fields in (record.headers, record.checksums):
        parts.append(len(fields).to_bytes(4, "little"))
        for name, value in fields:
            parts += (len(name).to_bytes(4, "little"), name, len(value).to_bytes(4, "little"), value)
    parts += (record.parts_count.to_bytes(4, "little"), len(record.parts).to_bytes(4, "little"))
    parts += [_PART.pack(number, interval.start, interval.end) for number, interval in record.parts]
    return b"".join(parts)


cdef class _Cursor:
    cdef bytes data
    cdef Py_ssize_t at

    def __cinit__(self, bytes data, Py_ssize_t at):
        self.data = data
        self.at = at

    cdef Py_ssize_t number(self) except -1:
        if PyBytes_GET_SIZE(self.data) - self.at < 4:
            raise CorruptFileError("head blob cut short")
        cdef const uint8_t *raw = <const uint8_t *>PyBytes_AS_STRING(self.data) + self.at
        self.at += 4
        return raw[0] | raw[1] << 8 | raw[2] << 16 | <Py_ssize_t>raw[3] << 24

    cdef bytes text(self):
        cdef Py_ssize_t length = self.number()
        if PyBytes_GET_SIZE(self.data) - self.at < length:
            raise CorruptFileError("head blob cut short")
        self.at += length
        return self.data[self.at - length : self.at]

    cdef tuple fields(self):
        cdef Py_ssize_t count = self.number()
        if count > PyBytes_GET_SIZE(self.data):
            raise CorruptFileError("head blob promises more fields than it has bytes")
        return tuple([(self.text(), self.text()) for _ in range(count)])

    cdef tuple parts(self, size):
        cdef Py_ssize_t length = self.number() * _PART.size
        if PyBytes_GET_SIZE(self.data) - self.at < length:
            raise CorruptFileError("head blob cut short")
        self.at += length
        found = []
        number, position = 0, 0
        for following, start, end in _PART.iter_unpack(self.data[self.at - length : self.at]):
            if following <= number or not position <= start < end <= size:
                raise CorruptFileError("parts that cannot lie side by side")
            number, position = following, end
            found.append(Part(number, Interval(start, end)))
        return tuple(found)


def decode_head(bytes blob):
    """The head record in ``blob``. Raises CorruptFileError for anything ``encode_head`` would not have written."""
    if len(blob) < _BLOB_FIXED.size:
        raise CorruptFileError("head blob cut short")
    version, state, stored_at, size = _BLOB_FIXED.unpack_from(blob)
    if version != _BLOB_VERSION or state not in (0, 1, 2):
        raise CorruptFileError("unknown head blob")
    cdef _Cursor cursor = _Cursor(blob, _BLOB_FIXED.size)
    etag = cursor.text()
    headers = cursor.fields()
    checksums = cursor.fields()
    parts_count = cursor.number()
    parts = cursor.parts(size)
    if cursor.at != len(blob):
        raise CorruptFileError("bytes after the head blob")
    return HeadRecord(
        Generation(etag, size), headers, ChecksumState(state), checksums, stored_at, parts, parts_count
    )
