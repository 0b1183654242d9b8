"""One operation per object at a time."""

from __future__ import annotations

import asyncio
from types import TracebackType


class ObjectLocks:
    """A lock per object that exists only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._users: dict[bytes, int] = {}

    def hold(self, digest: bytes) -> _Held:
        return _Held(self, digest)

    def is_held(self, digest: bytes) -> bool:
        return digest in self._locks

    def enter(self, digest: bytes) -> asyncio.Lock:
        self._users[digest] = self._users.get(digest, 0) + 1
        lock = self._locks.get(digest)
        if lock is None:
            lock = self._locks[digest] = asyncio.Lock()
        return lock

    def leave(self, digest: bytes) -> None:
        left = self._users[digest] - 1
        if left:
            self._users[digest] = left
        else:
            del self._users[digest], self._locks[digest]


class _Held:
    def __init__(self, locks: ObjectLocks, digest: bytes) -> None:
        self._locks = locks
        self._digest = digest
        self._lock: asyncio.Lock | None = None

    async def __aenter__(self) -> None:
        lock = self._locks.enter(self._digest)
        try:
            await lock.acquire()
        except BaseException:
            self._locks.leave(self._digest)
            raise
        self._lock = lock

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._lock is not None
        self._lock.release()
        self._locks.leave(self._digest)
