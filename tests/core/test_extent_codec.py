"""The file format: what it is (golden files), and that no damaged header is ever taken for a good one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache._core import extent_codec
from fastcache._core.crc32c import crc32c, crc_blocks
from fastcache._core.extent_codec import (
    FORMAT_VERSION,
    FileHeader,
    Kind,
    data_offset_for,
    decode_head,
    encode_head,
    header_length,
    pack,
    unpack,
)
from fastcache.errors import CorruptFileError
from fastcache.model import ChecksumState, Codec, FenceToken, Generation, HeadRecord, Interval, Part

GOLDEN = Path(__file__).parent.parent / "storage" / "golden"
RECORD = HeadRecord(
    Generation(b'"9b2cf535f27731c974343645a3985328"', 3000),
    (
        (b"Content-Type", b"text/plain"),
        (b"Last-Modified", b"Wed, 12 Oct 2022 17:50:00 GMT"),
        (b"x-amz-meta-a", b"\xff"),
    ),
    ChecksumState.KNOWN,
    ((b"x-amz-checksum-crc32c", b"yZRlqg=="),),
    1_700_000_000.25,
    (Part(1, Interval(0, 1000)), Part(3, Interval(2000, 3000))),
    3,
)
DATA = bytes(range(250)) * 12
DIGEST = bytes(range(32))


def golden_header(kind: Kind) -> FileHeader:
    blob = b"" if kind == Kind.EXTENT else encode_head(RECORD)
    length = 0 if kind == Kind.HEAD else len(DATA)
    return FileHeader(
        kind, DIGEST, RECORD.generation.tag, 3000, 0, length, length, Codec.RAW, data_offset_for(len(blob), length),
        FenceToken(0x1122334455667788, 7, 9), blob, tuple(crc_blocks(DATA[:length])),
    )  # fmt: skip


def golden_file(kind: Kind) -> bytes:
    header = golden_header(kind)
    return pack(header) + DATA[: header.length]


@pytest.mark.parametrize("kind", list(Kind))
def test_the_format_is_what_it_was_under_this_version_number(kind: Kind) -> None:
    """When this fails the format changed: raise FORMAT_VERSION and write new golden files beside the old ones."""
    path = GOLDEN / f"v{FORMAT_VERSION}-{kind.name.lower()}"
    assert path.read_bytes() == golden_file(kind)
    header = unpack(path.read_bytes()[: header_length(path.read_bytes())])
    assert header == golden_header(kind)
    if kind != Kind.EXTENT:
        assert decode_head(header.blob) == RECORD


def every_change(header: bytes) -> list[bytes]:
    changed = []
    for at in range(len(header)):
        changed.extend(header[:at] + bytes([header[at] ^ flip]) + header[at + 1 :] for flip in (0x01, 0x80, 0xFF))
    return changed


@pytest.mark.parametrize("kind", list(Kind))
def test_every_flipped_byte_of_a_header_is_noticed(kind: Kind) -> None:
    header = pack(golden_header(kind))
    for damaged in every_change(header):
        with pytest.raises(CorruptFileError):
            unpack(damaged)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_header_cut_anywhere_is_noticed(kind: Kind) -> None:
    header = pack(golden_header(kind))
    for length in range(len(header)):
        with pytest.raises(CorruptFileError):
            unpack(header[:length])
    with pytest.raises(CorruptFileError):
        unpack(header + b"\0")


def resealed(header: bytes, at: int, value: bytes) -> bytes:
    """A header with other bytes at ``at`` and a checksum that agrees: what a program with a bug would write."""
    size = int.from_bytes(header[12:16], "little")
    body = header[:at] + value + header[at + len(value) : size - 4]
    return body + crc32c(body).to_bytes(4, "little") + header[size:]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (8, b"\x01\x00"),  # version
        (10, b"\x00"),  # kind
        (10, b"\x04"),
        (10, b"\x01"),  # a head with data
        (10, b"\x02"),  # an extent with a head blob
        (11, b"\x07"),  # codec
        (64, (2999).to_bytes(8, "little")),  # smaller object than extent
        (64, (3001).to_bytes(8, "little")),  # a whole object that is not
        (72, (1).to_bytes(8, "little")),  # start
        (72, b"\xff" * 8),
        (80, (2999).to_bytes(8, "little")),  # length differs from bytes stored
        (96, (8192).to_bytes(8, "little")),  # data offset
        (104, (4096).to_bytes(4, "little")),  # block size
        (108, (2).to_bytes(4, "little")),  # block count
        (136, b"\xff\xff\xff\x7f"),  # blob length
        (140, b"\0\0\0\0"),  # blob checksum
        (144, b"\x01"),  # reserved
        (159, b"\x01"),
    ],
)
def test_contradictions_are_noticed_under_a_good_checksum(at: int, value: bytes) -> None:
    with pytest.raises(CorruptFileError):
        unpack(resealed(pack(golden_header(Kind.OBJECT)), at, value))


def test_what_cannot_be_true_is_not_packed() -> None:
    good = golden_header(Kind.EXTENT)
    for wrong in (
        replace(good, blocks=()),
        replace(good, data_offset=128),
        replace(good, data_offset=good.data_offset + 1),
        replace(good, start=1),
        replace(good, object_digest=b"short"),
    ):
        with pytest.raises(ValueError, match=r".+"):
            pack(wrong)


FIELDS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=50)), max_size=5).map(tuple)
PLACES = st.lists(st.integers(0, (1 << 64) - 1), unique=True, max_size=6).map(sorted)
NUMBERS = st.lists(st.integers(1, 10_000), unique=True, min_size=3, max_size=3).map(sorted)


@st.composite
def records(draw: st.DrawFn) -> HeadRecord:
    places = draw(PLACES)
    intervals = [Interval(start, end) for start, end in zip(places[::2], places[1::2], strict=False)]
    parts = tuple(Part(number, interval) for number, interval in zip(draw(NUMBERS), intervals, strict=False))
    size = draw(st.integers(places[-1] if places else 0, (1 << 64) - 1))
    return HeadRecord(
        Generation(draw(st.binary(max_size=40)), size),
        draw(FIELDS),
        draw(st.sampled_from(ChecksumState)),
        draw(FIELDS),
        draw(st.floats(allow_nan=False)),
        parts,
        draw(st.integers(0, 10_000)),
    )


RECORDS = records()


@given(RECORDS)
def test_head_records_come_back_as_they_were(record: HeadRecord) -> None:
    blob = encode_head(record)
    assert decode_head(blob) == record
    assert encode_head(decode_head(blob)) == blob


IMPOSSIBLE_PARTS = [
    ((1, 0, 10), (1, 10, 20)),
    ((2, 0, 10), (1, 10, 20)),
    ((1, 0, 10), (2, 9, 20)),
    ((1, 10, 10),),
    ((1, 10, 5),),
    ((1, 0, 3001),),
    ((0, 0, 10),),
]


@pytest.mark.parametrize("parts", IMPOSSIBLE_PARTS)
def test_parts_that_cannot_be_are_refused(parts: tuple[tuple[int, int, int], ...]) -> None:
    impossible = tuple(Part(number, Interval(start, end)) for number, start, end in parts)
    with pytest.raises(CorruptFileError):
        decode_head(encode_head(replace(RECORD, parts=impossible)))


@given(RECORDS, st.data())
def test_a_head_blob_cut_or_lengthened_is_refused(record: HeadRecord, data: st.DataObject) -> None:
    blob = encode_head(record)
    with pytest.raises(CorruptFileError):
        decode_head(blob[: data.draw(st.integers(0, len(blob) - 1))])
    with pytest.raises(CorruptFileError):
        decode_head(blob + b"\0")


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_or_decoded_but_never_crash(blob: bytes) -> None:
    try:
        assert encode_head(decode_head(blob)) == blob
    except CorruptFileError:
        return


@given(st.binary(min_size=160, max_size=400))
def test_arbitrary_headers_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptFileError):
        unpack(extent_codec.MAGIC + data)
