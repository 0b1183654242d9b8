"""Verification of Signature Version 4, in the Authorization header and in the query (presigned).

Every comparison of something secret is constant-time. The order of the checks is S3's: form, time, key, signature, so
that the caller learns first what is cheapest to repair. Errors are SignatureError with S3's codes.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import NamedTuple, Protocol

from fastcache._core.fields import values_by_name
from fastcache.protocol.sigv4 import (
    ALGORITHM,
    MAX_EXPIRES,
    UNSIGNED_PAYLOAD,
    PayloadKind,
    Scope,
    SignatureError,
    SigningContext,
    SigningKeys,
    format_timestamp,
    hex_hmac,
    parse_timestamp,
    payload_kind,
)
from fastcache.protocol.sigv4_canonical import (
    Fields,
    MissingSignedHeaderError,
    canonical_request,
    query_items,
    split_target,
    string_to_sign,
)

MAX_SKEW = 900.0
"""How far a request's time may be from ours, seconds."""

RawHeaders = Sequence[tuple[bytes, bytes]]


class Secrets(Protocol):
    """What is known of an access key; ``sigv4.Credentials`` is one."""

    @property
    def secret_key(self) -> bytes: ...
    @property
    def session_token(self) -> bytes | None: ...


FindCredentials = Callable[[bytes], Secrets | None]


_ASYMMETRIC = frozenset({b"AWS4-ECDSA-P256-SHA256"})
"""Version 4A, which only AWS's multi-region access points need; its public keys are known to nobody but AWS."""


class Claim(NamedTuple):
    """What a request says about its own signature; nothing of it is proved yet."""

    access_key: bytes
    scope: Scope
    timestamp: bytes
    signed: tuple[bytes, ...]
    signature: bytes
    payload_hash: bytes
    expires: int | None
    """Seconds of life of a presigned request; None for header authentication."""
    token: bytes | None


@dataclass(frozen=True, slots=True)
class Verified:
    """Who signed, and what the signature covers."""

    access_key: bytes
    scope: Scope
    signed: frozenset[bytes]
    """Lower-case names of the signed headers."""
    payload: PayloadKind
    payload_hash: bytes
    """The ``x-amz-content-sha256`` in force; for SIGNED the body still has to match it."""
    presigned: bool
    context: SigningContext = field(repr=False)
    """The seed of the chunk signatures."""


def uses_sigv4(target: bytes, headers: RawHeaders) -> bool:
    """Whether the request carries a V4 signature at all, valid or not."""
    if any(name.lower() == b"authorization" and value.startswith(b"AWS4-") for name, value in headers):
        return True
    query = target.partition(b"?")[2].lower()
    return b"x-amz-algorithm=" in query or b"x-amz-signature=" in query


def verify(
    method: bytes,
    target: bytes,
    headers: RawHeaders,
    *,
    find: FindCredentials,
    now: float,
    keys: SigningKeys,
    regions: Collection[bytes] | None = None,
) -> Verified:
    """Check a request's signature; ``now`` is seconds since the epoch, ``regions`` those accepted (None: any).

    Raises SignatureError. The body is not looked at: compare its SHA-256 with ``payload_hash`` or check its chunks.
    """
    fields = values_by_name(tuple(headers))
    claim = read_claim(target, fields)
    return verify_claim(claim, method, target, fields, find=find, now=now, keys=keys, regions=regions)


def verify_claim(
    claim: Claim,
    method: bytes,
    target: bytes,
    fields: Fields,
    *,
    find: FindCredentials,
    now: float,
    keys: SigningKeys,
    regions: Collection[bytes] | None = None,
) -> Verified:
    """As ``verify``, with the request's claim at hand, and its fields by lower-case name."""
    _check_scope(claim, regions)
    _check_time(claim, now)
    _check_coverage(claim, fields)
    payload = payload_kind(claim.payload_hash)
    credentials = find(claim.access_key)
    if credentials is None:
        raise SignatureError(
            "The AWS Access Key Id you provided does not exist in our records.", code="InvalidAccessKeyId"
        )
    try:
        request = canonical_request(method, target, fields, claim.signed, claim.payload_hash)
    except MissingSignedHeaderError as error:
        raise _mismatch() from error
    key = keys.get(credentials.secret_key, claim.scope)
    scope = bytes(claim.scope)
    expected = hex_hmac(key, string_to_sign(claim.timestamp, scope, request))
    if not hmac.compare_digest(expected, claim.signature):
        raise _mismatch()
    _check_token(claim.token, credentials)
    context = SigningContext(key, claim.timestamp, scope, claim.signature)
    return Verified(
        claim.access_key,
        claim.scope,
        frozenset(claim.signed),
        payload,
        claim.payload_hash,
        claim.expires is not None,
        context,
    )


def read_claim(target: bytes, fields: Fields) -> Claim:
    """The signature's parts, from the header or the query; raises SignatureError if malformed, absent or both."""
    authorization = _single(fields, b"authorization")
    query = split_target(target)[1]
    presigned = bool(query) and (b"x-amz-signature=" in query.lower() or b"x-amz-algorithm=" in query.lower())
    if authorization is not None and presigned:
        raise SignatureError(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
            "parameter or the Authorization header should be specified",
            code="InvalidArgument",
            status=400,
        )
    if authorization is not None:
        return _claim_from_header(authorization, fields)
    if presigned:
        return _claim_from_query(query, fields)
    raise SignatureError("Access Denied", code="AccessDenied")


def _claim_from_header(authorization: bytes, fields: Fields) -> Claim:
    algorithm, _, rest = authorization.partition(b" ")
    if algorithm in _ASYMMETRIC:
        raise _asymmetric()
    if algorithm != ALGORITHM:
        raise SignatureError("Unsupported Authorization Type", code="InvalidArgument", status=400)
    parts: dict[bytes, bytes] = {}
    for piece in rest.split(b","):
        name, found, value = piece.strip().partition(b"=")
        if not found or name in parts:
            raise _malformed("The authorization header is malformed.")
        parts[name] = value
    if parts.keys() != {b"Credential", b"SignedHeaders", b"Signature"}:
        raise _malformed("The authorization header must hold Credential, SignedHeaders and Signature.")
    access_key, scope = _credential(parts[b"Credential"], _malformed)
    payload_hash = _single(fields, b"x-amz-content-sha256")
    if payload_hash is None:
        raise SignatureError(
            "Missing required header for this request: x-amz-content-sha256", code="InvalidRequest", status=400
        )
    return Claim(
        access_key,
        scope,
        _header_timestamp(fields),
        _signed_names(parts[b"SignedHeaders"], _malformed),
        parts[b"Signature"],
        payload_hash,
        None,
        _single(fields, b"x-amz-security-token"),
    )


def _claim_from_query(query: bytes, fields: Fields) -> Claim:
    given: dict[bytes, bytes] = {}
    for name, value in query_items(query):
        lowered = name.lower()
        if lowered.startswith(b"x-amz-"):
            if lowered in given:
                raise _bad_query("A query parameter of the signature is repeated.")
            given[lowered] = value
    names = (b"algorithm", b"credential", b"date", b"expires", b"signedheaders", b"signature")
    if any(b"x-amz-" + name not in given for name in names):
        raise _bad_query(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    if given[b"x-amz-algorithm"] in _ASYMMETRIC:
        raise _asymmetric()
    if given[b"x-amz-algorithm"] != ALGORITHM:
        raise _bad_query('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    expires = given[b"x-amz-expires"]
    if not (expires.isdigit() and len(expires) <= 6 and int(expires) <= MAX_EXPIRES):
        raise _bad_query("X-Amz-Expires must be a number of seconds, not more than a week (604800).")
    access_key, scope = _credential(given[b"x-amz-credential"], _bad_query)
    payload_hash = _single(fields, b"x-amz-content-sha256") or given.get(b"x-amz-content-sha256", UNSIGNED_PAYLOAD)
    return Claim(
        access_key,
        scope,
        given[b"x-amz-date"],
        _signed_names(given[b"x-amz-signedheaders"], _bad_query),
        given[b"x-amz-signature"],
        payload_hash,
        int(expires),
        given.get(b"x-amz-security-token"),
    )


def _credential(value: bytes, error: Callable[[str], SignatureError]) -> tuple[bytes, Scope]:
    # From the right: an access key may itself hold slashes or colons.
    parts = value.rsplit(b"/", 4)
    if len(parts) != 5 or parts[4] != b"aws4_request" or not all(parts):
        raise error("The credential is malformed; expecting <access key>/YYYYMMDD/REGION/SERVICE/aws4_request.")
    return parts[0], Scope(parts[1], parts[2], parts[3])


def _signed_names(value: bytes, error: Callable[[str], SignatureError]) -> tuple[bytes, ...]:
    names = value.split(b";")
    if b"" in names or names != sorted(set(names)) or value != value.lower():
        raise error("SignedHeaders must be lower case, sorted and without repetition.")
    if b"host" not in names:
        raise error("SignedHeaders must include host.")
    return tuple(names)


def _header_timestamp(fields: Fields) -> bytes:
    value = _single(fields, b"x-amz-date")
    if value is not None:
        return value
    date = _single(fields, b"date")
    if date is None:
        raise SignatureError("AWS authentication requires a valid Date or x-amz-date header", code="AccessDenied")
    try:
        return format_timestamp(parsedate_to_datetime(date.decode("latin-1")).timestamp())
    except (ValueError, OverflowError):
        return date


def _check_scope(claim: Claim, regions: Collection[bytes] | None) -> None:
    error = _bad_query if claim.expires is not None else _malformed
    if claim.scope.service not in (b"s3", b"s3express"):
        raise error("The credential's service must be s3.")
    if claim.scope.date != claim.timestamp[:8]:
        raise error("The credential's date is not the request's date.")
    if regions is not None and claim.scope.region not in regions:
        expected = min(regions).decode("ascii", "backslashreplace") if regions else ""
        raise error(f"The region of the credential is wrong; expecting '{expected}'")


def _check_time(claim: Claim, now: float) -> None:
    try:
        signed_at = parse_timestamp(claim.timestamp)
    except ValueError as error:
        if claim.expires is not None:
            raise _bad_query("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"") from error
        raise SignatureError(
            "AWS authentication requires a valid Date or x-amz-date header", code="AccessDenied"
        ) from error
    if claim.expires is None:
        if abs(now - signed_at) > MAX_SKEW:
            raise SignatureError(
                "The difference between the request time and the current time is too large.",
                code="RequestTimeTooSkewed",
            )
    elif now > signed_at + claim.expires:
        raise SignatureError("Request has expired", code="AccessDenied")
    elif now < signed_at - MAX_SKEW:
        raise SignatureError("Request is not yet valid", code="AccessDenied")


def _check_coverage(claim: Claim, fields: Fields) -> None:
    """Every x-amz-* field must be signed (S3's rule), so that nothing can be added to someone else's request."""
    for name in fields:
        if name.startswith(b"x-amz-") and name not in claim.signed:
            raise SignatureError("There were headers present in the request which were not signed", code="AccessDenied")


def _check_token(token: bytes | None, credentials: Secrets) -> None:
    expected = credentials.session_token
    if expected is None and token is None:
        return
    if expected is None or token is None or not hmac.compare_digest(expected, token):
        raise SignatureError("The provided token is malformed or otherwise invalid.", code="InvalidToken", status=400)


def _single(fields: Fields, name: bytes) -> bytes | None:
    values = fields.get(name)
    if not values:
        return None
    if len(values) > 1:
        raise SignatureError(f"The header {name.decode('ascii')} is repeated.", code="InvalidArgument", status=400)
    return values[0].strip()


def _asymmetric() -> SignatureError:
    return SignatureError("Signature Version 4A is not implemented here.", code="NotImplemented", status=501)


def _malformed(message: str) -> SignatureError:
    return SignatureError(message, code="AuthorizationHeaderMalformed", status=400)


def _bad_query(message: str) -> SignatureError:
    return SignatureError(message, code="AuthorizationQueryParametersError", status=400)


def _mismatch() -> SignatureError:
    return SignatureError(
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method.",
        code="SignatureDoesNotMatch",
    )
