"""The other workers of this host, as far as connections go from one to another (SCM_RIGHTS, unix(7)).

Each worker slot has an inbox, a pair of sockets that the supervisor holds for life: what is sent to a worker that dies
is taken out by the one that comes after it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Sequence

from fastcache._core.balance import Balance
from fastcache._core.reactor import Reactor
from fastcache._core.shared import Cell, SharedMemory

_log = logging.getLogger("fastcache.server")

_AT_ONCE = 64
"""Descriptors of a message."""
_HEAD = struct.Struct("=q")
_NOT_COUNTED = -1


class Neighbours:
    """Hands connections to other workers and takes theirs. Loop thread only."""

    def __init__(
        self, memory: SharedMemory, place: int, slot: int, inbox: socket.socket, inboxes: Sequence[socket.socket]
    ) -> None:
        self._memory = memory
        self._place = place
        self._slot = slot
        self._inbox = inbox
        self._inboxes = inboxes
        self._loop = asyncio.get_running_loop()
        self._reactor: Reactor | None = None
        self._taken = 0
        self.balance = Balance(memory, place, slot)
        """For the reactor, which counts with it."""

    def start(self, reactor: Reactor) -> None:
        """The reactor accepts connections from now on, other workers' too."""
        self._reactor = reactor
        self.balance.open()
        self._loop.add_reader(self._inbox.fileno(), self._take)

    def leave(self, *, succeeded: bool) -> None:
        """Take no more. What is in the inbox is for a successor, if there is one, else still ours."""
        self.balance.shut()
        self._loop.remove_reader(self._inbox.fileno())
        if not succeeded:
            self._take()

    def close(self) -> None:
        """Give the sockets back."""
        self.leave(succeeded=True)
        self._reactor = None
        for sock in (self._inbox, *self._inboxes):
            sock.close()

    # -- to others

    def share(self, surplus: Sequence[tuple[int, int]]) -> None:
        """Hand on what the reactor found to be more than our share; what cannot be handed on is ours after all."""
        for fd, place in surplus:
            slot = self._memory.get(place, Cell.LISTENING) - 1
            if slot >= 0 and self._send(slot, [fd], place):
                os.close(fd)
                continue
            self.balance.take_back(place)
            self._adopt(fd)

    def hand_over(self, fds: Sequence[int]) -> list[int]:
        """Give all of ``fds`` to who comes after us; those that were not taken, which are still the caller's."""
        for at in range(0, len(fds), _AT_ONCE):
            some = list(fds[at : at + _AT_ONCE])
            if not self._send(self._slot, some, _NOT_COUNTED):
                return list(fds[at:])
            for fd in some:
                os.close(fd)
        return []

    def _send(self, slot: int, fds: list[int], place: int) -> bool:
        try:
            socket.send_fds(self._inboxes[slot], [_HEAD.pack(place)], fds, socket.MSG_NOSIGNAL)
        except OSError as error:  # full, or too many descriptors under way (ETOOMANYREFS)
            _log.debug("worker %d takes no connection: %s", slot, error.strerror)
            return False
        return True

    # -- from others

    def _take(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, fds, _, _ = socket.recv_fds(self._inbox, _HEAD.size, _AT_ONCE, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            if not data:
                return
            for fd in fds:
                self._adopt(fd)
            if _HEAD.unpack(data)[0] == self._place:  # else it was counted on its way to our predecessor
                self._taken += 1
                self._memory.set(self._place, Cell.TAKEN, self._taken)

    def _adopt(self, fd: int) -> None:
        if self._reactor is None or not self._reactor.adopt(fd):
            os.close(fd)
