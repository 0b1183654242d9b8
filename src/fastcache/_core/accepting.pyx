"""Where client connections come from: the listening sockets, and other workers."""
from libc.errno cimport EMFILE, ENFILE, ENOBUFS, ENOMEM, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp, memcpy
from posix.fcntl cimport F_DUPFD_CLOEXEC, fcntl
from posix.unistd cimport close

from fastcache._core.connection cimport HEAD, Connection, connection_id, monotonic_ns
from fastcache._core.handles cimport held
from fastcache._core.net cimport *
from fastcache._core.table cimport EVENT_LISTENER, MAX_LISTENERS


cdef class Accepting(ConnectionTable):
    """Accepts, hands on to other workers what is more than our share, and takes over what they hand us."""

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

    def adopt(self, int fd) -> bool:
        """Go on with an accepted connection that another process hands us; False when there is no room, and ``fd``
        stays the caller's."""
        cdef sockaddr_in6 address
        cdef socklen_t length = sizeof(address)
        if not self.free_count:
            return False
        if getpeername(fd, <sockaddr*>&address, &length) < 0:
            address.sin6_family = 0  # it has gone meanwhile, which its first event tells
        self.now = monotonic_ns()
        if self.take_in(fd, &address) == NULL:
            return False
        if self.balance is not None:
            self.balance.publish(self.capacity - self.free_count)
        return True

    def give_up_idle(self) -> list[int]:
        """Descriptors of the connections of which we hold no byte and no request: they are the caller's now, and
        nothing of them is ours. What the client sends meanwhile waits in the socket."""
        cdef uint32_t i
        cdef Connection* c
        cdef int fd
        given = []
        for i in range(self.used_slots):
            c = self.table[i]
            if c == NULL or c.state != HEAD or c.rn != c.rpos or c.eof:
                continue
            fd = fcntl(c.fd, F_DUPFD_CLOEXEC, 3)
            if fd < 0:
                break  # no descriptor left for now: the rest another time
            given.append(fd)
            # The copy keeps the socket open, and an open socket stays in an epoll until it is taken out.
            epoll_ctl(self.epfd, EPOLL_CTL_DEL, c.fd, NULL)
            self.free_connection(c)
            self.closed_total -= 1  # it is not
        return given

    def take_surplus(self) -> list[tuple[int, int]]:
        """(descriptor, place) of connections that had better be another worker's; the caller's now."""
        cdef int i
        given = [(self.surplus_fds[i].fd, self.surplus_fds[i].place) for i in range(self.surplus_count)]
        self.surplus_count = 0
        return given

    def shut_down(self):
        """Close every connection and both descriptors of the reactor; nothing happens on it any more.

        The caller has taken :meth:`fileno` out of its loop, and holds no pending output.
        """
        for fd, _ in self.take_surplus():
            close(fd)
        ConnectionTable.shut_down(self)

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef void accept_all(self, int listener) noexcept nogil:
        cdef int i, fd
        cdef sockaddr_in6 address
        cdef socklen_t length
        cdef Py_ssize_t place
        for i in range(ACCEPTS_PER_EVENT):
            if self.surplus_count == ACCEPTS_PER_EVENT:
                return  # to be handed on first
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
            self.accepted += 1
            if self.balance is not None:
                place = self.balance.better_place(self.capacity - self.free_count + 1)
                if place >= 0:
                    self.balance.hand(place)
                    self.surplus_fds[self.surplus_count].fd = fd
                    self.surplus_fds[self.surplus_count].place = place
                    self.surplus_count += 1
                    continue
            if self.take_in(fd, &address) == NULL:
                close(fd)
                self.accepted -= 1
                return

    cdef Connection* take_in(self, int fd, const sockaddr_in6* address) noexcept nogil:
        """A new connection; there is room. NULL without memory, and `fd` stays the caller's."""
        cdef int one = 1
        cdef uint32_t slot = self.free_slots[self.free_count - 1]
        cdef Connection* c
        cdef epoll_event event
        if self.table[slot] == NULL:
            self.table[slot] = <Connection*>calloc(1, sizeof(Connection))
            if self.table[slot] == NULL:
                return NULL
            if slot >= self.used_slots:
                self.used_slots = slot + 1
        self.free_count -= 1
        held.connections += 1
        held.descriptors += 1
        c = self.table[slot]
        c.slot = slot
        c.fd = fd
        c.state = HEAD
        c.readable = c.eof = c.dead = c.want_read = c.out_pending = c.empty_lines = c.head_waits = c.large_heads = c.corked = 0
        c.sent = c.requests = c.received = 0
        c.rate_since = 0
        c.file_left = 0
        c.surplus = self.capacity - self.free_count > self.limit
        # One that will be refused may not wait long for its request: others are to be told too.
        c.deadline = self.now + (self.linger_ns if c.surplus else self.idle_ns)
        c.peer_family = 0
        if address.sin6_family == AF_INET:
            c.peer_family = 4
            memcpy(c.peer, &(<const sockaddr_in*>address).sin_addr, 4)
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
        return c

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
