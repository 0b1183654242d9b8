"""What a client signed of its body is proved on the way, and what does not hold never becomes an object."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Callable

import pytest
from tests.conftest import attach_log
from tests.gateway.conftest import Gate, StartGate
from tests.gateway.test_matrix import code_of
from tests.gateway.uploads import Chunk, Upload, changed, send

from fastcache.engine.payload import CHUNK_HELD
from fastcache.origin.process import OriginProcess
from fastcache.protocol.sigv4 import PayloadKind

OLD = b"what was there"
KIB = 1024


@pytest.fixture(params=["own", "tls"])
def counting_gate(request: pytest.FixtureRequest, start_gate: StartGate, origin: OriginProcess) -> Gate:
    """In front of our own origin, plain and behind TLS."""
    gate = start_gate(request.param, "verify-sign")
    attach_log(request, gate.proxy.logs)
    assert gate.control is not None
    gate.control.bucket("bodies")
    return gate


def some(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % size).digest(size)


UPSTREAM = {
    PayloadKind.SIGNED: ("hash", "hash"),
    PayloadKind.UNSIGNED: ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "UNSIGNED-PAYLOAD"),
    PayloadKind.CHUNKS_SIGNED: ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "UNSIGNED-PAYLOAD"),
    PayloadKind.CHUNKS_SIGNED_TRAILER: (
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    ),
    PayloadKind.CHUNKS_UNSIGNED_TRAILER: (
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    ),
}
"""What a client promises, and what the origin is promised over plain HTTP and over TLS."""


@pytest.mark.parametrize("kind", PayloadKind, ids=lambda kind: kind.name)
@pytest.mark.parametrize("te_chunked", [False, True], ids=["length", "te-chunked"])
def test_every_framing_arrives_whole_and_says_its_length(
    counting_gate: Gate, kind: PayloadKind, te_chunked: bool
) -> None:
    gate = counting_gate
    for size, chunk_size in ((0, 8), (1, 8), (100_000, 64 * KIB), (400_000, 8 * KIB), (700_000, CHUNK_HELD + 50_000)):
        key = uuid.uuid4().hex
        upload = Upload(some(size), kind, chunk_size=chunk_size, te_chunked=te_chunked)
        assert send(gate, f"/bodies/{key}", upload).status == 200
        assert gate.through.get_object(Bucket="bodies", Key=key)["Body"].read() == upload.body
        plain, tls = UPSTREAM[kind]
        wanted = tls if gate.kind == "tls" else plain
        if te_chunked and kind is PayloadKind.UNSIGNED:
            wanted = "UNSIGNED-PAYLOAD"  # its length is not known, and chunks of our own must say it
        if size or kind.has_trailer:
            assert gate.uploaded_as(key) == wanted
        put = next(entry for entry in gate.control.log() if entry["key"] == key)  # type: ignore[union-attr]
        length_unknown = te_chunked and not kind.is_aws_chunked
        names = [name.lower() for name in put["headers"]]
        assert ("content-length" in names) is not length_unknown
        assert ("transfer-encoding" in names) is length_unknown


SIGNED = Upload(some(150_000), PayloadKind.CHUNKS_SIGNED)
TRAILER = Upload(some(150_000), PayloadKind.CHUNKS_SIGNED_TRAILER)
UNSIGNED = Upload(some(150_000), PayloadKind.CHUNKS_UNSIGNED_TRAILER)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


def in_chunk(index: int, change: Callable[[Chunk], Chunk]) -> Callable[[list[Chunk]], list[Chunk]]:
    return lambda chunks: [change(chunk) if at == index else chunk for at, chunk in enumerate(chunks)]


def other_data(chunk: Chunk) -> Chunk:
    return chunk[0], flipped(chunk[1], 0)


def other_signature(chunk: Chunk) -> Chunk:
    return chunk[0][:-1] + (b"0" if chunk[0][-1:] != b"0" else b"1"), chunk[1]


SPOILT: dict[str, tuple[Upload, int, str]] = {
    "another hash": (
        Upload(some(9), PayloadKind.SIGNED, payload_hash=b"0" * 64),
        400,
        "XAmzContentSHA256Mismatch",
    ),
    "another hash of much": (
        Upload(some(3_000_000), PayloadKind.SIGNED, payload_hash=b"0" * 64),
        400,
        "XAmzContentSHA256Mismatch",
    ),
    "another hash of nothing": (
        Upload(b"", PayloadKind.SIGNED, payload_hash=b"0" * 64),
        400,
        "XAmzContentSHA256Mismatch",
    ),
    "another hash, TE": (
        Upload(some(100_000), PayloadKind.SIGNED, payload_hash=b"0" * 64, te_chunked=True),
        400,
        "XAmzContentSHA256Mismatch",
    ),
    **{
        f"{what} of chunk {index}": (changed(SIGNED, spoil=in_chunk(index, change)), 403, "SignatureDoesNotMatch")
        for (what, change), index in itertools.product(
            (("data", other_data), ("signature", other_signature)), (0, 1, 2)
        )
    },
    "signature of the last chunk": (
        changed(SIGNED, spoil=in_chunk(3, other_signature)),
        403,
        "SignatureDoesNotMatch",
    ),
    "a large chunk": (
        changed(SIGNED, body=some(900_000), chunk_size=900_000, spoil=in_chunk(0, other_data)),
        403,
        "SignatureDoesNotMatch",
    ),
    "chunks in another order": (
        changed(SIGNED, spoil=lambda chunks: [chunks[1], chunks[0], *chunks[2:]]),
        403,
        "SignatureDoesNotMatch",
    ),
    "a chunk twice": (
        changed(SIGNED, decoded_length=150_000 + 64 * KIB, spoil=lambda chunks: [chunks[0], *chunks]),
        403,
        "SignatureDoesNotMatch",
    ),
    "a chunk dropped": (
        changed(SIGNED, decoded_length=150_000 - 64 * KIB, spoil=lambda chunks: [chunks[0], *chunks[2:]]),
        403,
        "SignatureDoesNotMatch",
    ),
    "chunks without signatures": (
        changed(SIGNED, spoil=lambda chunks: [(b"", data) for _, data in chunks]),
        403,
        "SignatureDoesNotMatch",
    ),
    "less than declared": (changed(SIGNED, decoded_length=150_001), 400, "IncompleteBody"),
    "more than declared": (changed(SIGNED, decoded_length=149_999), 400, "IncompleteBody"),
    "less than declared, unsigned": (changed(UNSIGNED, decoded_length=150_001), 400, "IncompleteBody"),
    "no length told": (changed(SIGNED, decoded_length=-1), 411, "MissingContentLength"),
    "no last chunk": (changed(SIGNED, spoil=lambda chunks: chunks[:-1]), 400, "InvalidRequest"),
    "another trailer": (changed(TRAILER, trailer_signature=b"0" * 64), 403, "SignatureDoesNotMatch"),
    "no trailer": (changed(TRAILER, trailer=b""), 400, "MalformedTrailerError"),
    "no trailer, unsigned": (changed(UNSIGNED, trailer=b""), 400, "MalformedTrailerError"),
    "a trailer that is no checksum": (changed(UNSIGNED, trailer=b"AAAA"), 400, "InvalidRequest"),
    "another checksum": (changed(UNSIGNED, trailer=b"AAAAAA=="), 400, "BadDigest"),
    "nothing, and another trailer": (
        changed(TRAILER, body=b"", trailer_signature=b"0" * 64),
        403,
        "SignatureDoesNotMatch",
    ),
    "nothing, in a spoilt chunk": (
        changed(SIGNED, body=b"", spoil=in_chunk(0, other_signature)),
        403,
        "SignatureDoesNotMatch",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_was_not_signed_never_becomes_an_object(counting_gate: Gate, name: str) -> None:
    gate, (upload, status, code) = counting_gate, SPOILT[name]
    assert gate.control is not None
    gate.control.put("bodies", "k", OLD)
    assert gate.through.get_object(Bucket="bodies", Key="k")["Body"].read() == OLD
    gate.control.reset()
    answer = send(gate, "/bodies/k", upload)
    assert (answer.status, code_of(answer)) == (status, code)
    # The origin alone can know that a checksum is another one; everything else it never had whole.
    assert gate.control.requests("PUT") == (code == "BadDigest")
    assert gate.through.get_object(Bucket="bodies", Key="k")["Body"].read() == OLD
