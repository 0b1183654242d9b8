"""Request heads as real S3 clients send them: their fields, in their order and spelling, signed as they sign.

Seen on the wire from boto3 1.44 (without awscrt, which has a signer of its own), awscrt 0.38, and curl 7.88 with
``--aws-sigv4``; only curl's x-amz-content-sha256, which S3 wants and which its users add with ``-H``, is ours.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastcache.model import Headers
from fastcache.protocol.sigv4 import EMPTY_SHA256, UNSIGNED_PAYLOAD, Credentials, sign


@dataclass(frozen=True, slots=True)
class ClientShape:
    """What a client's requests look like."""

    order: Sequence[bytes]
    """Names as they are written, in order; those that a request has no value for are left out."""
    values: Mapping[bytes, bytes]
    """Of the fields that are always the same, by lower-case name."""
    payload_hash: bytes
    signs_range: bool
    get_only: frozenset[bytes] = frozenset()
    """Fields that a HEAD does not carry."""


_BOTO3_AGENT = (
    b"Boto3/1.44.8 md/Botocore#1.44.8 ua/2.1 os/linux#6.8.0 md/arch#x86_64 lang/python#3.12.3 md/pyimpl#CPython"
    b" m/Z,e,b,N,E cfg/retry-mode#standard Botocore/1.44.8"
)

CLIENTS: Mapping[str, ClientShape] = {
    "boto3": ClientShape(
        order=(
            *(b"Host", b"Accept-Encoding", b"Range", b"x-amz-checksum-mode", b"User-Agent", b"X-Amz-Date"),
            *(b"X-Amz-Security-Token", b"X-Amz-Content-SHA256", b"Authorization"),
            *(b"amz-sdk-invocation-id", b"amz-sdk-request"),
        ),
        values={
            b"accept-encoding": b"identity",
            b"x-amz-checksum-mode": b"ENABLED",
            b"user-agent": _BOTO3_AGENT,
            b"amz-sdk-request": b"attempt=1; max=3",
        },
        payload_hash=EMPTY_SHA256,
        signs_range=True,
        get_only=frozenset([b"x-amz-checksum-mode"]),
    ),
    "crt": ClientShape(
        order=(
            *(b"Host", b"Range", b"User-Agent", b"X-Amz-Security-Token", b"X-Amz-Date", b"x-amz-content-sha256"),
            b"Authorization",
        ),
        values={b"user-agent": b"CRTS3NativeClient/1.5.1 platform/unknown"},
        payload_hash=UNSIGNED_PAYLOAD,
        signs_range=True,
    ),
    "curl": ClientShape(
        order=(
            *(b"Host", b"Authorization", b"X-Amz-Security-Token", b"X-Amz-Date", b"Range", b"User-Agent", b"Accept"),
            b"x-amz-content-sha256",
        ),
        values={b"user-agent": b"curl/7.88.1", b"accept": b"*/*"},
        payload_hash=UNSIGNED_PAYLOAD,
        signs_range=False,
    ),
}


@dataclass(frozen=True, slots=True)
class Signer:
    """With what, for where and when requests are signed; ``now`` in seconds since the epoch."""

    credentials: Credentials
    region: bytes
    now: float


def request_head(
    client: str,
    host: bytes,
    target: bytes,
    *,
    method: bytes = b"GET",
    interval: tuple[int, int] | None = None,
    signer: Signer | None = None,
    more: Headers = (),
) -> bytes:
    """A head with its empty line, as ``client`` (of CLIENTS) sends it.

    ``target`` is percent-encoded as it goes on the wire; ``interval`` is [start, end) for a Range. Without ``signer``
    the request is anonymous and carries no field that signing adds. ``more`` fields follow and are not signed.
    """
    shape = CLIENTS[client]
    values = {name: value for name, value in shape.values.items() if method == b"GET" or name not in shape.get_only}
    values[b"host"] = host
    values[b"amz-sdk-invocation-id"] = str(uuid.uuid4()).encode("ascii")
    if interval is not None:
        values[b"range"] = b"bytes=%d-%d" % (interval[0], interval[1] - 1)
    if signer is not None:
        values.update(_signature(shape, method, target, values, signer))
    lines = [b"%b %b HTTP/1.1" % (method, target)]
    lines += [b"%b: %b" % (name, values[name.lower()]) for name in shape.order if name.lower() in values]
    lines += [b"%b: %b" % field for field in more]
    return b"\r\n".join([*lines, b"", b""])


def _signature(
    shape: ClientShape, method: bytes, target: bytes, values: Mapping[bytes, bytes], signer: Signer
) -> dict[bytes, bytes]:
    """The fields that signing adds, by lower-case name."""
    covered = {b"host", b"range"} if shape.signs_range else {b"host"}
    covered |= {name for name in values if name.startswith(b"x-amz-")}
    fields = tuple((name, value) for name, value in values.items() if name in covered)
    signed = sign(
        method,
        target,
        fields,
        signer.credentials,
        region=signer.region,
        now=signer.now,
        payload_hash=shape.payload_hash,
    )
    return dict(signed.headers)
