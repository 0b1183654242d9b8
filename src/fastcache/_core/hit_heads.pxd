"""Heads of the hit branch's answers, rendered from a lease's blocks. Without the GIL and without an object."""
from libc.stdint cimport int64_t, uint64_t
from posix.time cimport clock_gettime, timespec

from fastcache._core.connection cimport Connection
from fastcache._core.lease cimport Lease
from fastcache._core.not_modified cimport Proof

cdef extern from "<time.h>" nogil:
    enum: CLOCK_BOOTTIME
    enum: CLOCK_REALTIME_COARSE

cdef enum:
    NS = 1000000000
    SCRATCH_BYTES = 16384    # a rendered head with its stored fields, or an error with its body

cdef struct ErrorText:
    # An error's XML around the three texts that differ: resource, request id, request id. Owned by HitHeads.
    char* text
    Py_ssize_t resource, first_id, second_id, length

cdef class HitHeads:
    cdef int64_t boot, wall  # CLOCK_BOOTTIME and CLOCK_REALTIME ns of the present turn
    cdef int64_t date_second
    cdef char[32] date       # of `date_second`, as Date shows it
    cdef uint64_t random     # state of the request ids
    cdef ErrorText[2] errors # 412, 416
    cdef char[SCRATCH_BYTES] scratch

    # Read the clocks that answers need; once per turn of the loop.
    cdef void begin_turn(self) noexcept nogil

    # Each gives the connection a request id, writes its head to `scratch` and returns the length; 0: the engine has to.
    cdef Py_ssize_t render(self, Connection* c, Lease* lease) noexcept nogil
    cdef Py_ssize_t render_proved(self, Connection* c, Lease* lease, const Proof* proof) noexcept nogil
    cdef Py_ssize_t render_error(self, Connection* c, Lease* lease) noexcept nogil

    cdef char* _put_ids(self, char* at, uint64_t request_id) noexcept nogil
    cdef char* _put_date(self, char* at) noexcept nogil
    cdef uint64_t _next_id(self) noexcept nogil


cdef inline int64_t clock_ns(int clock) noexcept nogil:
    cdef timespec t
    clock_gettime(<int>clock, &t)
    return <int64_t>t.tv_sec * NS + t.tv_nsec
