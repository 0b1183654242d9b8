"""A request as the operations see it."""

from __future__ import annotations

from fastcache.origin.body import RequestBody
from fastcache.origin.identity import Identity
from fastcache.origin.message import Field

NO_PARAMS: dict[bytes, bytes] = {}


class Request:
    """One request, its target parsed and, once it is all here, its body."""

    __slots__ = (
        "account",
        "body",
        "bucket",
        "fields",
        "headers",
        "keep_alive",
        "key",
        "method",
        "params",
        "target",
        "virtual",
    )

    def __init__(self, method: bytes, target: bytes, headers: list[Field], keep_alive: bool) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.keep_alive = keep_alive
        fields: dict[bytes, bytes] = {}
        for name, value in headers:
            lowered = name.lower()
            if lowered in fields:
                fields[lowered] = fields[lowered] + b"," + value
            else:
                fields[lowered] = value
        self.fields = fields
        self.bucket = b""
        self.key = b""
        self.params = NO_PARAMS
        self.virtual = False
        self.account: Identity | None = None
        self.body: RequestBody | None = None

    @property
    def resource(self) -> bytes:
        """``bucket/key``, what permissions are about."""
        return self.bucket + b"/" + self.key
