from libc.stdint cimport int64_t, uint64_t

from fastcache._core.connection cimport Connection
from fastcache._core.streams cimport ConnectionStreams

cdef enum:
    BUDGET_EVENTS = 64           # events taken per drain
    BUDGET_EVENTS_PARKED = 24    # ... while requests wait at the engine
    BUDGET_NS = 500000           # time spent per drain
    BUDGET_NS_PARKED = 100000

cdef class Reactor(ConnectionStreams):
    cdef void step(self, Connection* c) noexcept nogil
    cdef void read_head(self, Connection* c) noexcept nogil
    cdef void discard(self, Connection* c) noexcept nogil
    cdef void advance_output(self, Connection* c) noexcept nogil
    cdef void drain_events(self) noexcept nogil
    cdef void dispatch(self)
    cdef void _hand_over(self)
    cdef void _hand_over_answer(self, Connection* c, uint64_t cid, bytes head, Py_ssize_t end)
    cdef void _call(self, method, uint64_t cid, argument)
