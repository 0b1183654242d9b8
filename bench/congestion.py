"""The same TCP congestion control for everybody.

Some machines default to BBR, whose pacing makes loopback sending many times dearer and drowns what is compared.
Accepted connections inherit the listener's choice, and ``pidfd_getfd(2)`` gives us any child's listener, so that no
server needs an option for it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket

WANTED = "cubic"

_SYS_PIDFD_GETFD = 438
"""The same number on every architecture: it is younger than their common numbering."""


def set_congestion(one: socket.socket) -> bool:
    """Choose WANTED; False when the kernel refuses (not allowed, and we may not administer the network)."""
    try:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, WANTED.encode("ascii"))
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOENT):
            return False
        raise
    return True


def is_allowed() -> bool:
    """Whether this process may choose WANTED."""
    with socket.socket() as one:
        return set_congestion(one)


def set_congestion_of_listener(pid: int, port: int) -> bool:
    """Choose WANTED for what process ``pid`` accepts on ``port`` from now on. False when the kernel refuses."""
    process = os.pidfd_open(pid)
    try:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            if not _is_socket(pid, entry):
                continue
            fd = _duplicate(process, int(entry))
            if fd is None:
                return False
            with socket.socket(fileno=fd) as one:
                if _listens_on(one, port):
                    return set_congestion(one)
    finally:
        os.close(process)
    raise RuntimeError(f"process {pid} does not listen on port {port}")


def _is_socket(pid: int, entry: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{entry}").startswith("socket:")
    except FileNotFoundError:
        return False  # closed meanwhile


def _duplicate(process: int, fd: int) -> int | None:
    libc = ctypes.CDLL(None, use_errno=True)
    copy = libc.syscall(_SYS_PIDFD_GETFD, process, fd, 0)
    if copy >= 0:
        return int(copy)
    number = ctypes.get_errno()
    if number in (errno.EPERM, errno.ENOSYS):
        return None
    raise OSError(number, os.strerror(number))


def _listens_on(one: socket.socket, port: int) -> bool:
    if one.family not in (socket.AF_INET, socket.AF_INET6) or one.type != socket.SOCK_STREAM:
        return False
    listening = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return bool(listening) and one.getsockname()[1] == port
