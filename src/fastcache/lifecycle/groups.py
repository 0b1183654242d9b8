"""Settings that share a prefix, with their kinds, defaults and meanings; ``schema`` holds them and all others."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, ClassVar, Self

from fastcache.lifecycle import kinds
from fastcache.lifecycle.units import GIB, KIB, MIB, TIB

_DAY = 86400.0
# Timeouts end up as milliseconds in a C int.
_TIMEOUT = kinds.duration(0.001, 7 * _DAY)
_PAUSE = kinds.duration(0.0, _DAY)


def kebab(name: str) -> str:
    """As a name of Python's is written in files and flags."""
    return name.replace("_", "-")


def setting(*, default: Any = MISSING, description: str = "") -> Any:
    """A setting of a group: what it is when nobody gives a value, and what it means."""
    return dataclasses.field(default=default, metadata={"description": description})


@dataclass(frozen=True, kw_only=True)
class Group:
    """Settings that share a prefix.

    Plain data, because every process has them; only the process that reads settings needs pydantic, which checks them.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "alias_generator": kebab}

    def but(self, **changes: Any) -> Self:
        """The same with other values."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Limits(Group):
    """Bounds that keep one client, or all of them together, from using up the process."""

    max_connections: Annotated[int, kinds.number(1, 1_048_576)] = setting(
        default=4096, description="Client connections open at once; more are refused with 503 SlowDown."
    )
    head_bytes: Annotated[int, kinds.size(4 * KIB, MIB)] = setting(
        default=64 * KIB, description="Bytes of a request head, request line included."
    )
    header_fields: Annotated[int, kinds.number(16, 1000)] = setting(
        default=100, description="Header fields of a request."
    )
    target_bytes: Annotated[int, kinds.size(4 * KIB, MIB)] = setting(
        default=8 * KIB, description="Bytes of a request target, as sent."
    )
    min_client_rate: Annotated[int, kinds.size(0, GIB)] = setting(
        default=KIB,
        description="Bytes a second that a client must take or send, over ten seconds, while it alone is waited for; "
        "0 lets it be as slow as it likes.",
    )
    max_requests_in_flight: Annotated[int, kinds.number(1, 1_048_576)] = setting(
        default=1024, description="Requests that need the origin or the engine at once; more get 503 SlowDown."
    )


@dataclass(frozen=True, kw_only=True)
class Timeouts(Group):
    """How long to wait for whom."""

    connect: Annotated[float, _TIMEOUT] = setting(
        default=5.0, description="To the origin: until a new connection, TLS included, is ready."
    )
    first_byte: Annotated[float, _TIMEOUT] = setting(default=60.0, description="From the origin: the response head.")
    origin_idle: Annotated[float, _TIMEOUT] = setting(
        default=60.0, description="From the origin: no progress in the middle of a body."
    )
    pool_idle: Annotated[float, _TIMEOUT] = setting(
        default=20.0, description="An unused origin connection is closed after this."
    )
    head: Annotated[float, _TIMEOUT] = setting(
        default=30.0, description="From a client: a request head, from its first byte to its last."
    )
    keep_alive: Annotated[float, _TIMEOUT] = setting(
        default=75.0, description="An idle client connection is closed after this."
    )
    client_stall: Annotated[float, _TIMEOUT] = setting(
        default=60.0, description="A client that neither takes nor sends a byte of a body for this long is cut off."
    )
    drain: Annotated[float, _TIMEOUT] = setting(
        default=30.0, description="At a stop: how long running requests may take to finish."
    )


@dataclass(frozen=True, kw_only=True)
class Fill(Group):
    """Transfers from the origin that are being stored."""

    lead: Annotated[int, kinds.size(MIB, TIB)] = setting(
        default=256 * MIB, description="How far a fill may run ahead of its fastest reader."
    )
    window: Annotated[int, kinds.size(64 * KIB, GIB)] = setting(
        default=4 * MIB, description="The newest bytes of a fill, kept in memory for the readers close behind it."
    )
    window_budget: Annotated[int, kinds.size(MIB, TIB)] = setting(
        default=256 * MIB, description="Memory of all windows together."
    )
    linger_bytes: Annotated[int, kinds.size(0, TIB)] = setting(
        default=8 * MIB, description="A fill whose last reader left goes on for this many bytes more at most."
    )
    linger: Annotated[float, _PAUSE] = setting(
        default=2.0, description="A fill whose last reader left goes on for this long at most."
    )
    follow_wait: Annotated[float, _PAUSE] = setting(
        default=1.0, description="How long a second reader waits for the first one's response head."
    )
    detach_after: Annotated[float, _PAUSE] = setting(
        default=0.1, description="When the disk lags behind the window this long, the rest is streamed and not stored."
    )


@dataclass(frozen=True, kw_only=True)
class Hit(Group):
    """Hits that compiled code answers by itself, under leases that the engine gave it."""

    branch: Annotated[bool, kinds.SWITCH] = setting(
        default=True, description="`off` leaves every request to the engine: slower, and the same answers."
    )
    parser: Annotated[str, kinds.choice("strict", "httptools")] = setting(
        default="strict",
        description="What reads their heads: a recogniser of the plain form, or httptools for comparison.",
    )
    leases: Annotated[int, kinds.number(1, 16_777_216)] = setting(
        default=65_536, description="Objects leased at once; the least used give way."
    )
    memory: Annotated[int, kinds.size(0, TIB)] = setting(
        default=128 * MIB, description="Bodies of up to 16 KiB that are kept in memory and answered from there."
    )
    files: Annotated[int, kinds.number(1, 1_048_576)] = setting(
        default=8192, description="Cache files kept open for larger ones, as far as the limit of open files allows."
    )
