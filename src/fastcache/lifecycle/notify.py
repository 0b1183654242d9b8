"""Telling a service manager how we are, by the protocol of sd_notify(3): datagrams to the socket it names."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

_log = logging.getLogger("fastcache.lifecycle")

_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class Notifier:
    """Tells nobody when there is nobody to tell. Takes its variables out of ``environ``: they are for this process."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop(_SOCKET, "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        usec, pid = environ.pop(_WATCHDOG, ""), environ.pop(_WATCHDOG_PID, "")
        ours = not pid or pid == str(os.getpid())
        self.watchdog = int(usec) / 1e6 if usec.isdigit() and ours else 0.0
        """Seconds within which we have to be heard of, 0 when nobody listens for it."""

    def ready(self) -> None:
        self._send("READY=1")

    def reloading(self) -> None:
        # Type=notify-reload needs the time as well (systemd 253).
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError as error:
            _log.warning("the service manager cannot be told %r: %s", text, error.strerror)
