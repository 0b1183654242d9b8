"""How long a slow client is waited for."""
from libc.stdint cimport int64_t

from fastcache._core.connection cimport PARKED, Connection, is_sending, taken


cdef class PatientTable(ProvingTable):
    """What the reactor knows of how fast its clients take their answers."""

    cdef bint drained_meanwhile(self, Connection* c) noexcept nogil:
        """Whether a client whose stall limit passed did take bytes, out of the socket's buffer: it gets another term."""
        cdef int64_t moved
        if not is_sending(c):
            return False
        moved = taken(c)
        if moved == c.stall_mark:
            return False
        c.stall_mark = moved
        c.deadline = self.now + self.stall_ns
        return True

    cdef bint is_too_slow(self, Connection* c) noexcept nogil:
        """Whether a client that alone is waited for moved less than `min_rate` bytes a second for the rate window.

        Dripping a byte before every stall limit must not hold a request, its pins and its window for ever. Time in
        which we or the origin are the slow side does not count.
        """
        cdef int64_t moved
        if not self.min_rate or c.dead or not (is_sending(c) or (c.state == PARKED and c.want_read)):
            c.rate_since = 0
            return False
        moved = taken(c)
        if c.rate_since == 0:
            c.rate_since = self.now
            c.rate_mark = moved
            return False
        if self.now - c.rate_since < self.rate_window_ns:
            return False
        if <double>(moved - c.rate_mark) * 1e9 < <double>self.min_rate * <double>self.rate_window_ns:
            return True
        c.rate_since = self.now
        c.rate_mark = moved
        return False
