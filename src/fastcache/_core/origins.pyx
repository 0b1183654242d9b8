"""Warm connections to the origin in the hands of the hit branch.

The pool stays their owner: it lends an idle connection when the hit branch lacked one, and gets it back when it is not
used any more, when it ended, when somebody else needs it, or together with an exchange that the engine goes on with.
While a connection is lent, its socket is in the reactor's epoll (edge-triggered) and the event loop does not look at it.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove

from fastcache._core.connection cimport monotonic_ns
from fastcache._core.handles cimport held
from fastcache._core.net cimport *
from fastcache._core.ordering cimport Numbers
from fastcache._core.origin cimport ORIGIN_ASKED, ORIGIN_ENDED, ORIGIN_FREE, ORIGIN_IDLE


cdef class Origins:
    """At most ``capacity`` lent connections; of unused ones ``most_idle`` stay, for ``idle_timeout`` seconds, and the rest
    for one second: with more clients than that at once, their number goes up and down all the time. ``numbers`` are those
    of the engine's requests too.
    """

    def __cinit__(self, Numbers numbers not None, uint32_t capacity, *, uint32_t most_idle, double idle_timeout):
        cdef uint32_t i
        if not 0 < capacity <= 1 << 16 or not 0.0 <= idle_timeout <= 4e9:
            raise ValueError("no room for connections")
        self.epfd = -1
        self.numbers = numbers
        self.capacity = self.free_count = capacity
        self.most_idle = most_idle
        self.idle_ns = <int64_t>(idle_timeout * 1e9)
        self.table = <Origin**>calloc(capacity, sizeof(Origin*))
        self.free_slots = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        self.idle = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        self.ended = <uint32_t*>calloc(capacity, sizeof(uint32_t))
        if self.table == NULL or self.free_slots == NULL or self.idle == NULL or self.ended == NULL:
            raise MemoryError
        for i in range(capacity):
            self.free_slots[i] = capacity - 1 - i

    def __dealloc__(self):
        cdef uint32_t i
        if self.table != NULL:
            self.epfd = -1  # of a reactor that may be gone
            self.detach()
            for i in range(self.used_slots):
                free(self.table[i])
        free(self.table)
        free(self.free_slots)
        free(self.idle)
        free(self.ended)

    def __len__(self) -> int:
        """Connections that are lent."""
        return self.capacity - self.free_count

    def is_wanted(self) -> bool:
        """Whether a request lacked a connection that has not been lent yet."""
        return self.wanted > 0 and self.epfd >= 0

    def lend(self, int fd) -> int:
        """Take an idle connection; the number under which it is given back, -1 when there is no room."""
        cdef Origin* origin
        cdef epoll_event event
        cdef uint32_t slot
        if not self.free_count or self.epfd < 0:
            return -1
        slot = self.free_slots[self.free_count - 1]
        if self.table[slot] == NULL:
            self.table[slot] = <Origin*>calloc(1, sizeof(Origin))
            if self.table[slot] == NULL:
                raise MemoryError
            if slot >= self.used_slots:
                self.used_slots = slot + 1
        origin = self.table[slot]
        event.events = EPOLLIN | EPOLLRDHUP | EPOLLET
        event.data.u64 = EVENT_ORIGIN | <uint64_t>slot
        if epoll_ctl(self.epfd, EPOLL_CTL_ADD, fd, &event) < 0:
            return -1
        self.free_count -= 1
        held.lent_origins += 1
        origin.fd = fd
        origin.slot = slot
        if self.wanted:
            self.wanted -= 1
        self._rest(origin, monotonic_ns())
        return slot

    def take_idle(self) -> int:
        """Give back the idle connection that was used last; its number, -1 when there is none.

        It, or another one, is wanted again when whoever takes it is through.
        """
        cdef uint32_t slot
        if not self.idle_count:
            return -1
        self.idle_count -= 1
        slot = self.idle[self.idle_count]
        self.hand_over(self.table[slot])
        if self.wanted < self.capacity:
            self.wanted += 1
        return slot

    def owe(self, uint32_t count):
        """So many wait for a connection: the next ones that are through are given back."""
        self.owed = count

    @property
    def idle_connections(self) -> int:
        """Lent connections on which nothing is under way."""
        return self.idle_count

    def count_beside(self, uint32_t count):
        """The pool keeps so many idle ones itself: together they are at most ``most_idle``."""
        self.beside = count

    def take_ended(self):
        """The numbers of connections that are given back."""
        cdef list slots = []
        while self.ended_count:
            self.ended_count -= 1
            slots.append(self.ended[self.ended_count])
            self._free(self.table[self.ended[self.ended_count]])
        return slots

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef void attach(self, int epfd) noexcept:
        self.epfd = epfd

    cdef void detach(self) noexcept:
        """The reactor ends: whatever is lent is the pool's again, without being told."""
        cdef uint32_t i
        for i in range(self.used_slots):
            if self.table[i].state != ORIGIN_FREE:
                self.hand_over(self.table[i])
        self.idle_count = self.ended_count = 0
        self.epfd = -1

    cdef Origin* at(self, uint64_t mark) noexcept nogil:
        cdef uint32_t slot = <uint32_t>(mark & 0xFFFF)
        return self.table[slot] if slot < self.used_slots and self.table[slot].state != ORIGIN_FREE else NULL

    cdef Origin* ask(self, uint32_t client, Py_ssize_t length, int64_t now, int64_t boot) noexcept nogil:
        cdef Origin* origin
        cdef ssize_t sent
        cdef char octet
        while self.idle_count:
            self.idle_count -= 1
            origin = self.table[self.idle[self.idle_count]]
            # A byte that nobody asked for would be read as the beginning of the answer.
            if recv(origin.fd, &octet, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 or errno != EAGAIN:
                self.give_up(origin)
                continue
            origin.boot = boot
            origin.number = self.numbers.take()
            while True:
                sent = send(origin.fd, self.request, length, MSG_NOSIGNAL | MSG_DONTWAIT)
                if sent >= 0 or errno != EINTR:
                    break
            if sent < 0 or (sent < length and not self.keep(origin, self.request + sent, length - sent, True)):
                self.give_up(origin)
                continue
            origin.state = ORIGIN_ASKED
            origin.client = client
            origin.since = now
            return origin
        if self.wanted < self.capacity:
            self.wanted += 1
        return NULL

    cdef Py_ssize_t receive(self, Origin* origin) noexcept nogil:
        cdef ssize_t got
        while True:
            got = recv(origin.fd, self.answer, ANSWER_BYTES, MSG_DONTWAIT)
            if got >= 0 or errno != EINTR:
                break
        if got > 0:
            return got
        return 0 if got < 0 and errno == EAGAIN else -1

    cdef void release(self, Origin* origin, int64_t now) noexcept nogil:
        if self.owed:
            self.owed -= 1
            self.give_up(origin)
            return
        self._rest(origin, now)

    cdef void _rest(self, Origin* origin, int64_t now) noexcept nogil:
        origin.state = ORIGIN_IDLE
        origin.since = now
        self.idle[self.idle_count] = origin.slot
        self.idle_count += 1

    cdef void give_up(self, Origin* origin) noexcept nogil:
        if origin.state == ORIGIN_IDLE:
            self._forget_idle(origin.slot)
        self._leave(origin)
        origin.state = ORIGIN_ENDED
        self.ended[self.ended_count] = origin.slot
        self.ended_count += 1

    cdef bint keep(self, Origin* origin, const char* octets, Py_ssize_t length, bint unsent) noexcept nogil:
        origin.kept = <char*>malloc(length)
        if origin.kept == NULL:
            return False
        held.kept_answers += 1
        memcpy(origin.kept, octets, length)
        origin.kept_length = length
        origin.unsent = unsent
        return True

    cdef void hand_over(self, Origin* origin) noexcept nogil:
        self._leave(origin)
        self._free(origin)

    cdef void expire(self, int64_t now) noexcept nogil:
        """Give back what was not used for too long, or for a while and is too much: those used longest ago stand first."""
        cdef int64_t unused
        if self.idle_count:
            self.wanted = 0
        while self.idle_count:
            unused = now - self.table[self.idle[0]].since
            if unused < (self.idle_ns if self.idle_count + self.beside <= self.most_idle else min(SURPLUS_NS, self.idle_ns)):
                return
            self.give_up(self.table[self.idle[0]])

    cdef void _leave(self, Origin* origin) noexcept nogil:
        cdef epoll_event unused
        if origin.fd >= 0:
            epoll_ctl(self.epfd, EPOLL_CTL_DEL, origin.fd, &unused)
            origin.fd = -1
        if origin.kept != NULL:
            held.kept_answers -= 1
            free(origin.kept)
            origin.kept = NULL
        origin.kept_length = 0
        origin.unsent = 0

    cdef void _free(self, Origin* origin) noexcept nogil:
        origin.state = ORIGIN_FREE
        held.lent_origins -= 1
        self.free_slots[self.free_count] = origin.slot
        self.free_count += 1

    cdef void _forget_idle(self, uint32_t slot) noexcept nogil:
        cdef uint32_t i
        for i in range(self.idle_count):
            if self.idle[i] == slot:
                self.idle_count -= 1
                memmove(self.idle + i, self.idle + i + 1, (self.idle_count - i) * sizeof(uint32_t))
                return
