"""Uploads in every framing that clients use, as bytes for a socket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.harness.signing import UNSIGNED, presigned_url, signed_headers, signed_request
from tests.reads.conftest import Reader

CHUNK = 64 * 1024
_SIGNATURE = re.compile(r"Credential=[^/]+/(?P<scope>[^,]+),.*Signature=(?P<signature>[0-9a-f]{64})")
_NOTHING = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Upload:
    """One PUT: ``head`` up to its empty line, and what follows it."""

    head: bytes
    body: bytes

    def __bytes__(self) -> bytes:
        return self.head + self.body


def upload(r: Reader, key: str, data: bytes, **signed: str) -> Upload:
    """Plain, with a Content-Length; ``signed`` are signed header fields, ``_`` standing for ``-``."""
    fields = [(name.replace("_", "-"), value) for name, value in signed.items()]
    return _sent(r, key, data, fields, [("Content-Length", str(len(data)))], UNSIGNED)


def hashed(r: Reader, key: str, data: bytes) -> Upload:
    """With the SHA-256 of its body and a checksum in the header, as boto3 sends it over HTTP."""
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    return _sent(
        r,
        key,
        data,
        [("x-amz-checksum-crc32", crc), ("x-amz-sdk-checksum-algorithm", "CRC32")],
        [("Content-Length", str(len(data)))],
        hashlib.sha256(data).hexdigest(),
    )


def of_unknown_length(r: Reader, key: str, data: bytes) -> Upload:
    """In HTTP's own chunks, and nothing else says how long it is."""
    return _sent(r, key, in_chunks(data), [], [("Transfer-Encoding", "chunked")], UNSIGNED)


def presigned(r: Reader, key: str, data: bytes) -> Upload:
    url = presigned_url("PUT", f"{r.proxy.endpoint}/{r.bucket}/{key}", r.origin.access_key, r.origin.secret_key)
    host = r.proxy.endpoint.removeprefix("http://")
    target = url.removeprefix(r.proxy.endpoint)
    return Upload(f"PUT {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(data)}\r\n\r\n".encode(), data)


def aws_chunked(r: Reader, key: str, data: bytes) -> Upload:
    """aws-chunked with a length and a checksum behind it, as awscrt sends it."""
    coded = coded_unsigned(data)
    return _sent(r, key, coded, trailing(data), [("Content-Length", str(len(coded)))], _UNSIGNED_TRAILER)


def aws_chunked_in_chunks(r: Reader, key: str, data: bytes) -> Upload:
    """The same within HTTP's own chunks, as pyarrow and the SDKs for JavaScript and C++ send it."""
    coded = in_chunks(coded_unsigned(data), 50_000)
    return _sent(r, key, coded, trailing(data), [("Transfer-Encoding", "chunked")], _UNSIGNED_TRAILER)


def aws_chunked_and_signed(r: Reader, key: str, data: bytes) -> Upload:
    """Every chunk with a signature of its own (S3 API reference, "Transferring payload in multiple chunks")."""
    kind = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    fields = [("Content-Encoding", "aws-chunked"), ("x-amz-decoded-content-length", str(len(data)))]
    url = f"{r.proxy.endpoint}/{r.bucket}/{key}"
    head = signed_headers("PUT", url, r.origin.access_key, r.origin.secret_key, signed=fields, payload_sha256=kind)
    body = _coded_signed(data, dict(head), r.origin.secret_key)
    return _sent(r, key, body, fields, [("Content-Length", str(len(body)))], kind, head)


_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def trailing(data: bytes) -> list[tuple[str, str]]:
    """What declares an aws-chunked body with an unsigned trailer."""
    return [
        ("Content-Encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", str(len(data))),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ]


def in_chunks(data: bytes, size: int = CHUNK) -> bytes:
    """``data`` in HTTP's chunked coding."""
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def coded_unsigned(data: bytes) -> bytes:
    """``data`` in aws-chunked coding with its CRC-32 behind it."""
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    return in_chunks(data).removesuffix(b"\r\n") + b"x-amz-checksum-crc32:%b\r\n\r\n" % checksum


def _coded_signed(data: bytes, head: dict[str, str], secret: str) -> bytes:
    found = _SIGNATURE.search(head["Authorization"])
    assert found is not None
    scope, previous = found["scope"], found["signature"]
    key = b"AWS4" + secret.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    coded = b""
    for at in (*range(0, len(data), CHUNK), len(data)):
        chunk = data[at : at + CHUNK]
        date, digest = head["X-Amz-Date"], hashlib.sha256(chunk).hexdigest()
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{previous}\n{_NOTHING}\n{digest}"
        previous = hmac.new(key, text.encode(), "sha256").hexdigest()
        coded += b"%x;chunk-signature=%b\r\n%b\r\n" % (len(chunk), previous.encode(), chunk)
    return coded


def _sent(
    r: Reader,
    key: str,
    body: bytes,
    signed: list[tuple[str, str]],
    unsigned: list[tuple[str, str]],
    payload_sha256: str,
    head: list[tuple[str, str]] | None = None,
) -> Upload:
    """The request whose head is ``head``, or is signed now."""
    if head is not None:
        lines = [f"PUT /{r.bucket}/{key} HTTP/1.1", *(f"{n}: {v}" for n, v in (*head, *unsigned)), "", ""]
        return Upload("\r\n".join(lines).encode("latin-1"), body)
    made = signed_request(
        "PUT",
        f"{r.proxy.endpoint}/{r.bucket}/{key}",
        r.origin.access_key,
        r.origin.secret_key,
        signed=signed,
        unsigned=unsigned,
        payload_sha256=payload_sha256,
    )
    return Upload(made, body)


FRAMINGS: dict[str, Callable[[Reader, str, bytes], Upload]] = {
    "plain": upload,
    "hashed": hashed,
    "unknown-length": of_unknown_length,
    "presigned": presigned,
    "aws-chunked": aws_chunked,
    "aws-chunked-in-chunks": aws_chunked_in_chunks,
    "aws-chunked-signed": aws_chunked_and_signed,
}
"""Name to a function that makes a PUT of ``data``."""
