"""What the encoder makes the decoder reads, and its length is known before its first byte."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcache.protocol.aws_chunked import AwsChunkedDecoder, ChunkData, ChunkEnd, ChunkHead, End
from fastcache.protocol.aws_chunked_encoder import CHECKSUM_LENGTHS, CHUNK_SIZE, AwsChunkedEncoder, coded_length
from fastcache.protocol.sigv4 import (
    ChunkSignatures,
    Credentials,
    Scope,
    SigningContext,
    derive_key,
    parse_timestamp,
    sign,
)

SCOPE = Scope(b"20130524", b"us-east-1")
CONTEXT = SigningContext(derive_key(b"secret", SCOPE), b"20130524T000000Z", bytes(SCOPE), b"0" * 64)

sizes = st.one_of(st.integers(0, 40), st.sampled_from([CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE]))


def encode(pieces: list[bytes], trailers: tuple[tuple[bytes, bytes], ...], *, signed: bool) -> list[bytes]:
    encoder = AwsChunkedEncoder(ChunkSignatures(CONTEXT) if signed else None)
    coded = [chunk for piece in pieces for chunk in encoder.feed(piece)]
    return [*coded, encoder.end(trailers)]


@given(st.lists(sizes, max_size=4), st.booleans(), st.sampled_from([(), *((name,) for name in CHECKSUM_LENGTHS)]))
def test_the_decoder_reads_what_was_encoded_and_its_length_was_known(
    lengths: list[int], signed: bool, names: tuple[bytes, ...]
) -> None:
    body = [bytes([index + 1]) * length for index, length in enumerate(lengths)]
    trailers = tuple((name, b"A" * CHECKSUM_LENGTHS[name]) for name in names)
    coded = b"".join(encode(body, trailers, signed=signed))
    whole = b"".join(body)
    assert len(coded) == coded_length(len(whole), names, signed=signed)
    chain = ChunkSignatures(CONTEXT)
    decoder, decoded, chunk, expected = AwsChunkedDecoder(len(whole)), b"", b"", None
    for event in decoder.feed(coded):
        if isinstance(event, ChunkHead):
            chunk, expected = b"", event.signature
        elif isinstance(event, ChunkData):
            chunk += event.data
        elif isinstance(event, ChunkEnd):
            decoded += chunk
            if signed:
                assert expected == chain.chunk(hashlib.sha256(chunk).hexdigest().encode())
        else:
            assert isinstance(event, End)
            assert event.trailers == trailers
            assert event.signature == (chain.trailer(trailers) if signed and trailers else None)
    decoder.finish()
    assert decoded == whole


def test_the_chunks_are_those_that_aws_documents() -> None:
    """S3 API Reference, "Transferring Payload in Multiple Chunks": the example's bytes are as long as it says, and its
    last signatures are ours."""
    headers = (
        (b"host", b"s3.amazonaws.com"),
        (b"x-amz-storage-class", b"REDUCED_REDUNDANCY"),
        (b"content-encoding", b"aws-chunked"),
        (b"x-amz-decoded-content-length", b"66560"),
        (b"content-length", b"66824"),
    )
    example = Credentials(b"AKIAIOSFODNN7EXAMPLE", b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    made = sign(
        b"PUT",
        b"/examplebucket/chunkObject.txt",
        headers,
        example,
        region=b"us-east-1",
        now=parse_timestamp(b"20130524T000000Z"),
        payload_hash=b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        signed=[name for name, _ in headers],
    )
    encoder = AwsChunkedEncoder(ChunkSignatures(made.context))
    coded = b"".join((*encoder.feed(b"a" * 66560), encoder.end(())))
    assert len(coded) == 66824 == coded_length(66560, (), signed=True)
    for signature in (b"ad80c730", b"0055627c", b"b6c6ea8a"):
        assert b";chunk-signature=" + signature in coded


def test_a_trailer_of_unknown_length_leaves_the_length_open() -> None:
    assert coded_length(10, [b"x-amz-checksum-new"], signed=True) is None


@pytest.mark.parametrize("signed", [False, True])
def test_pieces_come_out_whole_chunk_by_whole_chunk(signed: bool) -> None:
    coded = encode([b"x" * 1000] * 200, (), signed=signed)
    assert len(coded) == 200_000 // CHUNK_SIZE + 1
    assert all(chunk.endswith(b"\r\n") for chunk in coded)
