"""The limits and times of an origin's connections."""

from __future__ import annotations

from dataclasses import dataclass

from fastcache._core.block import USUAL_SIZE


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Times are seconds, sizes bytes. There is no limit on a whole response: a long transfer is not a failed one."""

    connect_timeout: float = 5.0
    """For name, TCP and TLS together; shared fairly between the addresses of a name."""
    queue_timeout: float = 30.0
    """How long a request waits for one of ``max_connections``."""
    first_byte_timeout: float = 60.0
    """From the end of the request to a whole final response head; every 1xx starts it again."""
    idle_timeout: float = 60.0
    """Without progress in either direction. Stands still while our own consumer or the client is the slow side."""
    pool_idle: float = 20.0
    """How long an unused connection is kept; below the origin's own limit, so that we are the one who closes."""
    max_idle: int = 64
    max_connections: int = 512
    receive_block: int = USUAL_SIZE
    """The unit of receiving; at most two of these are unread before the origin is made to wait."""
    first_block: int = 64 * 1024
    """The block a response begins in; small answers need no other."""
    write_high: int = 256 * 1024
    """Unsent request body bytes at which the client is made to wait; uvloop's own limits are not usable."""
    write_low: int = 64 * 1024
    dns_ttl: float = 10.0
    """How long the addresses of a name are believed."""
    ca_file: str | None = None
    """PEM file of the only CAs to trust; None for the system's."""
    tcp_congestion: str | None = None
    """Congestion control of these sockets, for hosts whose default is a bad fit; refused by the kernel is an error."""
