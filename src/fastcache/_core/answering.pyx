"""Connections on which the hit branch answers: the state between a complete head and the engine."""
from libc.stdint cimport uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from fastcache._core.connection cimport (
    ANSWERING,
    HEAD,
    PARKED,
    PROVING,
    PUMP_DEAD,
    PUMP_DONE,
    PUMP_FILE,
    PUMP_TURN,
    Connection,
    monotonic_ns,
    taken,
)
from fastcache._core.handles cimport held
from fastcache._core.hits cimport BEGIN_ASKED, BEGIN_NOT_HERE
from fastcache._core.net cimport *
from fastcache._core.sending cimport send_answer
from fastcache._core.slots cimport queue_push


cdef inline void set_cork(Connection* c, int on) noexcept nogil:
    """Let the kernel send full segments only, while one call after another brings more: by 20 % less CPU at 1 MiB than
    when each call ends with a small segment of its own. What is left goes out when the cork is taken off."""
    setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on))
    c.corked = on


cdef class AnsweringTable(Accepting):
    """What the reactor does with a request that a lease answers."""

    cdef bint answer(self, Connection* c) noexcept nogil:
        # What follows a chunked body may be more than a head's limit: a head beyond it is the engine's to refuse.
        cdef int begun = self.hits.begin(c, c.rbuf + c.rpos, min(c.rn - c.rpos, self.head_limit), self.now)
        if begun == BEGIN_NOT_HERE:
            return False
        self.answering_count += 1
        c.empty_lines = 0
        if begun == BEGIN_ASKED:
            c.state = PROVING
            c.deadline = self.now + PATIENCE_NS
            if c.origin.unsent:
                self.enqueue_run(c)
            return False
        c.state = ANSWERING
        self.begin_sending(c)
        return self.advance_answer(c)

    cdef void begin_sending(self, Connection* c) noexcept nogil:
        c.deadline = 0
        if c.body_end - c.body_at >= CORKED_FROM:
            set_cork(c, 1)

    cdef bint advance_answer(self, Connection* c) noexcept nogil:
        cdef uint64_t before = c.sent
        cdef int result = send_answer(c, self.now)
        if c.corked and (result == PUMP_DONE or result == PUMP_FILE):
            set_cork(c, 0)
        if result == PUMP_DONE:
            self.now = monotonic_ns()
            self.hits.end(c, self.now, True)
            self.answering_count -= 1
            self.sent_total += c.sent
            c.state = HEAD
            c.sent = 0
            c.rate_since = 0
            c.requests += 1
            c.rpos += c.asked
            c.scan = 0
            c.deadline = self.now + self.idle_ns
            return True
        if result == PUMP_DEAD:
            self.free_connection(c)
            return False
        if not c.first_byte and c.sent:
            c.first_byte = monotonic_ns()
        if result == PUMP_FILE:
            self.answering_count -= 1
            self.park(c, c.rpos + c.asked)
            return False
        if c.head_left and c.head_kept == NULL and not self._keep_head(c):
            self.reset(c)
            return False
        if c.deadline == 0:
            c.stall_mark = taken(c)
        if c.deadline == 0 or c.sent != before:
            c.deadline = self.now + self.stall_ns
        if result == PUMP_TURN:
            self.enqueue_run(c)
        return False

    cdef bint _keep_head(self, Connection* c) noexcept nogil:
        """The rendered head lies where the next one will be rendered: what is left of it moves out."""
        c.head_kept = <char*>malloc(c.head_left)
        if c.head_kept == NULL:
            return False
        held.kept_heads += 1
        memcpy(c.head_kept, c.head_at, c.head_left)
        c.head_at = c.head_kept
        return True

    cdef void park(self, Connection* c, Py_ssize_t end) noexcept nogil:
        c.state = PARKED
        self.parked_count += 1
        c.deadline = 0
        c.empty_lines = 0
        c.scan = end
        c.head_waits = 1
        queue_push(&self.requests, c)

    cdef void reset(self, Connection* c) noexcept nogil:
        """End a connection so that its peer cannot take what it got for a whole answer."""
        cdef linger now
        now.l_onoff = 1
        now.l_linger = 0
        setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))
        self.free_connection(c)
