"""Idle connections that the hit branch may use on its own (``_core.origins``): who has which, and how they come back.

The pool stays the owner of a lent connection and counts it as open. The hit branch asks for one by lacking it, and
gives it back when it ended, is not used any more, or is owed; or with an exchange that the engine goes on with.
"""

from __future__ import annotations

from fastcache._core.origins import Origins
from fastcache.upstream.connection import Connection


class Loans:
    """The connections of one pool that are lent."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins
        self._lent: dict[int, Connection] = {}

    def offer(self, connection: Connection) -> bool:
        """Lend an idle connection if it is lacked, and its socket is silent."""
        if not self._origins.is_wanted() or not connection.is_usable():
            return False
        number = self._origins.lend(connection.fileno())
        if number < 0:
            return False
        connection.lend()
        self._lent[number] = connection
        return True

    def take(self) -> Connection | None:
        """The idle connection that was used last, idle again in the eyes of the loop; None when there is none."""
        number = self._origins.take_idle()
        if number < 0:
            return None
        connection = self._lent.pop(number)
        connection.take_back()
        return connection

    def idle_beside(self, own: int) -> int:
        """How many lent connections are idle, beside ``own`` that the pool keeps itself."""
        self._origins.count_beside(own)
        return self._origins.idle_connections

    def owe(self, count: int) -> None:
        """So many wait: the next connections that are through come back."""
        self._origins.owe(count)

    def returned(self) -> list[Connection]:
        """The connections that came back, idle or ended."""
        connections = [self._lent.pop(number) for number in self._origins.take_ended()]
        for connection in connections:
            connection.take_back()
        return connections

    def withdraw(self, number: int) -> Connection:
        """A connection that came back in the middle of an exchange, to be gone on with."""
        return self._lent.pop(number)
