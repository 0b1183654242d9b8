"""Messages with descriptors between the supervisor and one of its processes, over a pair of sockets.

Both ends are this program, of one version, and nobody else has the sockets: messages are pickles.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
from collections.abc import Sequence

_LONGEST = 1 << 18
_MOST_DESCRIPTORS = 250
"""Of a message; the kernel takes 253 (SCM_MAX_FD)."""


class Channel:
    """One end. It ends (``receive`` says None) when the other process is gone, however that died."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Two ends of a new channel, closed at exec."""
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        return cls(ends[0]), cls(ends[1])

    def fileno(self) -> int:
        return self._socket.fileno()

    def setblocking(self, blocking: bool) -> None:
        self._socket.setblocking(blocking)

    def send(self, message: object, fds: Sequence[int] = ()) -> bool:
        """Send copies of ``fds`` with a message; False when the other end is gone, or takes nothing more."""
        try:
            socket.send_fds(self._socket, [pickle.dumps(message)], list(fds), socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionError, BlockingIOError):
            return False
        return True

    def receive(self) -> tuple[object, list[int]] | None:
        """The next message and its descriptors, which are the caller's; None at the end. BlockingIOError when there is
        none yet."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, _LONGEST, _MOST_DESCRIPTORS)
        except ConnectionError:
            return None
        if not data:
            return None
        for fd in fds:
            os.set_inheritable(fd, False)
        return pickle.loads(data), fds

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
