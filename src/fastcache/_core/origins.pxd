"""Connections to the origin that the pool has lent to the hit branch, and what is under way on them."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.ordering cimport Numbers
from fastcache._core.origin cimport Origin

cdef enum:
    REQUEST_BYTES = 16384    # of a request to the origin; longer ones are the engine's
    ANSWER_BYTES = 16384     # received at once; what is longer is no plain 304
    SURPLUS_NS = 1000000000  # that surplus idle connections are kept
    EVENT_ORIGIN = 0xFFFFFFFF80000000  # epoll data of a lent connection, with its slot; see table.EventMark

cdef class Origins:
    cdef Numbers numbers
    cdef Origin** table      # `capacity` pointers; structs are allocated at first use and kept until dealloc
    cdef uint32_t capacity, used_slots, free_count, idle_count, ended_count
    cdef uint32_t* free_slots
    cdef uint32_t* idle      # slots, the one used last at the end
    cdef uint32_t* ended
    cdef uint32_t most_idle, beside
    cdef uint32_t wanted     # requests that found no idle one, less what was lent since
    cdef uint32_t owed       # connections that the pool wants back as soon as they are idle
    cdef int epfd            # the reactor's; -1 before and after its life
    cdef int64_t idle_ns
    cdef char[REQUEST_BYTES] request
    cdef char[ANSWER_BYTES] answer

    cdef void attach(self, int epfd) noexcept
    cdef void detach(self) noexcept
    cdef Origin* at(self, uint64_t mark) noexcept nogil

    # An idle connection on which `length` octets of `request` went out, or the first of them (`unsent` then); NULL when
    # there is none.
    cdef Origin* ask(self, uint32_t client, Py_ssize_t length, int64_t now, int64_t boot) noexcept nogil

    # What has come, in `answer`: its length, 0 for nothing yet, -1 when the connection ended or failed.
    cdef Py_ssize_t receive(self, Origin* origin) noexcept nogil

    # The exchange is through: idle again, or given back where the pool has a better use for it.
    cdef void release(self, Origin* origin, int64_t now) noexcept nogil

    # Nobody waits for the answer any more, or the connection is of no use: the pool gets it back, to drop it.
    cdef void give_up(self, Origin* origin) noexcept nogil

    # Keep octets for the engine, which goes on with the exchange; False when there is no memory.
    cdef bint keep(self, Origin* origin, const char* octets, Py_ssize_t length, bint unsent) noexcept nogil

    # The engine goes on with the exchange: the slot is free, and what was kept forgotten.
    cdef void hand_over(self, Origin* origin) noexcept nogil

    cdef void _rest(self, Origin* origin, int64_t now) noexcept nogil
    cdef void expire(self, int64_t now) noexcept nogil
    cdef void _leave(self, Origin* origin) noexcept nogil
    cdef void _free(self, Origin* origin) noexcept nogil
    cdef void _forget_idle(self, uint32_t slot) noexcept nogil
