"""Who may do what: access keys with their secrets and the ``bucket/prefix`` resources they reach."""

from __future__ import annotations

from fastcache.origin.identity import Account, Identity
from fastcache.origin.message import S3Error
from fastcache.origin.request import Request
from fastcache.origin.store import Bucket
from fastcache.protocol import sigv2, sigv4_verify
from fastcache.protocol.sigv4 import Credentials, PayloadKind, SigningKeys, payload_kind


class Accounts:
    """Authenticates and authorises. ``verify`` False takes every request as the first account's."""

    def __init__(
        self, accounts: list[Account], *, verify: bool = True, regions: frozenset[bytes] | None = None
    ) -> None:
        self._accounts = {account.credentials.access_key: account for account in accounts}
        self._keys = SigningKeys()
        self._regions = regions
        self.verify = verify

    def identify(self, request: Request, now: float) -> Identity:
        """Who sent the request; raises SignatureError. ``now`` is seconds since the epoch."""
        if not self.verify:
            declared = request.fields.get(b"x-amz-content-sha256")
            kind = payload_kind(declared) if declared else PayloadKind.UNSIGNED
            return Identity(Account(Credentials(b"anybody", b"")), "off", kind, declared or b"")
        if sigv4_verify.uses_sigv4(request.target, request.headers):
            verified = sigv4_verify.verify(
                request.method,
                request.target,
                request.headers,
                find=self._find,
                now=now,
                keys=self._keys,
                regions=self._regions,
            )
            how = "v4-presigned" if verified.presigned else "v4"
            account = self._accounts[verified.access_key]
            return Identity(
                account, how, verified.payload, verified.payload_hash, verified.context, covered=verified.signed
            )
        if sigv2.uses_sigv2(request.target, request.headers):
            old = sigv2.verify(
                request.method,
                request.target,
                request.headers,
                find=self._find,
                now=now,
                virtual_bucket=request.bucket if request.virtual else None,
            )
            return Identity(self._accounts[old.access_key], "v2-presigned" if old.presigned else "v2")
        if b"authorization" in request.fields:
            raise S3Error(400, "InvalidArgument", "Unsupported Authorization Type")
        return Identity(None, "anonymous")

    def _find(self, access_key: bytes) -> Credentials | None:
        account = self._accounts.get(access_key)
        return account.credentials if account else None


def authorize(request: Request, bucket: Bucket | None) -> None:
    """Refuse what the caller may not do; raises S3Error AccessDenied. ``bucket`` is None if it does not exist."""
    identity = request.account
    if identity is None or identity.account is None:
        readable = bucket is not None and bucket.public_read and request.method in (b"GET", b"HEAD")
        if not readable and request.method != b"OPTIONS":
            raise denied()
        return
    if not request.bucket:
        return
    if request.key:
        allowed = identity.account.reaches(request.resource)
    elif request.method in (b"GET", b"HEAD") and b"prefix" in request.params:
        allowed = identity.account.reaches(request.bucket + b"/" + request.params[b"prefix"])
    else:
        allowed = identity.account.reaches_bucket(request.bucket)
    if not allowed:
        raise denied()


def denied() -> S3Error:
    """What S3 says to a caller who lacks a permission."""
    return S3Error(403, "AccessDenied", "Access Denied")
