"""What a supervisor holds for life, so that it outlives every other process: sockets, shared memory, the directory."""

from __future__ import annotations

import contextlib
import os
import socket

from fastcache._core import shared
from fastcache._core.shared import SharedMemory
from fastcache.errors import CacheDirectoryError
from fastcache.lifecycle.inherited import CHANNEL, DIRECTORY, INBOX, LISTENER, LOCK, MEMORY, REPORTS, outbox
from fastcache.lifecycle.messages import Role
from fastcache.lifecycle.schema import Settings
from fastcache.observe.metrics import NUMBER_BYTES
from fastcache.server.listener import address_of, open_listener
from fastcache.storage import directory, recovery
from fastcache.storage.sharing import KEEPER

SUPERVISOR = KEEPER + 1
"""The supervisor's place in the shared memory."""
_FIRST_WORKER = SUPERVISOR + 1
_GENERATIONS = 2


class Estate:
    """Made before there are other processes. Each gets copies of what its role needs."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self._workers = workers
        self._stack = contextlib.ExitStack()
        try:
            self._make(settings)
        except BaseException:
            self.close()
            raise

    def _make(self, settings: Settings) -> None:
        self.store_id = ""
        self._held: directory.CacheDirectory | None = None
        if settings.cache:
            self._held = directory.acquire(settings.cache_dir)
            self._stack.callback(self._held.release)
            self.store_id = self._held.store_id
            try:
                recovery.remove_parts(self._held.fd)
            except OSError as error:
                reason = f"cache directory {settings.cache_dir}: cannot be cleaned: {error.strerror}"
                raise CacheDirectoryError(reason) from error
        self.listeners = self._listen(settings)
        self.memory_fd = shared.create(_FIRST_WORKER + _GENERATIONS * self._workers, NUMBER_BYTES)
        self._stack.callback(os.close, self.memory_fd)
        self.memory = SharedMemory(self.memory_fd)
        self._free = list(range(_FIRST_WORKER, self.memory.places))
        self._reports = self._pair()
        self._inboxes = [self._pair() for _ in range(self._workers)]

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        """What is written to the first end, whole messages, is read from the second."""
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in ends:
            self._stack.enter_context(end)
        return ends

    def _listen(self, settings: Settings) -> list[socket.socket]:
        """One socket for each slot: the kernel spreads connections over them."""
        congestion = settings.tcp_congestion or None
        host, port = settings.host, settings.port
        listeners: list[socket.socket] = []
        for _ in range(self._workers):
            listener = open_listener(host, port, congestion=congestion, one_of_several=bool(listeners))
            self._stack.enter_context(listener)
            listeners.append(listener)
            port = address_of(listener)[1]
        return listeners

    def stop_listening(self) -> None:
        """Once the workers let their copies go too, connections are refused."""
        for listener in self.listeners:
            listener.close()

    def descriptors(self, role: Role, slot: int) -> dict[str, int]:
        """What a process of this role is given, all of it still ours; and the channel, which is its own."""
        given = {CHANNEL: -1, MEMORY: self.memory_fd}
        if role is Role.WORKER:
            given[LISTENER] = self.listeners[slot].fileno()
            given[INBOX] = self._inboxes[slot][1].fileno()
            given |= {outbox(number): ends[0].fileno() for number, ends in enumerate(self._inboxes)}
        if self._held is not None:
            given |= {DIRECTORY: self._held.fd, LOCK: self._held.lock_fd}
            given[REPORTS] = self._reports[1 if role is Role.KEEPER else 0].fileno()
        return given

    def place_for(self, role: Role) -> int:
        """A place in the shared memory that no living process has."""
        return KEEPER if role is Role.KEEPER else self._free.pop(0)

    def give_back(self, place: int) -> None:
        """The process that had it is dead."""
        self.memory.clear(place)
        if place >= _FIRST_WORKER:
            self._free.append(place)

    def close(self) -> None:
        self._stack.close()
