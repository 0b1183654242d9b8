from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.balance cimport Balance
from fastcache._core.connection cimport Connection
from fastcache._core.hits cimport Hits
from fastcache._core.slots cimport SlotQueue

cdef enum:
    ACCEPTS_PER_EVENT = 64
    MAX_LISTENERS = 16
    MAX_NETWORKS = 256

cdef enum EventMark:
    # Epoll data that is no connection id: a generation of all ones is never given to a connection. EVENT_ORIGIN is a third
    # kind, with bit 31 set (origins.pxd).
    EVENT_LISTENER = 0xFFFFFFFF00000000
    EVENT_WAKE = 0xFFFFFFFFFFFFFFFF

cdef struct Network:
    unsigned char address[16]
    int family                   # 4 or 6
    int prefix

cdef class ConnectionTable:
    cdef object handler
    cdef Balance balance         # None: every connection that we accept is ours
    cdef Hits hits               # None: every request is the engine's
    cdef int epfd, evfd
    cdef bint armed, draining, dispatching, accepting
    cdef int[MAX_LISTENERS] listeners
    cdef int listener_count
    cdef Connection** table      # `capacity` pointers; structs are allocated at first use and kept until dealloc
    cdef uint32_t* free_slots
    cdef uint32_t capacity, free_count, used_slots
    cdef uint32_t limit          # max_connections; the slots beyond it are for telling more clients so
    cdef SlotQueue run, requests, writable, readable, aborted
    cdef Network* networks       # owned; `network_count` of them
    cdef int network_count
    cdef Py_ssize_t head_limit
    cdef int64_t head_ns, idle_ns, stall_ns, linger_ns, linger_bytes, half_closed_ns, min_rate, rate_window_ns
    cdef int64_t now             # CLOCK_MONOTONIC ns of the present turn
    cdef uint32_t parked_count, answering_count
    cdef uint64_t accepted, refused, closed_total, sent_total, accept_errors, timed_out

    cdef void _close_descriptors(self) noexcept
    cdef Connection* find(self, uint64_t cid) noexcept nogil
    cdef void arm(self) noexcept nogil
    cdef void enqueue_run(self, Connection* c) noexcept nogil
    cdef void set_accepting(self, bint on) noexcept nogil
    cdef void free_connection(self, Connection* c) noexcept nogil
    cdef void lose(self, Connection* c) noexcept nogil
