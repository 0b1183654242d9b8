"""Accounts, and what is known of the caller of one request."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastcache.protocol.sigv4 import Credentials, PayloadKind, SigningContext

ACCOUNTS_VARIABLE = "FASTCACHE_ORIGIN_ACCOUNTS"
"""JSON list of accounts; in the environment because arguments are readable by every user of the machine."""
DEFAULT_ACCESS_KEY = "origin-access-key"
DEFAULT_SECRET_KEY = "origin-secret-key"


@dataclass(frozen=True, slots=True)
class Account:
    """Credentials and the prefixes of ``bucket/key`` they reach; an empty tuple reaches everything."""

    credentials: Credentials
    prefixes: tuple[bytes, ...] = ()

    def reaches(self, resource: bytes) -> bool:
        """Whether the object ``resource`` is among the allowed."""
        return not self.prefixes or resource.startswith(self.prefixes)

    def reaches_bucket(self, bucket: bytes) -> bool:
        """Whether anything in ``bucket`` is among the allowed."""
        return not self.prefixes or any(prefix.partition(b"/")[0] == bucket for prefix in self.prefixes)


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller of a request and what was verified of it. ``account`` is None for anonymous callers."""

    account: Account | None
    how: str
    """``anonymous``, ``v4``, ``v4-presigned``, ``v2``, ``v2-presigned`` or ``off``; shown in the request log."""
    payload: PayloadKind = PayloadKind.UNSIGNED
    payload_hash: bytes = b""
    context: SigningContext | None = field(default=None, repr=False)
    covered: frozenset[bytes] = frozenset()
    """Lower-case names of the header fields that a V4 signature covers."""

    @property
    def name(self) -> bytes:
        return self.account.credentials.access_key if self.account else b"anonymous"

    @property
    def signed(self) -> bool:
        return self.how != "anonymous"
