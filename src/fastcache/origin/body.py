"""A request's body as it arrives: decoded, hashed, compared with everything the request promised about it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from typing import Protocol

from fastcache.errors import RequestError
from fastcache.model import Headers
from fastcache.origin.identity import Identity
from fastcache.origin.message import S3Error
from fastcache.protocol.aws_chunked import AwsChunkedDecoder, ChunkData, ChunkEnd, ChunkHead, End
from fastcache.protocol.sigv4 import ChunkSignatures, PayloadKind, SignatureError

MAX_BODY = 5 << 30
"""Largest body of one PUT, bytes (S3's limit)."""
CHECKSUM_NAMES = (b"crc32", b"crc32c", b"crc64nvme", b"sha1", b"sha256")


class Hash(Protocol):
    """What zlib's CRC and hashlib have in common here."""

    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class Crc32:
    """CRC-32 with hashlib's interface."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class RequestBody:
    """Collects one body. Problems are kept until :meth:`finish`, when the whole body has been read."""

    def __init__(self, fields: dict[bytes, bytes], identity: Identity, *, keep: bool = True) -> None:
        """Raises RequestError if the declared framing cannot be decoded.

        With ``keep`` False the bytes are counted and checked against what was promised, and then forgotten; MD5, which
        nobody promised, is not computed.
        """
        self.kept = keep
        self._fields = fields
        self._identity = identity
        self._problem: RequestError | None = None
        self._data = bytearray()
        self._decoder = _decoder(fields, identity)
        self._signatures: ChunkSignatures | None = None
        if identity.context is not None and identity.payload.has_chunk_signatures:
            self._signatures = ChunkSignatures(identity.context)
        self._chunk_signature: bytes | None = None
        self._chunk_hash = hashlib.sha256()
        self._hashes = _promised_hashes(fields, identity)
        if keep or b"content-md5" in fields:
            self._hashes[b"md5"] = hashlib.md5(usedforsecurity=False)
        self._trailers: Headers = ()
        self.size = 0
        """Decoded bytes so far."""

    def feed(self, data: bytes) -> None:
        """Take some bytes of the body, transfer coding already removed."""
        if self._problem is not None:
            return
        try:
            if self._decoder is None:
                self._take(memoryview(data))
            else:
                self._decode(self._decoder, data)
        except RequestError as error:
            self._problem = error

    def finish(self) -> bytearray:
        """The decoded body, which is the caller's from now on; raises RequestError if any promise does not hold."""
        if self._problem is not None:
            raise self._problem
        if self._decoder is not None:
            self._decoder.finish()
        self._compare_hashes()
        data, self._data = self._data, bytearray()
        return data

    def release(self) -> None:
        """Let go of a body that nobody wants; the request log must not keep it."""
        self._data = bytearray()

    @property
    def md5(self) -> bytes:
        """The MD5 of the decoded body so far, hexadecimal; computed on the way so that no request waits for it."""
        return self._hashes[b"md5"].digest().hex().encode("ascii")

    def checksums(self) -> dict[bytes, bytes]:
        """``x-amz-checksum-*`` values given with the body, in the header or the trailer, by algorithm."""
        given = {}
        for name in CHECKSUM_NAMES:
            field = b"x-amz-checksum-" + name
            value = self._fields.get(field)
            for trailer, trailer_value in self._trailers:
                if trailer.lower() == field:
                    value = trailer_value
            if value is not None:
                given[name] = value
        return given

    def _take(self, data: memoryview) -> None:
        self.size += len(data)
        if self.size > MAX_BODY:
            raise S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        for state in self._hashes.values():
            state.update(data)
        if self.kept:
            self._data += data

    def _decode(self, decoder: AwsChunkedDecoder, data: bytes) -> None:
        for event in decoder.feed(data):
            if isinstance(event, ChunkData):
                if self._signatures is not None:
                    self._chunk_hash.update(event.data)
                self._take(event.data)
            elif isinstance(event, ChunkHead):
                self._chunk_signature = event.signature
            elif isinstance(event, ChunkEnd):
                self._check_chunk()
            else:
                self._check_trailer(event)

    def _check_chunk(self) -> None:
        if self._signatures is None:
            return
        expected = self._signatures.chunk(self._chunk_hash.hexdigest().encode("ascii"))
        if self._chunk_signature is None or not hmac.compare_digest(expected, self._chunk_signature):
            raise _chunk_mismatch()
        self._chunk_hash = hashlib.sha256()

    def _check_trailer(self, end: End) -> None:
        self._trailers = end.trailers
        declared = {name.strip().lower() for name in self._fields.get(b"x-amz-trailer", b"").split(b",") if name}
        if {name.lower() for name, _ in end.trailers} != declared:
            raise S3Error(400, "MalformedTrailerError", "The trailers are not those that x-amz-trailer declares.")
        if self._signatures is not None and self._identity.payload.has_trailer:
            expected = self._signatures.trailer(end.trailers)
            if end.signature is None or not hmac.compare_digest(expected, end.signature):
                raise _chunk_mismatch()

    def _compare_hashes(self) -> None:
        if self._identity.payload is PayloadKind.SIGNED and b"payload" in self._hashes:
            digest = self._hashes[b"payload"].digest().hex().encode("ascii")
            if not hmac.compare_digest(digest, self._identity.payload_hash.lower()):
                raise S3Error(
                    400,
                    "XAmzContentSHA256Mismatch",
                    "The provided 'x-amz-content-sha256' header does not match what was computed.",
                )
        md5 = self._fields.get(b"content-md5")
        if md5 is not None and _decoded(md5, 16, "InvalidDigest") != self._hashes[b"md5"].digest():
            raise S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
        for name, value in self.checksums().items():
            state = self._hashes.get(name)
            if state is not None and _decoded(value, len(state.digest()), "InvalidRequest") != state.digest():
                algorithm = name.decode("ascii").upper()
                raise S3Error(400, "BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")


def _decoder(fields: dict[bytes, bytes], identity: Identity) -> AwsChunkedDecoder | None:
    codings = [coding.strip().lower() for coding in fields.get(b"content-encoding", b"").split(b",")]
    declared = fields.get(b"x-amz-decoded-content-length")
    if not identity.payload.is_aws_chunked and b"aws-chunked" not in codings:
        return None
    if declared is None:
        raise S3Error(411, "MissingContentLength", "You must provide the x-amz-decoded-content-length HTTP header.")
    if not (declared.isdigit() and len(declared) <= 19):
        raise S3Error(400, "InvalidArgument", "x-amz-decoded-content-length must be a number of bytes.")
    return AwsChunkedDecoder(int(declared))


def _promised_hashes(fields: dict[bytes, bytes], identity: Identity) -> dict[bytes, Hash]:
    """Only what has to be compared is computed: at gigabytes per second each hash counts."""
    hashes: dict[bytes, Hash] = {}
    promised = {name.strip().lower() for name in fields.get(b"x-amz-trailer", b"").split(b",")}
    promised.update(name for name in fields if name.startswith(b"x-amz-checksum-"))
    if identity.payload is PayloadKind.SIGNED and identity.context is not None:
        hashes[b"payload"] = hashlib.sha256()
    if b"x-amz-checksum-crc32" in promised:
        hashes[b"crc32"] = Crc32()
    if b"x-amz-checksum-sha1" in promised:
        hashes[b"sha1"] = hashlib.sha1(usedforsecurity=False)
    if b"x-amz-checksum-sha256" in promised:
        hashes[b"sha256"] = hashlib.sha256()
    return hashes


def _decoded(value: bytes, length: int, code: str) -> bytes:
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise S3Error(400, code, "A digest you specified is not valid Base64.") from error
    if len(raw) != length:
        raise S3Error(400, code, "A digest you specified has the wrong length.")
    return raw


def _chunk_mismatch() -> SignatureError:
    return SignatureError(
        "The chunk signature we calculated does not match the signature you provided.", code="SignatureDoesNotMatch"
    )
