"""The client side of the proxy: every plain connection, from accept to close, on one epoll of our own.

The epoll is nested in the event loop (``loop.add_reader(reactor.fileno(), reactor.drain)``) and drained without the
GIL. What needs Python - a complete request head, body bytes an engine waits for, finished output, a peer that left -
is collected in C queues and handed over after the nogil part, in order. A connection is parked while its request is
with the engine, so pipelined requests are answered in order without a queue of their own.

Engine to core: ``recv``, ``unread``, ``write``, ``send_file``, ``finish``, ``close``, ``abort``.
Core to engine (methods of ``handler``): ``on_request(id, head)``, ``on_bad_head(id, status)``, ``on_readable(id)``,
``on_writable(id, ok)``, ``on_abort(id)``. A handler method that raises costs its own connection only
(``on_callback_error(id, exception)`` is told).
"""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from posix.unistd cimport close, read, write

from fastcache._core.connection cimport (
    FREE,
    HEAD,
    LINGERING,
    PARKED,
    PUMP_AGAIN,
    PUMP_DEAD,
    PUMP_DONE,
    PUMP_FILE,
    PUMP_TURN,
    Connection,
    connection_id,
    head_end,
    monotonic_ns,
    pump,
    release_rbuf,
    reserve,
    skip_empty_lines,
)
from fastcache._core.net cimport *

import socket as _socket

cdef uint64_t EVENT_LISTENER = <uint64_t>0xFFFFFFFF00000000
cdef uint64_t EVENT_WAKE = <uint64_t>0xFFFFFFFFFFFFFFFF
cdef enum:
    DEF_OUT_DONE = 1
    DEF_OUT_PENDING = 0
    DEF_OUT_DEAD = -1
    DEF_OUT_FILE = -2

OUT_DONE = DEF_OUT_DONE
"""Everything was handed to the kernel."""
OUT_PENDING = DEF_OUT_PENDING
"""``on_writable`` will be called once."""
OUT_DEAD = DEF_OUT_DEAD
"""The peer is gone, or the id is stale."""
OUT_FILE = DEF_OUT_FILE
"""The file failed or is shorter than asked for; the connection itself is alive."""


cdef bint queue_init(SlotQueue* q, uint32_t size) noexcept:
    q.slots = <uint32_t*>calloc(size, sizeof(uint32_t))
    q.mask = size - 1
    q.head = q.tail = 0
    return q.slots != NULL


cdef inline void queue_push(SlotQueue* q, uint32_t slot) noexcept nogil:
    # Never overflows: between two dispatches a slot is queued once for its present connection and, when that one was
    # freed by a callback and the slot reused, once more; the ring holds two places per slot.
    q.slots[q.tail & q.mask] = slot
    q.tail += 1


cdef inline uint32_t queue_pop(SlotQueue* q) noexcept nogil:
    cdef uint32_t slot = q.slots[q.head & q.mask]
    q.head += 1
    return slot


cdef inline uint32_t queue_length(const SlotQueue* q) noexcept nogil:
    return q.tail - q.head


@cython.final
cdef class Reactor:
    """All plain client connections of one event loop. Not thread-safe: every call is made on the loop's thread.

    Times are seconds. ``head_timeout`` bounds a head from its first byte to its last (a dripped head gains nothing),
    ``idle_timeout`` a kept-alive connection without one, ``stall_timeout`` progress in either direction while the
    engine waits for the client. ``networks`` are (packed address, prefix length) pairs; empty admits everyone.
    """

    def __cinit__(self, handler, *, uint32_t max_connections=4096, Py_ssize_t head_limit=65536,
                  double head_timeout=30.0, double idle_timeout=75.0, double stall_timeout=60.0,
                  double linger_timeout=5.0, int64_t linger_bytes=1048576, networks=()):
        cdef epoll_event event
        cdef uint32_t i, ring = 1
        self.epfd = self.evfd = -1
        self.handler = handler
        if not 0 < max_connections <= 1 << 20:
            raise ValueError("max_connections must be between 1 and 1048576")
        while ring < 2 * max_connections:  # room for a slot's stale entry beside its present one
            ring *= 2
        self.capacity = self.free_count = max_connections
        self.table = <Connection**>calloc(max_connections, sizeof(Connection*))
        self.free_slots = <uint32_t*>calloc(max_connections, sizeof(uint32_t))
        if self.table == NULL or self.free_slots == NULL:
            raise MemoryError
        for i in range(max_connections):
            self.free_slots[i] = max_connections - 1 - i
        if not (queue_init(&self.run, ring) and queue_init(&self.requests, ring) and queue_init(&self.writable, ring)
                and queue_init(&self.readable, ring) and queue_init(&self.aborted, ring)):
            raise MemoryError
        self.head_limit = head_limit
        self.head_ns = <int64_t>(head_timeout * 1e9)
        self.idle_ns = <int64_t>(idle_timeout * 1e9)
        self.stall_ns = <int64_t>(stall_timeout * 1e9)
        self.linger_ns = <int64_t>(linger_timeout * 1e9)
        self.linger_bytes = linger_bytes
        self._set_networks(networks)
        self.epfd = epoll_create1(EPOLL_CLOEXEC)
        if self.epfd < 0:
            raise OSError(errno, "epoll_create1 failed")
        self.evfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.evfd < 0:
            raise OSError(errno, "eventfd failed")
        event.events = EPOLLIN
        event.data.u64 = EVENT_WAKE
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, self.evfd, &event) < 0:
            raise OSError(errno, "epoll_ctl failed")
        self.accepting = True

    def __dealloc__(self):
        cdef uint32_t i
        cdef Connection* c
        if self.table != NULL:
            for i in range(self.used_slots):
                c = self.table[i]
                if c == NULL:
                    continue
                if c.state != FREE and c.fd >= 0:
                    close(c.fd)
                if c.out_held:
                    PyBuffer_Release(&c.out)
                release_rbuf(c)
                free(c)
            free(self.table)
        free(self.free_slots)
        free(self.run.slots)
        free(self.requests.slots)
        free(self.writable.slots)
        free(self.readable.slots)
        free(self.aborted.slots)
        free(self.networks)
        if self.evfd >= 0:
            close(self.evfd)
        if self.epfd >= 0:
            close(self.epfd)

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

    # ---- the loop's side -------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The epoll's descriptor, readable whenever :meth:`drain` has something to do."""
        return self.epfd

    def listen(self, int fd):
        """Accept from a listening, non-blocking socket. It stays the caller's; it must outlive the reactor's use."""
        cdef epoll_event event
        if self.listener_count >= MAX_LISTENERS:
            raise ValueError("too many listeners")
        event.events = EPOLLIN
        event.data.u64 = EVENT_LISTENER | <uint64_t>self.listener_count
        if self.accepting and epoll_ctl(self.epfd, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, "epoll_ctl failed")
        self.listeners[self.listener_count] = fd
        self.listener_count += 1

    def stop_listening(self):
        """Forget all listening sockets (they are the caller's to close). Established connections go on."""
        self.set_accepting(False)
        self.listener_count = 0

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

    def drain(self):
        """Do what is ready, within the budget, then hand over to the engine. Callable anywhere on the loop's thread."""
        if self.draining:
            return
        self.draining = True
        try:
            with nogil:
                self.drain_events()
        finally:
            self.draining = False
        if self.dispatching:
            self.arm()  # a callback drained: what came up is handed over by the loop, not by recursion
        else:
            self.dispatch()

    def sweep(self):
        """Enforce the timeouts and look again at a full table or a lack of descriptors; call it about twice a second."""
        cdef uint32_t i
        cdef Connection* c
        cdef int64_t now = monotonic_ns()
        self.now = now
        if not self.accepting and self.listener_count and self.free_count:
            self.set_accepting(True)
        for i in range(self.used_slots):
            c = self.table[i]
            if c == NULL or c.state == FREE or c.deadline == 0 or c.deadline > now:
                continue
            self.timed_out += 1
            if c.state == HEAD and c.rn > c.rpos:
                c.state = PARKED
                self.parked_count += 1
                c.deadline = 0
                self._call(self.handler.on_bad_head, connection_id(c), 408)
            elif c.state == PARKED:
                self.lose(c)
            else:
                self.free_connection(c)
        self.dispatch()

    # ---- the engine's side -----------------------------------------------------------------------------------------

    def recv(self, uint64_t cid, Py_ssize_t limit):
        """Up to ``limit`` bytes of the current request's body.

        Returns None when there are none yet (``on_readable`` is then called once), b"" when the client will send no
        more. The caller knows the framing: with a Content-Length it never asks for more than is left of the body.
        """
        cdef Connection* c = self.find(cid)
        cdef Py_ssize_t have
        cdef ssize_t r
        cdef char* target
        if c == NULL or c.state != PARKED or c.dead:
            return b""
        have = c.rn - c.rpos
        if have:
            have = have if have < limit else limit
            piece = PyBytes_FromStringAndSize(c.rbuf + c.rpos, have)
            c.rpos += have
            if c.rpos == c.rn:
                release_rbuf(c)
            c.deadline = 0
            return piece
        if not c.readable:
            return self._want_read(c)
        whole = PyBytes_FromStringAndSize(NULL, limit)
        target = PyBytes_AS_STRING(whole)
        while True:
            r = recv(c.fd, target, limit, 0)
            if r >= 0 or errno != EINTR:
                break
        if r < 0:
            if errno == EAGAIN:
                c.readable = 0
                return self._want_read(c)
            self.lose(c)
            self.arm()
            return b""
        if r == 0:
            c.eof = 1
            c.readable = 0
            c.deadline = 0
            return b""
        if r < limit and not c.eof:
            c.readable = 0  # a short read drained the socket; an edge comes with the next byte
        c.deadline = 0
        return whole if r == limit else whole[:r]

    cdef object _want_read(self, Connection* c):
        if c.eof:
            return b""
        c.want_read = 1
        c.deadline = monotonic_ns() + self.stall_ns
        return None

    def unread(self, uint64_t cid, const unsigned char[::1] data):
        """Give back bytes behind the end of a body: the beginning of the next pipelined request."""
        cdef Connection* c = self.find(cid)
        cdef Py_ssize_t n = data.shape[0]
        cdef Py_ssize_t have
        if c == NULL or n == 0:
            return
        have = c.rn - c.rpos
        if not reserve(c, n, (have + n) * 2 + self.head_limit):
            raise MemoryError
        if have:
            from_start = PyBytes_FromStringAndSize(c.rbuf + c.rpos, have)
            memcpy(c.rbuf + c.rpos + n, PyBytes_AS_STRING(from_start), have)
        memcpy(c.rbuf + c.rpos, &data[0], n)
        c.rn += n
        c.scan = 0

    def write(self, uint64_t cid, data, bint more=False) -> int:
        """Queue ``data`` and hand what fits to the kernel at once. Returns OUT_DONE, OUT_PENDING or OUT_DEAD.

        One output operation at a time: after OUT_PENDING wait for ``on_writable``. ``data`` is kept, not copied.
        ``more`` (MSG_MORE) only if the next call follows immediately, or the bytes wait 200 ms in the kernel.
        """
        cdef Connection* c = self.find(cid)
        if c == NULL or c.state != PARKED or c.dead:
            return DEF_OUT_DEAD
        if c.out_pending:
            raise RuntimeError("output is still pending on this connection")
        PyObject_GetBuffer(data, &c.out, PyBUF_SIMPLE)
        c.out_held = 1
        c.out_more = more
        c.out_pos = 0
        return self._start_output(c)

    def send_file(self, uint64_t cid, int fd, int64_t offset, int64_t count) -> int:
        """Send ``count`` bytes of ``fd`` from ``offset`` on. Returns as :meth:`write`, or OUT_FILE.

        ``fd`` stays the caller's and must stay open until the operation is done. The pages should be resident: a cold
        page would block the loop.
        """
        cdef Connection* c = self.find(cid)
        if c == NULL or c.state != PARKED or c.dead:
            return DEF_OUT_DEAD
        if c.out_pending:
            raise RuntimeError("output is still pending on this connection")
        c.file_fd = fd
        c.file_off = offset
        c.file_left = count
        return self._start_output(c)

    cdef int _start_output(self, Connection* c):
        cdef int result
        with nogil:
            result = pump(c)
        if result == PUMP_AGAIN or result == PUMP_TURN:
            c.out_pending = 1
            c.deadline = monotonic_ns() + self.stall_ns
            if result == PUMP_TURN:
                self.enqueue_run(c)
            return DEF_OUT_PENDING
        self.release_output(c)
        c.deadline = 0
        if result == PUMP_DONE:
            return DEF_OUT_DONE
        if result == PUMP_FILE:
            return DEF_OUT_FILE
        self.lose(c)
        self.arm()
        return DEF_OUT_DEAD

    def sent(self, uint64_t cid) -> int:
        """Bytes of the current exchange's response that the kernel took so far."""
        cdef Connection* c = self.find(cid)
        return 0 if c == NULL else c.sent

    def finish(self, uint64_t cid, bint keep_alive):
        """The response is complete: take the connection back for its next request, or end it with a lingering close."""
        cdef Connection* c = self.find(cid)
        if c == NULL or c.state != PARKED:
            return
        if c.dead or c.out_pending:
            self.abort(cid)
            return
        self.parked_count -= 1
        self.sent_total += c.sent
        c.sent = 0
        c.want_read = 0
        c.requests += 1
        c.scan = 0
        if keep_alive:
            c.state = HEAD
            c.deadline = monotonic_ns() + self.idle_ns
            if c.rn > c.rpos or c.readable or c.eof:
                self.enqueue_run(c)
            elif c.rbuf != NULL:
                release_rbuf(c)
            return
        # RFC 9112 section 9.6: a full close while input is unread becomes a reset that can destroy the response.
        release_rbuf(c)
        shutdown(c.fd, SHUT_WR)
        c.state = LINGERING
        c.linger_left = self.linger_bytes
        c.deadline = monotonic_ns() + self.linger_ns
        self.enqueue_run(c)

    def close(self, uint64_t cid):
        """Close without ceremony."""
        cdef Connection* c = self.find(cid)
        if c != NULL and c.state != FREE:
            self.release_output(c)
            self.free_connection(c)

    def abort(self, uint64_t cid):
        """Reset the connection: the peer must not take what it got for a whole response."""
        cdef Connection* c = self.find(cid)
        cdef linger now
        if c != NULL and c.state != FREE:
            now.l_onoff = 1
            now.l_linger = 0
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))
            self.release_output(c)
            self.free_connection(c)

    def admitted(self, uint64_t cid) -> bool:
        """Whether the peer's address is in one of ``networks`` (or none were given)."""
        cdef Connection* c = self.find(cid)
        return c != NULL and c.allowed

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

    # ---- C side ----------------------------------------------------------------------------------------------------

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
        if not c.queued:
            c.queued = 1
            queue_push(&self.run, c.slot)
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

    cdef void accept_all(self, int listener) noexcept nogil:
        cdef int i, fd, one = 1
        cdef uint32_t slot
        cdef sockaddr_in6 address
        cdef socklen_t length
        cdef Connection* c
        cdef epoll_event event
        for i in range(ACCEPTS_PER_EVENT):
            if not self.free_count:
                self.set_accepting(False)  # the backlog waits; sweep or a close opens again
                return
            length = sizeof(address)
            fd = accept4(listener, <sockaddr*>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd < 0:
                if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                    # Level-triggered and not acceptable: pausing is what keeps this from being a busy loop.
                    self.accept_errors += 1
                    self.set_accepting(False)
                return
            slot = self.free_slots[self.free_count - 1]
            if self.table[slot] == NULL:
                self.table[slot] = <Connection*>calloc(1, sizeof(Connection))
                if self.table[slot] == NULL:
                    close(fd)
                    return
                if slot >= self.used_slots:
                    self.used_slots = slot + 1
            self.free_count -= 1
            c = self.table[slot]
            c.slot = slot
            c.fd = fd
            c.state = HEAD
            c.readable = c.eof = c.dead = c.want_read = c.out_pending = 0
            c.sent = c.requests = 0
            c.file_left = 0
            c.deadline = self.now + self.idle_ns
            self.accepted += 1
            c.peer_family = 0
            if address.sin6_family == AF_INET:
                c.peer_family = 4
                memcpy(c.peer, &(<sockaddr_in*>&address).sin_addr, 4)
            elif address.sin6_family == AF_INET6:
                c.peer_family = 6
                memcpy(c.peer, &address.sin6_addr, 16)
            c.peer_port = ((address.sin6_port & 0xFF) << 8) | (address.sin6_port >> 8)
            c.allowed = self.admits(c)
            if not c.allowed:
                self.refused += 1
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
            event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
            event.data.u64 = connection_id(c)
            if epoll_ctl(self.epfd, EPOLL_CTL_ADD, fd, &event) < 0:
                self.free_connection(c)

    cdef bint admits(self, Connection* c) noexcept nogil:
        cdef int i, whole, rest, family
        cdef unsigned char* address = <unsigned char*>c.peer
        cdef unsigned char* mapped = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"
        if not self.network_count:
            return True
        family = c.peer_family
        if family == 6 and memcmp(address, mapped, 12) == 0:
            family = 4  # an IPv4 peer on a dual-stack listener
            address += 12
        for i in range(self.network_count):
            if self.networks[i].family != family:
                continue
            whole = self.networks[i].prefix // 8
            rest = self.networks[i].prefix % 8
            if memcmp(self.networks[i].address, address, whole):
                continue
            if rest and (self.networks[i].address[whole] ^ address[whole]) >> (8 - rest):
                continue
            return True
        return False

    cdef void free_connection(self, Connection* c) noexcept nogil:
        if c.state == PARKED:
            self.parked_count -= 1
        self.sent_total += c.sent
        close(c.fd)
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
            queue_push(&self.aborted, c.slot)

    cdef void step(self, Connection* c) noexcept nogil:
        if c.state == HEAD:
            self.read_head(c)
        elif c.state == PARKED:
            if c.out_pending == 1 and not c.dead:
                self.advance_output(c)
        elif c.state == LINGERING:
            self.discard(c)

    cdef void advance_output(self, Connection* c) noexcept nogil:
        cdef uint64_t before = c.sent
        cdef int result = pump(c)
        if c.sent != before:
            c.deadline = self.now + self.stall_ns
        if result == PUMP_AGAIN:
            return
        if result == PUMP_TURN:
            self.enqueue_run(c)
            return
        if result == PUMP_DEAD:
            self.lose(c)
            return
        c.out_pending = 2 if result == PUMP_DONE else 3  # finished: the engine is told with the GIL
        c.deadline = 0
        queue_push(&self.writable, c.slot)

    cdef void read_head(self, Connection* c) noexcept nogil:
        cdef Py_ssize_t end
        cdef ssize_t r
        while True:
            if c.rn > c.rpos:
                skip_empty_lines(c)
                if c.scan < c.rpos:
                    c.scan = c.rpos
                end = head_end(c)
                if end or c.rn - c.rpos >= self.head_limit:
                    c.state = PARKED
                    self.parked_count += 1
                    c.deadline = 0
                    c.scan = end  # the engine's share of rbuf; 0 says that the head is over the limit
                    queue_push(&self.requests, c.slot)
                    return
            if c.rn == c.rpos and c.rbuf != NULL and not c.readable:
                release_rbuf(c)
            if not c.readable:
                return
            if not reserve(c, 1, self.head_limit):
                self.free_connection(c)
                return
            r = recv(c.fd, c.rbuf + c.rn, c.rcap - c.rn, 0)
            if r < 0:
                if errno == EINTR:
                    continue
                if errno == EAGAIN:
                    c.readable = 0
                    continue
                self.free_connection(c)
                return
            if r == 0:
                self.free_connection(c)
                return
            if c.rn == c.rpos:
                c.deadline = self.now + self.head_ns  # counted from a head's first byte
            if r < c.rcap - c.rn and not c.eof:
                c.readable = 0
            c.rn += r

    cdef void discard(self, Connection* c) noexcept nogil:
        cdef char[16384] sink
        cdef ssize_t r
        while c.readable or c.eof:
            r = recv(c.fd, sink, sizeof(sink), 0)
            if r < 0 and errno == EINTR:
                continue
            if r < 0 and errno == EAGAIN:
                c.readable = 0
                if c.eof:
                    self.free_connection(c)
                return
            if r <= 0:
                self.free_connection(c)
                return
            c.linger_left -= r
            if c.linger_left <= 0:
                self.free_connection(c)
                return

    cdef void drain_events(self) noexcept nogil:
        cdef epoll_event[BUDGET_EVENTS] events
        cdef int n, i, listener
        cdef uint64_t mark
        cdef uint32_t flags, waiting
        cdef Connection* c
        cdef bint parked = self.parked_count > 0
        cdef int64_t budget = BUDGET_NS_PARKED if parked else BUDGET_NS
        cdef int64_t start
        start = self.now = monotonic_ns()
        n = epoll_wait(self.epfd, events, BUDGET_EVENTS_PARKED if parked else BUDGET_EVENTS, 0)
        for i in range(n):
            mark = events[i].data.u64
            if mark == EVENT_WAKE:
                continue
            if (mark & EVENT_LISTENER) == EVENT_LISTENER:
                listener = <int>(mark & 0xFF)
                if listener < self.listener_count:
                    self.accept_all(self.listeners[listener])
                continue
            c = self.find(mark)
            if c == NULL:
                continue
            flags = events[i].events
            if flags & (EPOLLIN | EPOLLRDHUP):
                c.readable = 1
            if flags & EPOLLRDHUP:
                c.eof = 1
            if flags & (EPOLLHUP | EPOLLERR):
                if c.state == PARKED:
                    self.lose(c)
                else:
                    self.free_connection(c)
                continue
            if c.state == PARKED:
                if c.want_read and c.readable:
                    c.want_read = 0
                    queue_push(&self.readable, c.slot)
                elif flags & EPOLLRDHUP and not c.out_pending:
                    self.lose(c)  # left while we wait for the origin; while output flows, sending finds out
                    continue
                if c.out_pending == 1 and flags & EPOLLOUT:
                    self.advance_output(c)
                continue
            self.now = monotonic_ns()
            if self.now - start > budget:
                self.enqueue_run(c)
                continue
            self.step(c)
        waiting = queue_length(&self.run)
        while waiting and self.now - start <= budget:
            waiting -= 1
            c = self.table[queue_pop(&self.run)]
            c.queued = 0
            self.step(c)
            self.now = monotonic_ns()
        if queue_length(&self.run):
            self.arm()
        elif self.armed:
            self.armed = False
            read(self.evfd, &mark, 8)

    # ---- hand-over, with the GIL -----------------------------------------------------------------------------------

    cdef void release_output(self, Connection* c):
        if c.out_held:
            PyBuffer_Release(&c.out)
            c.out_held = 0
        c.out_pos = 0
        c.file_left = 0
        c.out_pending = 0
        c.out_more = 0

    cdef void dispatch(self):
        cdef uint32_t n
        cdef Connection* c
        cdef uint64_t cid
        cdef bint ok
        cdef Py_ssize_t end
        self.dispatching = True
        # Lengths are taken first: callbacks append. What they append is seen by the next drain, which is armed then.
        n = queue_length(&self.aborted)
        while n and queue_length(&self.aborted):
            n -= 1
            c = self.table[queue_pop(&self.aborted)]
            if c.state == PARKED and c.dead:
                self.release_output(c)
                self._call(self.handler.on_abort, connection_id(c), None)
        n = queue_length(&self.writable)
        while n and queue_length(&self.writable):
            n -= 1
            c = self.table[queue_pop(&self.writable)]
            if c.state == PARKED and c.out_pending >= 2:
                ok = c.out_pending == 2
                self.release_output(c)
                self._call(self.handler.on_writable, connection_id(c), ok)
        n = queue_length(&self.readable)
        while n and queue_length(&self.readable):
            n -= 1
            c = self.table[queue_pop(&self.readable)]
            if c.state == PARKED:
                self._call(self.handler.on_readable, connection_id(c), None)
        n = queue_length(&self.requests)
        while n and queue_length(&self.requests):
            n -= 1
            c = self.table[queue_pop(&self.requests)]
            if c.state != PARKED:
                continue
            cid = connection_id(c)
            end = c.scan
            c.scan = 0
            if end == 0:
                self._call(self.handler.on_bad_head, cid, 431)
                continue
            head = PyBytes_FromStringAndSize(c.rbuf + c.rpos, end - c.rpos)
            c.rpos = end
            if c.rpos == c.rn:
                release_rbuf(c)
            self._call(self.handler.on_request, cid, head)
        if (queue_length(&self.aborted) or queue_length(&self.writable) or queue_length(&self.readable)
                or queue_length(&self.requests)):
            self.arm()
        self.dispatching = False

    cdef void _call(self, method, uint64_t cid, argument):
        """A callback's exception must cost its own connection and nothing else."""
        try:
            if argument is None:
                method(cid)
            else:
                method(cid, argument)
        except Exception as error:
            self.abort(cid)
            self.handler.on_callback_error(cid, error)
