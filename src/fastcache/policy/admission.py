"""Who may do what, decided before anything is looked up or asked (SEMANTICS 7, 8; DESIGN section 8).

A caller who is refused here has caused no request to the origin, and learnt nothing of the cache: the answer rests on
the request and on the keys alone. The time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fastcache.errors import RequestError
from fastcache.policy.access import Action, KeySet, Need, needs_of, needs_of_deletes
from fastcache.policy.freshness import Authorization
from fastcache.policy.mounts import Translation
from fastcache.policy.own_request import in_one_reading, is_preflight
from fastcache.policy.request_class import SAFE_METHODS
from fastcache.protocol.requests import RequestHead
from fastcache.protocol.sigv2 import uses_sigv2
from fastcache.protocol.sigv4 import SignatureError, SigningKeys
from fastcache.protocol.sigv4_verify import Verified, read_claim, verify_claim
from fastcache.protocol.targets import S3Target

_V2_REFUSED = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
_READS = frozenset({Action.READ, Action.LIST})


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator chose."""

    authorization: Authorization
    signs: bool
    """What goes to the origin goes in our name."""
    read_only: bool
    per_key: bool = False
    """A bucket name means a bucket of the caller's."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that may go on, in the form in which it was looked at: nothing else may be read into it later."""

    head: RequestHead
    target: S3Target
    trusted: bool
    """What is cached may be served to this caller without asking; else the origin must see this very request."""
    verified: Verified | None = field(default=None, repr=False)
    """Whose signature was found right; None where none was looked at, or its key is not known here."""
    owner: bytes | None = None
    """The key whose buckets are meant, empty for one not known here; None where they are everybody's."""
    key_serial: int = 0
    """Of the set of keys by which it was let in."""
    session: bytes | None = None
    """The access key that stands for a role, by whose session the origin is asked; None: by credentials of our own."""
    unsigned: bool = False
    """It is answered to anybody, and must not go out in our name."""
    translation: Translation | None = None
    """How the origin is asked, where buckets are mounted; all else here is in the client's names."""

    @property
    def deletes_several(self) -> bool:
        """The keys stand in the body: to be told to ``check_deletes``."""
        return self.head.method == b"POST" and self.target.key is None and b"delete" in self.target.query.names


def admit(
    rules: Rules, keys: KeySet | None, signing_keys: SigningKeys, head: RequestHead, target: S3Target, now: float
) -> Admission:
    """Let a request pass, or raise RequestError with S3's code. ``now`` is seconds since the epoch."""
    if rules.signs and is_preflight(head):
        return Admission(*in_one_reading(head, target), trusted=False, unsigned=True)
    verified = None
    if rules.authorization is Authorization.VERIFY:
        verified = _verified(rules, keys, signing_keys, head, now)
    if rules.signs:
        head, target = in_one_reading(head, target)
    needs = needs_of(head, target)
    if rules.read_only:
        _check_read_only(head, needs)
    serial = 0 if keys is None else keys.serial
    access_key = None if verified is None else verified.access_key
    admission = Admission(
        head, target, True, verified, _owner(rules, access_key), serial, _session(rules, keys, access_key)
    )
    if rules.authorization is Authorization.VERIFY and verified is None:
        return replace(admission, trusted=False)
    if needs is None:
        if rules.signs:
            raise denied()
        return replace(admission, trusted=False)
    if verified is not None and not _may(keys, verified, needs):
        raise denied()
    return admission


def admit_rest(rules: Rules, keys: KeySet | None, head: RequestHead, target: S3Target) -> Admission:
    """For the rest of an answer that was begun under a lease: whoever has its beginning may have it. The hit branch has
    found the signature right; it is read again for who made it. Raises RequestError as ``admit``."""
    access_key = None
    if rules.authorization is Authorization.VERIFY:
        access_key = read_claim(head.target, head.by_name).access_key
    if rules.signs:
        head, target = in_one_reading(head, target)
    return Admission(head, target, True, owner=_owner(rules, access_key), session=_session(rules, keys, access_key))


def check_deletes(keys: KeySet | None, admission: Admission, named: Iterable[bytes]) -> None:
    """Let a DeleteObjects of these keys pass, or raise RequestError."""
    bucket, verified = admission.target.bucket, admission.verified
    needs = None if bucket is None else needs_of_deletes(bucket, named)
    if needs is None or (verified is not None and not _may(keys, verified, needs)):
        raise denied()


def _verified(
    rules: Rules, keys: KeySet | None, signing_keys: SigningKeys, head: RequestHead, now: float
) -> Verified | None:
    """Whose signature it is; None for one that only the origin can judge, where it will be asked."""
    assert keys is not None, "a start without keys is refused"
    try:
        claim = read_claim(head.target, head.by_name)
    except SignatureError as error:
        if not rules.signs:
            return None
        if uses_sigv2(head.target, head.headers):
            raise SignatureError(_V2_REFUSED, code="AccessDenied") from error
        raise
    if not rules.signs and keys.find(claim.access_key) is None:
        return None
    return verify_claim(claim, head.method, head.target, head.by_name, find=keys.find, now=now, keys=signing_keys)


def _owner(rules: Rules, access_key: bytes | None) -> bytes | None:
    return (access_key or b"") if rules.per_key else None


def _session(rules: Rules, keys: KeySet | None, access_key: bytes | None) -> bytes | None:
    """A key that is gone meanwhile may have stood for a role: no session is left for it, and nothing in its place."""
    if not rules.signs or access_key is None or keys is None:
        return None
    key = keys.find(access_key)
    return access_key if key is None or key.role is not None else None


def owned_bucket(owner: bytes, bucket: bytes) -> bytes:
    """A bucket of ``owner``'s, as part of an identity. An access key holds no NUL, so that no two can be confused."""
    return owner + b"\0" + bucket


def _check_read_only(head: RequestHead, needs: tuple[Need, ...] | None) -> None:
    if needs is None:
        allowed = head.method in SAFE_METHODS
    else:
        allowed = all(need.action in _READS for need in needs)
    if not allowed:
        raise RequestError("This cache is for reading only.", status=403, code="AccessDenied", close=False)


def _may(keys: KeySet | None, verified: Verified, needs: Iterable[Need]) -> bool:
    return keys is not None and keys.allows(verified.access_key, needs)


def denied() -> RequestError:
    """What every lack of permission is told as."""
    return RequestError("Access Denied", status=403, code="AccessDenied", close=False)
