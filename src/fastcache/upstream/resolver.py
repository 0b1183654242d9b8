"""The addresses of an origin, best first, with a memory of the ones that failed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from fastcache.errors import UpstreamConnectError

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
"""Seconds for which a failed address is tried only after all others; doubles with each failure in a row."""


class Address(NamedTuple):
    """One socket address."""

    family: int
    sockaddr: tuple[Any, ...]


class Lookup(Protocol):
    """Turns a name into addresses; raises OSError (socket.gaierror) when it cannot. An IP literal is itself."""

    async def __call__(self, host: str, port: int) -> Sequence[Address]: ...


async def system_lookup(host: str, port: int) -> Sequence[Address]:
    """The system's resolver, on the loop's thread pool."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))


@dataclass(slots=True)
class _Failure:
    count: int
    until: float


class Resolver:
    """The addresses of one host and port.

    Failures are remembered by address, not by lookup: a refresh of the name does not make a dead address good again.
    ``clock`` gives monotonic seconds.
    """

    def __init__(self, host: str, port: int, lookup: Lookup, ttl: float, clock: Callable[[], float]) -> None:
        self._host = host
        self._port = port
        self._lookup = lookup
        self._ttl = ttl
        self._clock = clock
        self._known: tuple[Address, ...] = ()
        self._expires = 0.0
        self._turn = 0
        self._failures: dict[Address, _Failure] = {}
        self._refresh: asyncio.Task[None] | None = None

    async def addresses(self) -> list[Address]:
        """All addresses in the order to try them: the good ones in rotation, then failed ones, earliest retry first.

        UpstreamConnectError when the name cannot be resolved and no earlier answer is known.
        """
        now = self._clock()
        if not self._known or now >= self._expires:
            await self._refreshed()
        self._turn += 1
        good = [address for address in self._known if not self._is_failing(address, now)]
        bad = [address for address in self._known if self._is_failing(address, now)]
        turn = self._turn % len(good) if good else 0
        return good[turn:] + good[:turn] + sorted(bad, key=lambda address: self._failures[address].until)

    def failed(self, address: Address) -> None:
        """Connecting to ``address`` failed: others go first for a while."""
        failure = self._failures.setdefault(address, _Failure(0, 0.0))
        failure.count += 1
        failure.until = self._clock() + min(FIRST_BACKOFF * 2.0 ** min(failure.count - 1, 16), LONGEST_BACKOFF)

    def succeeded(self, address: Address) -> None:
        """A connection to ``address`` was made."""
        self._failures.pop(address, None)

    def _is_failing(self, address: Address, now: float) -> bool:
        failure = self._failures.get(address)
        return failure is not None and failure.until > now

    async def _refreshed(self) -> None:
        """Look the name up once for all who wait; one of them being cancelled does not stop it for the others."""
        if self._refresh is None:
            self._refresh = asyncio.get_running_loop().create_task(self._look_up())
            self._refresh.add_done_callback(self._refresh_done)
        await asyncio.shield(self._refresh)

    def _refresh_done(self, task: asyncio.Task[None]) -> None:
        self._refresh = None
        if not task.cancelled():
            task.exception()  # whoever waits gets it; when all of them are gone it is nobody's

    async def _look_up(self) -> None:
        try:
            found = await self._lookup(self._host, self._port)
        except OSError as error:
            if not self._known:
                raise UpstreamConnectError(f"cannot resolve {self._host}: {error.strerror or error}") from error
            found = self._known  # an old address is worth more than a failing name server
        if not found:
            raise UpstreamConnectError(f"cannot resolve {self._host}: no address")
        self._known = tuple(found)
        self._expires = self._clock() + self._ttl
        for address in set(self._failures).difference(self._known):
            if not self._is_failing(address, self._clock()):
                del self._failures[address]

    def close(self) -> None:
        """Give up a lookup in progress."""
        if self._refresh is not None:
            self._refresh.cancel()
