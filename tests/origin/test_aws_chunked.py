"""The aws-chunked decoder: any cut of the bytes gives the same events, and every lie is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.aws_chunked import (
    MAX_CHUNK_LINE,
    AwsChunkedDecoder,
    AwsChunkedError,
    ChunkData,
    ChunkEnd,
    ChunkHead,
    End,
)

SIGNATURE = b"0123456789abcdef" * 4


def decode(pieces: list[bytes], length: int | None) -> tuple[bytes, list[int], End | None]:
    """The data, the sizes of the chunks that ended, and the end."""
    decoder = AwsChunkedDecoder(length)
    data, sizes, end = b"", [], None
    current = 0
    for piece in pieces:
        for event in decoder.feed(piece):
            if isinstance(event, ChunkHead):
                current = event.size
            elif isinstance(event, ChunkData):
                data += event.data
            elif isinstance(event, ChunkEnd):
                sizes.append(current)
            else:
                end = event
    decoder.finish()
    assert decoder.complete
    return data, sizes, end


def feed_all(decoder: AwsChunkedDecoder, pieces: list[bytes]) -> None:
    """Without finishing."""
    for piece in pieces:
        decoder.feed(piece)


def coded(chunks: list[bytes], *, signed: bool = False, trailers: bytes = b"") -> bytes:
    extension = b";chunk-signature=" + SIGNATURE if signed else b""
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return body + b"0" + extension + b"\r\n" + trailers + b"\r\n"


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    signed=st.booleans(),
    trailer=st.booleans(),
    cuts=st.lists(st.integers(0, 600), max_size=10),
)
def test_every_cut_of_the_bytes_gives_the_same_body(
    chunks: list[bytes], signed: bool, trailer: bool, cuts: list[int]
) -> None:
    fields = b"x-amz-checksum-crc32:AAAAAA==\r\n" if trailer else b""
    body = coded(chunks, signed=signed, trailers=fields)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pieces = [body[start:end] for start, end in pairwise(places)]
    data, sizes, end = decode(pieces, sum(map(len, chunks)))
    assert data == b"".join(chunks)
    assert sizes == [*map(len, chunks), 0]
    assert end == End(((b"x-amz-checksum-crc32", b"AAAAAA=="),) if trailer else (), None)


def test_signatures_are_delivered_with_their_chunks_and_trailers() -> None:
    trailers = b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:" + SIGNATURE + b"\r\n"
    decoder = AwsChunkedDecoder(3)
    events = decoder.feed(coded([b"abc"], signed=True, trailers=trailers))
    heads = [event for event in events if isinstance(event, ChunkHead)]
    assert heads == [ChunkHead(3, SIGNATURE), ChunkHead(0, SIGNATURE)]
    assert events[-1] == End(((b"x-amz-checksum-crc32", b"AAAAAA=="),), SIGNATURE)


def test_a_trailer_may_end_with_an_extra_line_feed() -> None:
    """Some SDKs send the signed text as it is, line feed included."""
    _, _, end = decode([coded([b"a"], trailers=b"x-amz-checksum-crc32:AAAAAA==\n\r\n")], 1)
    assert end is not None
    assert end.trailers == ((b"x-amz-checksum-crc32", b"AAAAAA=="),)


def test_data_that_looks_like_a_chunk_header_stays_data() -> None:
    data = b"5\r\nhello\r\n0\r\n\r\n"
    assert decode([coded([data])], len(data))[0] == data


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"ffffffffffffffff\r\n", 10),
        (b"ffffffffffffffff\r\n", (1 << 64) - 2),
        (b"10000000000000000\r\n", None),
        (b"b\r\n", 10),
        (b"5\r\nhello\r\n6\r\n", 10),
        (b"5\r\nhello\r\n0\r\n", 10),
        (b"5\r\nhelloX\r\n", 5),
        (b"5\r\nhello\r\n0\r\n\r\nmore", 5),
        (b"\r\n", 5),
        (b"-5\r\n", 5),
        (b"0x5\r\n", 5),
        (b"+5\r\n", 5),
        (b" 5\r\n", 5),
        (b"5 \r\n", 5),
        (b"5_0\r\n", 500),
        (b"5;chunk-signature=abc\r\n", 5),
        (b"0\r\nno colon\r\n\r\n", 0),
        (b"0\r\nbad name:x\r\n\r\n", 0),
        (b"0\r\na:b\nc:d\r\n\r\n", 0),
        (b"5" * MAX_CHUNK_LINE + b"5" * 10, 5),
        (b"0\r\n" + b"a:b\r\n" * 10_000, 0),
    ],
)
@pytest.mark.parametrize("piecewise", [False, True])
def test_malformed_bodies_are_refused(body: bytes, length: int | None, piecewise: bool) -> None:
    pieces = [body[at : at + 1] for at in range(len(body))] if piecewise else [body]
    with pytest.raises(AwsChunkedError):
        feed_all(AwsChunkedDecoder(length), pieces)


@pytest.mark.parametrize("kept", range(len(coded([b"hello"]))))
def test_a_body_that_ends_early_is_incomplete(kept: int) -> None:
    decoder = AwsChunkedDecoder(5)
    decoder.feed(coded([b"hello"])[:kept])
    with pytest.raises(AwsChunkedError) as caught:
        decoder.finish()
    assert caught.value.response_code == "IncompleteBody"


def test_sizes_near_the_word_length_do_not_wrap() -> None:
    size = (1 << 64) - 1
    decoder = AwsChunkedDecoder(size)
    assert decoder.feed(b"%x\r\nab" % size)[0] == ChunkHead(size, None)
    assert decoder.decoded == 2
