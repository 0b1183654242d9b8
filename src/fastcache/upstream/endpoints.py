"""One pool of connections for each endpoint of an origin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastcache.model import OriginId
from fastcache.upstream.pool import Pool


class Endpoints:
    """The pools of one origin by endpoint, made when they are first needed.

    ``Regions`` bounds how many there are and decides which; nothing else may choose an endpoint.
    """

    def __init__(self, first: Pool, make: Callable[[OriginId], Pool]) -> None:
        self._make = make
        self._pools = {first.origin: first}

    def pool(self, endpoint: OriginId) -> Pool:
        found = self._pools.get(endpoint)
        if found is None:
            found = self._pools[endpoint] = self._make(endpoint)
        return found

    @property
    def open_connections(self) -> int:
        return sum(pool.open_connections for pool in self._pools.values())

    async def close(self) -> None:
        """Close all pools; returns when their connections are gone."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))
