"""How a request's body goes to the origin under our signature: as it is, or aws-chunked with signatures of our own.

Over TLS nobody can touch the bytes on their way, so that they go unsigned; over plain HTTP whatever the client has not
hashed as a whole goes in chunks that we sign. Either way its length is known before its first byte, and said.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import NamedTuple

from fastcache.engine.payload import ClientPayload
from fastcache.errors import RequestError
from fastcache.model import Headers
from fastcache.protocol.aws_chunked_encoder import CHECKSUM_LENGTHS, AwsChunkedEncoder, coded_length
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, ChunkSignatures, PayloadKind, SigningContext
from fastcache.protocol.targets import S3Target
from fastcache.upstream.sender import RequestBody

_UPLOAD_QUERY = frozenset({b"uploadId", b"partNumber", b"x-id"})
_CODING = frozenset({b"content-length", b"content-encoding", b"x-amz-decoded-content-length"})
_CODING_AND_TRAILER = _CODING | {b"x-amz-trailer"}
_LENGTH = frozenset({b"content-length"})
_LENGTH_AND_EXPECT = frozenset({b"content-length", b"expect"})
_ZERO_LENGTH: Headers = ((b"Content-Length", b"0"),)


class Carriage(NamedTuple):
    """What the head says of the body that goes out."""

    payload_hash: bytes
    """For ``x-amz-content-sha256``."""
    add: Headers = ()
    without: frozenset[bytes] = frozenset()
    """Lower-case names of the client's fields that ``add`` stands for."""
    has_body: bool = False
    length: int | None = None
    """Bytes on the wire; None: in HTTP's own chunks."""
    is_aws_chunked: bool = False


def carriage_of_bytes(body: bytes, trailers: Headers) -> Carriage:
    """For a body that is here already, with what stood behind it."""
    length: Headers = ((b"Content-Length", b"%d" % len(body)), *trailers)
    digest = hashlib.sha256(body).hexdigest().encode("ascii")
    return Carriage(digest, length, _CODING_AND_TRAILER | _LENGTH_AND_EXPECT, bool(body), len(body))


def carriage(head: RequestHead, target: S3Target, payload: ClientPayload | None, *, tls: bool) -> Carriage:
    """For a body that arrives while it goes out."""
    if payload is None or (payload.length == 0 and not payload.kind.is_aws_chunked):
        bare = head.method in (b"PUT", b"POST") and head.get(b"content-length") is None
        return Carriage(EMPTY_SHA256, _ZERO_LENGTH if bare else ())
    if payload.kind is PayloadKind.SIGNED:
        return _as_it_is(payload, payload.hash)
    if tls and not payload.kind.has_trailer:
        return _as_it_is(payload, UNSIGNED_PAYLOAD, decoded=_without_aws_chunked(head))
    if payload.length is None or not (payload.kind.is_aws_chunked or _is_upload(head, target)):
        return _as_it_is(payload, UNSIGNED_PAYLOAD)
    return _in_chunks(head, payload, payload.length, signed=not tls)


def _as_it_is(payload: ClientPayload, payload_hash: bytes, decoded: Headers = ()) -> Carriage:
    length = payload.length
    add = () if length is None else ((b"Content-Length", b"%d" % length),)
    if not payload.kind.is_aws_chunked:
        return Carriage(payload_hash, add, _LENGTH, True, length)
    return Carriage(payload_hash, add + decoded, _CODING_AND_TRAILER, True, length)


def _in_chunks(head: RequestHead, payload: ClientPayload, decoded: int, *, signed: bool) -> Carriage:
    kind = PayloadKind.CHUNKS_SIGNED
    if payload.kind.has_trailer:
        kind = PayloadKind.CHUNKS_SIGNED_TRAILER if signed else PayloadKind.CHUNKS_UNSIGNED_TRAILER
    length = coded_length(decoded, payload.trailer_names, signed=signed)
    codings = b",".join((b"aws-chunked", *(value for _, value in _without_aws_chunked(head))))
    add: Headers = ((b"Content-Encoding", codings), (b"x-amz-decoded-content-length", b"%d" % decoded))
    if length is not None:
        add += ((b"Content-Length", b"%d" % length),)
    return Carriage(kind.value.encode("ascii"), add, _CODING, True, length, is_aws_chunked=True)


def _without_aws_chunked(head: RequestHead) -> Headers:
    """The Content-Encoding of the object itself, if it has one."""
    members = (part.strip() for value in head.get_all(b"content-encoding") for part in value.split(b","))
    codings = b",".join(part for part in members if part and part.lower() != b"aws-chunked")
    return ((b"Content-Encoding", codings),) if codings else ()


def _is_upload(head: RequestHead, target: S3Target) -> bool:
    """PutObject or UploadPart, the only operations that take chunks."""
    return head.method == b"PUT" and target.key is not None and target.query.names <= _UPLOAD_QUERY


def body_source(carried: Carriage, payload: ClientPayload, context: SigningContext) -> RequestBody:
    """The bytes that go out; ``context`` is that of the request they belong to."""
    if not carried.is_aws_chunked:
        return payload.pieces()
    signed = carried.payload_hash != PayloadKind.CHUNKS_UNSIGNED_TRAILER.value.encode("ascii")
    return _coded(payload, AwsChunkedEncoder(ChunkSignatures(context) if signed else None))


async def _coded(payload: ClientPayload, encoder: AwsChunkedEncoder) -> AsyncIterator[bytes | memoryview]:
    async for piece in payload.pieces():
        for chunk in encoder.feed(piece):
            yield chunk
    for name, value in payload.trailers:
        if len(value) != CHECKSUM_LENGTHS.get(name.lower(), len(value)):
            shown = name.decode("ascii", "replace").lower()
            raise RequestError(f"Value for {shown} trailing header is invalid.", code="InvalidRequest")
    yield encoder.end(payload.trailers)
