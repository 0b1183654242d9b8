"""What whoever signs sees of credentials, and those that never change."""

from __future__ import annotations

import math
from typing import Protocol

from fastcache.protocol.sigv4 import Credentials


class CredentialProvider(Protocol):
    """Credentials that can be had at any moment without a wait. All on the loop's thread."""

    @property
    def name(self) -> str:
        """Where they come from, for people; no secret."""
        ...

    def current(self) -> Credentials:
        """Those to sign with now. Never blocks; raises CredentialsError when there are none that are still good."""
        ...

    def seconds_left(self) -> float:
        """Until those of now expire: infinite when they never do, 0 when there are none."""
        ...

    async def start(self) -> None:
        """Get the first ones, waiting a bounded time at most; ConfigError when the source can never give any."""
        ...

    async def close(self) -> None:
        """Stop what keeps them fresh. Those at hand stay."""
        ...


class StaticCredentials:
    """Credentials that are the same for the life of the process."""

    __slots__ = ("_credentials", "name")

    def __init__(self, credentials: Credentials, name: str = "static credentials") -> None:
        self.name = name
        self._credentials = credentials

    def current(self) -> Credentials:
        return self._credentials

    def seconds_left(self) -> float:
        return math.inf

    async def start(self) -> None: ...

    async def close(self) -> None: ...
