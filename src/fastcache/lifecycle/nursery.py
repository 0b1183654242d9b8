"""The process that all others are forked from: it has imported everything, runs no thread and no event loop, and so is
safe to fork at any time, in some milliseconds.

Run by the supervisor as ``python -m fastcache.lifecycle.nursery FD``. It ends when the supervisor is gone; what it gave
birth to notices that by itself.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
from typing import NoReturn

from fastcache.lifecycle import keeper_process, worker_process
from fastcache.lifecycle.channel import Channel
from fastcache.lifecycle.messages import Birth, Born, Ended, Role, Warm

_log = logging.getLogger("fastcache.lifecycle")

_SUPERVISORS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Signals that a terminal or a service manager sends to the whole group. The supervisor says what is done then."""
_RUN = {Role.WORKER: worker_process.run, Role.KEEPER: keeper_process.run}


def main() -> int:
    for number in _SUPERVISORS:
        signal.signal(number, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    gc.collect()
    gc.freeze()  # the pages stay shared with the children as long as no collection touches them
    channel.send(Warm())
    Nursery(channel).run()
    return 0


class Nursery:
    """Bears children for as long as somebody asks, and tells how they end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._poll = select.poll()
        self._poll.register(channel.fileno(), select.POLLIN)
        self._children: dict[int, tuple[int, Birth]] = {}
        """By pidfd: the process and what it is."""

    def run(self) -> None:
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._channel.fileno():
                    self._bury(fd)
                    continue
                received = self._channel.receive()
                if received is None:
                    return
                birth, fds = received
                assert isinstance(birth, Birth)
                self._bear(birth, fds)

    def _bear(self, birth: Birth, fds: list[int]) -> None:
        assert threading.active_count() == 1, "a forked process would lack the other threads, and keep their locks"
        pid = os.fork()
        if pid == 0:
            self._begin(birth, fds)
        pidfd = os.pidfd_open(pid)
        for fd in fds:
            os.close(fd)
        self._children[pidfd] = pid, birth
        self._poll.register(pidfd, select.POLLIN)
        self._channel.send(Born(birth.incarnation, pid), [pidfd])

    def _begin(self, birth: Birth, fds: list[int]) -> NoReturn:
        """In the child: what the nursery has is not ours."""
        status = 70  # EX_SOFTWARE
        try:
            self._channel.close()
            for pidfd in self._children:
                os.close(pidfd)
            status = _RUN[birth.role](birth, dict(zip(birth.descriptors, fds, strict=True)))
        except BaseException:  # noqa: BLE001 - the end of the process, told whole
            _log.exception("the %s ended in an unexpected way", birth.role)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _bury(self, pidfd: int) -> None:
        pid, birth = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._channel.send(Ended(birth.incarnation, os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    sys.exit(main())
