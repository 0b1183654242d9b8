"""The table of client connections: where they come from, how they are found, and how they end."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.unistd cimport close, write

from fastcache._core.connection cimport (
    ANSWERING,
    FREE,
    HEAD,
    PARKED,
    PROVING,
    Connection,
    connection_id,
    monotonic_ns,
    release_kept_head,
    release_output,
    release_rbuf,
)
from fastcache._core.handles cimport held
from fastcache._core.net cimport *
from fastcache._core.slots cimport (
    IN_ABORTED,
    IN_READABLE,
    IN_REQUESTS,
    IN_RUN,
    IN_WRITABLE,
    queue_clear,
    queue_free,
    queue_init,
    queue_push,
)

import socket as _socket

cdef double LONGEST = 4e9  # seconds: no deadline that is this far ahead overflows the clock


cdef int64_t nanoseconds(double seconds) except -1:
    if not 0.0 <= seconds <= LONGEST:
        raise ValueError(f"{seconds} is not a number of seconds between 0 and {LONGEST:g}")
    return <int64_t>(seconds * 1e9)


cdef class ConnectionTable:
    """All plain client connections of one event loop, and the listening sockets they come from.

    Base of the reactor, which documents the arguments. Not thread-safe: every call is made on the loop's thread.
    """

    def __cinit__(self, handler, *, uint32_t max_connections=4096, Py_ssize_t head_limit=65536,
                  double head_timeout=30.0, double idle_timeout=75.0, double stall_timeout=60.0,
                  double linger_timeout=5.0, int64_t linger_bytes=67108864, double half_closed_timeout=0.0, int64_t min_rate=0, double rate_window=10.0,
                  uint32_t surplus=0, networks=(), Hits hits=None, Balance balance=None):
        cdef epoll_event event
        cdef uint32_t i, ring = 1
        self.epfd = self.evfd = -1
        self.handler = handler
        self.hits = hits
        self.balance = balance
        if not 0 < max_connections <= 1 << 20:
            raise ValueError("max_connections must be between 1 and 1048576")
        if surplus > 1 << 20:
            raise ValueError("surplus must be at most 1048576")
        self.limit = max_connections
        max_connections += surplus
        while ring < max_connections:
            ring *= 2
        self.capacity = self.free_count = max_connections
        self.table = <Connection**>calloc(max_connections, sizeof(Connection*))
        self.free_slots = <uint32_t*>calloc(max_connections, sizeof(uint32_t))
        if self.table == NULL or self.free_slots == NULL:
            raise MemoryError
        for i in range(max_connections):
            self.free_slots[i] = max_connections - 1 - i
        if not (queue_init(&self.run, ring, IN_RUN) and queue_init(&self.requests, ring, IN_REQUESTS)
                and queue_init(&self.writable, ring, IN_WRITABLE) and queue_init(&self.readable, ring, IN_READABLE)
                and queue_init(&self.aborted, ring, IN_ABORTED)):
            raise MemoryError
        self.head_limit = head_limit
        self.head_ns = nanoseconds(head_timeout)
        self.idle_ns = nanoseconds(idle_timeout)
        self.stall_ns = nanoseconds(stall_timeout)
        self.linger_ns = nanoseconds(linger_timeout)
        self.linger_bytes = linger_bytes
        self.half_closed_ns = nanoseconds(half_closed_timeout)
        self.min_rate = min_rate
        self.rate_window_ns = nanoseconds(rate_window)
        self._set_networks(networks)
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, "epoll_create1 failed")
        held.descriptors += 1
        self.evfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.evfd < 0:
            raise OSError(errno, "eventfd failed")
        held.descriptors += 1
        event.events = EPOLLIN
        event.data.u64 = EVENT_WAKE
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, self.evfd, &event) < 0:
            raise OSError(errno, "epoll_ctl failed")
        self.accepting = True

    def __dealloc__(self):
        cdef uint32_t i
        cdef Connection* c
        self.listener_count = 0
        if self.table != NULL:
            for i in range(self.used_slots):
                c = self.table[i]
                if c == NULL:
                    continue
                if c.lease != NULL:
                    # Of an index, and a connection of others, that may be gone already, and settle with themselves.
                    c.lease = NULL
                    c.origin = NULL
                    release_kept_head(c)
                if c.state != FREE:
                    self.free_connection(c)
                release_output(c)
                free(c)
            free(self.table)
        free(self.free_slots)
        queue_free(&self.run)
        queue_free(&self.requests)
        queue_free(&self.writable)
        queue_free(&self.readable)
        queue_free(&self.aborted)
        free(self.networks)
        if self.capacity:  # else the constructor failed before it set them, and 0 is somebody else's
            self._close_descriptors()

    cdef void _close_descriptors(self) noexcept:
        if self.hits is not None and self.hits.origins is not None:
            self.hits.origins.detach()
        if self.evfd >= 0:
            close(self.evfd)
            held.descriptors -= 1
        if self.epfd >= 0:
            close(self.epfd)
            held.descriptors -= 1
        self.evfd = self.epfd = -1

    def _set_networks(self, networks):
        cdef int i = 0
        cdef bytes packed
        if len(networks) > MAX_NETWORKS:
            raise ValueError(f"at most {MAX_NETWORKS} networks")
        if not networks:
            return
        self.networks = <Network*>calloc(len(networks), sizeof(Network))
        if self.networks == NULL:
            raise MemoryError
        for packed, prefix in networks:
            if len(packed) not in (4, 16) or not 0 <= prefix <= 8 * len(packed):
                raise ValueError("a network is a packed address and its prefix length")
            self.networks[i].family = 4 if len(packed) == 4 else 6
            self.networks[i].prefix = prefix
            memcpy(self.networks[i].address, PyBytes_AS_STRING(packed), len(packed))
            i += 1
        self.network_count = i

    def fileno(self) -> int:
        """The epoll's descriptor, readable whenever :meth:`drain` has something to do."""
        return self.epfd

    def close_idle(self) -> int:
        """Close connections that wait for a next request and hold no byte of one; returns how many."""
        cdef uint32_t i
        cdef Connection* c
        cdef int closed = 0
        for i in range(self.used_slots):
            c = self.table[i]
            if c != NULL and c.state == HEAD and c.rn == c.rpos and not c.readable:
                self.free_connection(c)
                closed += 1
        return closed

    def shut_down(self):
        """Close every connection and both descriptors of the reactor; nothing happens on it any more.

        The caller has taken :meth:`fileno` out of its loop, and holds no pending output.
        """
        cdef uint32_t i
        cdef Connection* c
        self.set_accepting(False)
        self.listener_count = 0
        for i in range(self.used_slots):
            c = self.table[i]
            if c != NULL and c.state != FREE:
                self.free_connection(c)
                release_output(c)
            if c != NULL:
                c.queued = 0
        queue_clear(&self.run)
        queue_clear(&self.requests)
        queue_clear(&self.writable)
        queue_clear(&self.readable)
        queue_clear(&self.aborted)
        self._close_descriptors()

    def admitted(self, uint64_t cid) -> bool:
        """Whether the peer's address is in one of ``networks`` (or none were given)."""
        cdef Connection* c = self.find(cid)
        return c != NULL and c.allowed

    def overloaded(self, uint64_t cid) -> bool:
        """Whether the connection came when ``max_connections`` were open, and they still are."""
        cdef Connection* c = self.find(cid)
        return c != NULL and c.surplus and self.capacity - self.free_count > self.limit

    def peer(self, uint64_t cid) -> tuple[str, int]:
        """The peer's numeric address and port; ("", 0) for a stale id."""
        cdef Connection* c = self.find(cid)
        if c == NULL or c.peer_family == 0:
            return ("", 0)
        if c.peer_family == 4:
            return (_socket.inet_ntop(_socket.AF_INET, PyBytes_FromStringAndSize(<char*>c.peer, 4)), c.peer_port)
        return (_socket.inet_ntop(_socket.AF_INET6, PyBytes_FromStringAndSize(<char*>c.peer, 16)), c.peer_port)

    def connections(self) -> int:
        """Open client connections."""
        return self.capacity - self.free_count

    def answering(self) -> int:
        """Connections whose requests are with the hit branch."""
        return self.answering_count

    def parked(self) -> int:
        """Connections whose request is with the engine."""
        return self.parked_count

    def stats(self) -> dict[str, int]:
        """Totals since the start: accepted, closed, refused by address, failed accepts, timeouts, bytes sent."""
        return {
            "accepted": self.accepted,
            "closed": self.closed_total,
            "refused": self.refused,
            "accept_errors": self.accept_errors,
            "timed_out": self.timed_out,
            "sent_bytes": self.sent_total,
        }

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef Connection* find(self, uint64_t cid) noexcept nogil:
        cdef uint32_t slot = <uint32_t>cid
        cdef Connection* c
        if slot >= self.used_slots:
            return NULL
        c = self.table[slot]
        if c == NULL or c.gen != <uint32_t>(cid >> 32) or c.state == FREE:
            return NULL
        return c

    cdef void arm(self) noexcept nogil:
        cdef uint64_t one = 1
        if not self.armed:
            self.armed = True
            write(self.evfd, &one, 8)

    cdef void enqueue_run(self, Connection* c) noexcept nogil:
        queue_push(&self.run, c)
        self.arm()

    cdef void set_accepting(self, bint on) noexcept nogil:
        cdef int i
        cdef epoll_event event
        if on == self.accepting:
            return
        self.accepting = on
        for i in range(self.listener_count):
            event.events = EPOLLIN
            event.data.u64 = EVENT_LISTENER | <uint64_t>i
            epoll_ctl(self.epfd, EPOLL_CTL_ADD if on else EPOLL_CTL_DEL, self.listeners[i], &event)

    cdef void free_connection(self, Connection* c) noexcept nogil:
        if c.state == PARKED:
            self.parked_count -= 1
        elif c.state == ANSWERING or c.state == PROVING:
            self.answering_count -= 1
        if c.lease != NULL:
            self.hits.end(c, monotonic_ns(), False)
        self.sent_total += c.sent
        close(c.fd)
        held.connections -= 1
        held.descriptors -= 1
        c.fd = -1
        c.gen += 1
        if c.gen == <uint32_t>0xFFFFFFFF:
            c.gen = 0  # all ones mark the listeners' events
        c.state = FREE
        c.deadline = 0
        release_rbuf(c)
        self.free_slots[self.free_count] = c.slot
        self.free_count += 1
        self.closed_total += 1
        if not self.accepting and self.listener_count:
            self.set_accepting(True)

    cdef void lose(self, Connection* c) noexcept nogil:
        """The peer of a parked connection is gone: the engine is told once, the fd stays ours until it says close."""
        if not c.dead:
            c.dead = 1
            c.deadline = 0
            queue_push(&self.aborted, c)
