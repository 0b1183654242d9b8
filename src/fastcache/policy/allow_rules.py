"""What an access key may do: allow rules over actions and resources, and the immutable set of all keys.

Theory of operation. A request is reduced to needs (``policy.access``), each an action on one name; a key's rules allow
it when every need is covered by one of them. Names are compared octet by octet, decoded once and never normalised, and
a pattern knows one sign only: ``*`` stands for any octets, ``/`` among them. There are no rules that deny, so no order
in which rules are read, and what no rule names is refused.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_BUCKET_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,255}")
_LONGEST_KEY_PATTERN = 1024
"""Octets; as long as a key can be (S3 User Guide, "Creating object key names")."""


class Action(enum.StrEnum):
    """What a rule allows."""

    READ = "read"
    WRITE = "write"
    LIST = "list"
    DELETE = "delete"
    ADMIN = "admin"


class Need(NamedTuple):
    """One thing that must be allowed before a request is signed."""

    action: Action
    bucket: bytes | None
    """None: the service itself (ListBuckets)."""
    key: bytes | None
    """Object key, decoded; for LIST the prefix, empty for the whole bucket. None: the bucket itself."""


class Glob:
    """A pattern in which ``*`` stands for any octets, none and ``/`` included; everything else is itself.

    The pieces between the stars are looked for from left to right, each behind the one before: with no other sign in
    the pattern the leftmost place is always as good as any, so nothing is ever tried twice.
    """

    __slots__ = ("_first", "_last", "_middle", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        first, *rest = text.split(b"*")
        self._first = first
        self._last = rest.pop() if rest else None
        self._middle = tuple(piece for piece in rest if piece)

    def matches(self, octets: bytes) -> bool:
        last = self._last
        if last is None:
            return octets == self._first
        at, end = len(self._first), len(octets) - len(last)
        if at > end or not octets.startswith(self._first) or not octets.endswith(last):
            return False
        for piece in self._middle:
            at = octets.find(piece, at, end)
            if at < 0:
                return False
            at += len(piece)
        return True

    def matches_all_below(self, prefix: bytes) -> bool:
        """Whether every name that begins with ``prefix`` matches: ``prefix`` itself does, and a star ends the pattern.

        (A pattern that ends otherwise demands a last octet, which not all of those names have.)
        """
        return self._last == b"" and self.matches(prefix)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Glob) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Glob({self.text!r})"


@dataclass(frozen=True, slots=True)
class Resource:
    """What a rule is about: ``bucket`` (the bucket itself), ``bucket/pattern`` (keys in it), ``*`` (everything).

    The bucket may be a pattern too. It ends at the first slash, so none of its stars reaches into keys.
    """

    text: str
    bucket: Glob | None
    """None: everything, the service itself included."""
    key: Glob | None
    """None: the bucket itself."""

    @classmethod
    def parse(cls, text: str) -> Resource:
        """Raises ValueError whose text says what to write instead."""
        if text == "*":
            return cls(text, None, None)
        if text.startswith(("s3://", "arn:", "/")):
            raise ValueError(f"{text!r} is not a resource; write it as bucket, bucket/* or bucket/prefix/*")
        bucket, slash, key = text.partition("/")
        if not _BUCKET_PATTERN.fullmatch(bucket):
            raise ValueError(f"{text!r} does not begin with a bucket's name; write bucket, bucket/* or bucket/prefix/*")
        if slash and not key:
            raise ValueError(
                f"{text!r} ends with the bucket's slash; write {bucket} (the bucket) or {text}* (its keys)"
            )
        key_octets = key.encode("utf-8", "surrogateescape")
        if len(key_octets) > _LONGEST_KEY_PATTERN:
            raise ValueError(f"the key of a resource is longer than {_LONGEST_KEY_PATTERN} bytes, which no key is")
        return cls(text, Glob(bucket.encode("ascii")), Glob(key_octets) if slash else None)

    def covers(self, need: Need) -> bool:
        """Whether ``need``, whose action the rule allows, is about this resource."""
        if self.bucket is None:
            return True
        if need.bucket is None or not self.bucket.matches(need.bucket):
            return False
        if need.key is None:
            # DeleteObjects, before its keys are known: each of them is a need of its own.
            return self.key is None or need.action is Action.DELETE
        if self.key is None:
            return False
        if need.action is Action.LIST:
            return self.key.matches_all_below(need.key)
        return self.key.matches(need.key)

    def names(self, bucket: bytes) -> bool:
        """Whether it is ``bucket`` or something in it."""
        return self.bucket is None or self.bucket.matches(bucket)


@dataclass(frozen=True, slots=True)
class AllowRule:
    """Every one of ``actions`` on every one of ``resources``."""

    actions: frozenset[Action]
    resources: tuple[Resource, ...]

    @classmethod
    def parse(cls, actions: Iterable[str], resources: Iterable[str]) -> AllowRule:
        """Raises ValueError for what is no action or no resource."""
        return cls(frozenset(map(Action, actions)), tuple(map(Resource.parse, resources)))


@dataclass(frozen=True, slots=True)
class Role:
    """What an access key stands for at the origin."""

    arn: str
    token_file: Path
    """Holds the identity token (a JWT); whoever issues it writes it anew before it expires."""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A client's credentials and what they are good for. Secrets stay out of ``repr``."""

    access_key: bytes
    secret_key: bytes = field(repr=False)
    session_token: bytes | None = field(default=None, repr=False)
    """What ``x-amz-security-token`` must say, for keys that have one."""
    enabled: bool = True
    rules: tuple[AllowRule, ...] = ()
    role: Role | None = None
    """In whose name the origin is asked for this client; None: in that of everybody without a role."""

    def allows(self, need: Need) -> bool:
        if need.action is Action.LIST and need.key is None and need.bucket is not None:
            # HeadBucket and GetBucketLocation: whoever may do anything in a bucket may learn that and where it is,
            # which clients ask first (minio-py ``?location``, others HEAD).
            bucket = need.bucket
            return any(resource.names(bucket) for rule in self.rules for resource in rule.resources)
        for rule in self.rules:
            if need.action in rule.actions:
                for resource in rule.resources:
                    if resource.covers(need):
                        return True
        return False


class KeySet:
    """All access keys at one moment. Immutable: a reload makes another, with a greater ``serial``."""

    __slots__ = ("_enabled", "keys", "serial")

    def __init__(self, keys: Iterable[AccessKey], serial: int = 1) -> None:
        self.keys = tuple(keys)
        self.serial = serial
        self._enabled = {key.access_key: key for key in self.keys if key.enabled}
        if len({key.access_key for key in self.keys}) != len(self.keys):
            raise ValueError("two keys have one name")

    def find(self, access_key: bytes) -> AccessKey | None:
        """The key, unless there is none or it is disabled."""
        return self._enabled.get(access_key)

    def allows(self, access_key: bytes, needs: Iterable[Need]) -> bool:
        """Whether the key's rules cover every one of ``needs``. No needs are no permission."""
        key = self._enabled.get(access_key)
        if key is None:
            return False
        asked = False
        for need in needs:
            asked = True
            if not key.allows(need):
                return False
        return asked

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[AccessKey]:
        return iter(self.keys)
