"""What a process of the supervisor's is given: descriptors, and what they stand for once they are taken up."""

from __future__ import annotations

import os
import socket

from fastcache._core.generations import Generations
from fastcache._core.names import Names
from fastcache._core.shared import SharedMemory
from fastcache.lifecycle.channel import Channel
from fastcache.lifecycle.messages import Birth
from fastcache.observe.metrics import Metrics
from fastcache.server.neighbours import Neighbours
from fastcache.storage.directory import CacheDirectory

CHANNEL, MEMORY, LISTENER, DIRECTORY, LOCK, REPORTS = "channel", "memory", "listener", "directory", "lock", "reports"
INBOX = "inbox"
"""The end that a worker reads; those of all workers that it writes to are ``to 0``, ``to 1`` and so on."""


def outbox(slot: int) -> str:
    """What leads to a worker's inbox."""
    return f"to {slot}"


class Inherited:
    """Takes the descriptors over, each once."""

    def __init__(self, birth: Birth, fds: dict[str, int]) -> None:
        self.birth = birth
        self._fds = fds
        self.channel = Channel(socket.socket(fileno=fds.pop(CHANNEL)))
        self.channel.setblocking(False)
        memory = fds.pop(MEMORY)
        self.memory = SharedMemory(memory)
        self.fences = self.memory.fences()
        self.generations = Generations(self.memory) if birth.workers > 1 else None
        os.close(memory)
        self.metrics = Metrics(self.memory.numbers(birth.place), Names(self.memory.names()))

    def listener(self) -> socket.socket:
        """The listening socket of this worker's slot."""
        return self._socket(LISTENER)

    def neighbours(self) -> Neighbours:
        """The workers of this host, in a running loop."""
        birth = self.birth
        inboxes = [self._socket(outbox(slot)) for slot in range(birth.workers)]
        return Neighbours(self.memory, birth.place, birth.slot, self._socket(INBOX), inboxes)

    def reports(self) -> socket.socket:
        """An end of what leads from the workers to the keeper."""
        return self._socket(REPORTS)

    def directory(self) -> CacheDirectory:
        """The cache directory, locked for as long as any process of this supervisor has it."""
        path = self.birth.settings.cache_dir
        return CacheDirectory(path, self._fds.pop(DIRECTORY), self._fds.pop(LOCK), self.birth.store_id)

    def _socket(self, name: str) -> socket.socket:
        sock = socket.socket(fileno=self._fds.pop(name))
        sock.setblocking(False)
        return sock
