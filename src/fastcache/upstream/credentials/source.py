"""Where credentials can be had again and again, as what keeps them fresh sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastcache.protocol.sigv4 import Credentials


@dataclass(frozen=True, slots=True)
class Obtained:
    """Credentials and when they end."""

    credentials: Credentials
    expires: float | None = None
    """Wall-clock seconds; None for those without an end."""


class Source(Protocol):
    """One place. Its methods run on the loop and never block it."""

    @property
    def name(self) -> str:
        """For log lines and ``fastcache check``; no secret."""
        ...

    @property
    def look_every(self) -> float | None:
        """Seconds between two looks at whether there are others now; None where only the end of these matters."""
        ...

    async def changed(self) -> bool:
        """Whether what the last ``load`` read is no longer what is there."""
        ...

    async def load(self) -> Obtained:
        """Those of now. CredentialsError when there are none, ConfigError when there can be none as it is set up;
        neither text holds a secret."""
        ...
