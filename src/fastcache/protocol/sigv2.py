"""AWS Signature Version 2 (HMAC-SHA1), which boto3 still presigns with in several regions.

Source: S3 User Guide, "Signing and authenticating REST requests" (the legacy page). Nothing here reads a clock.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from fastcache.protocol.sigv4 import Credentials, SignatureError
from fastcache.protocol.sigv4_canonical import query_items, split_target

MAX_SKEW = 900.0
"""How far a request's time may be from ours, seconds."""

RawHeaders = Sequence[tuple[bytes, bytes]]

_SUB_RESOURCES = frozenset(
    b"accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging metrics notification "
    b"object-lock partNumber policy replication requestPayment restore select select-type storageClass tagging torrent "
    b"uploadId uploads versionId versioning versions website response-cache-control response-content-disposition "
    b"response-content-encoding response-content-language response-content-type response-expires".split()
)


class VerifiedV2(NamedTuple):
    """Who signed, and whether in the query."""

    access_key: bytes
    presigned: bool


def uses_sigv2(target: bytes, headers: RawHeaders) -> bool:
    """Whether the request carries a V2 signature at all, valid or not."""
    if any(name.lower() == b"authorization" and value.startswith(b"AWS ") for name, value in headers):
        return True
    names = {name for name, _ in query_items(split_target(target)[1])}
    return {b"AWSAccessKeyId", b"Signature"} <= names


def signature(secret_key: bytes, text: bytes) -> bytes:
    """Base64 of HMAC-SHA1."""
    return base64.b64encode(hmac.digest(secret_key, text, "sha1"))


def string_to_sign(
    method: bytes, target: bytes, headers: RawHeaders, *, date: bytes, virtual_bucket: bytes | None = None
) -> bytes:
    """What is signed; ``date`` is the Date header, empty beside x-amz-date, or a presigned request's Expires.

    The path is signed as it was sent; a virtual-hosted request's bucket is put before it.
    """
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        lowered = name.lower()
        known = values.get(lowered)
        values[lowered] = value.strip() if known is None else known + b"," + value.strip()
    amz = b"".join(b"%b:%b\n" % (name, values[name]) for name in sorted(values) if name.startswith(b"x-amz-"))
    head = (method, values.get(b"content-md5", b""), values.get(b"content-type", b""), date)
    return b"\n".join(head) + b"\n" + amz + canonical_resource(target, virtual_bucket)


def canonical_resource(target: bytes, virtual_bucket: bytes | None) -> bytes:
    """The raw path and the sub-resources among the query names, sorted, their values decoded."""
    path, query = split_target(target)
    bucket = b"" if virtual_bucket is None else b"/" + virtual_bucket
    present = []
    for piece in query.split(b"&"):
        if piece.partition(b"=")[0] in _SUB_RESOURCES:
            ((name, value),) = query_items(piece)
            present.append(name + b"=" + value if b"=" in piece else name)
    return bucket + path + (b"?" + b"&".join(sorted(present)) if present else b"")


def verify(
    method: bytes,
    target: bytes,
    headers: RawHeaders,
    *,
    find: Callable[[bytes], Credentials | None],
    now: float,
    virtual_bucket: bytes | None = None,
) -> VerifiedV2:
    """Check a V2 signature; ``now`` is seconds since the epoch. Raises SignatureError."""
    fields = {name.lower(): value.strip() for name, value in headers}
    authorization = fields.get(b"authorization")
    if authorization is not None:
        access_key, given = _from_header(authorization)
        date = _checked_date(fields, now)
        token = fields.get(b"x-amz-security-token")
    else:
        query = dict(query_items(split_target(target)[1]))
        access_key, given, date = _from_query(query, now)
        token = query.get(b"x-amz-security-token", fields.get(b"x-amz-security-token"))
        if b"x-amz-security-token" in query:
            headers = [*headers, (b"x-amz-security-token", query[b"x-amz-security-token"])]
    credentials = find(access_key)
    if credentials is None:
        raise SignatureError(
            "The AWS Access Key Id you provided does not exist in our records.", code="InvalidAccessKeyId"
        )
    text = string_to_sign(method, target, headers, date=date, virtual_bucket=virtual_bucket)
    if not hmac.compare_digest(signature(credentials.secret_key, text), given):
        raise SignatureError(
            "The request signature we calculated does not match the signature you provided. Check your key and "
            "signing method.",
            code="SignatureDoesNotMatch",
        )
    if not hmac.compare_digest(credentials.session_token or b"", token or b""):
        raise SignatureError("The provided token is malformed or otherwise invalid.", code="InvalidToken", status=400)
    return VerifiedV2(access_key, authorization is None)


def _from_header(authorization: bytes) -> tuple[bytes, bytes]:
    scheme, _, rest = authorization.partition(b" ")
    # From the right: an access key may hold a colon, Base64 may not.
    access_key, found, given = rest.strip().rpartition(b":")
    if scheme != b"AWS" or not found:
        raise SignatureError("AWS authorization header is invalid.", code="InvalidArgument", status=400)
    return access_key, given


def _checked_date(fields: dict[bytes, bytes], now: float) -> bytes:
    amz = fields.get(b"x-amz-date")
    date = fields.get(b"date", b"") if amz is None else amz
    try:
        signed_at = parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except (ValueError, OverflowError) as error:
        raise SignatureError(
            "AWS authentication requires a valid Date or x-amz-date header", code="AccessDenied"
        ) from error
    if abs(now - signed_at) > MAX_SKEW:
        raise SignatureError(
            "The difference between the request time and the current time is too large.", code="RequestTimeTooSkewed"
        )
    return date if amz is None else b""


def _from_query(query: dict[bytes, bytes], now: float) -> tuple[bytes, bytes, bytes]:
    try:
        access_key, given, expires = query[b"AWSAccessKeyId"], query[b"Signature"], query[b"Expires"]
    except KeyError as error:
        raise SignatureError(
            "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
            code="AccessDenied",
        ) from error
    if not (expires.isdigit() and len(expires) <= 12):
        raise SignatureError("Invalid date (should be seconds since epoch)", code="AccessDenied")
    if now > int(expires):
        raise SignatureError("Request has expired", code="AccessDenied")
    return access_key, given, expires
