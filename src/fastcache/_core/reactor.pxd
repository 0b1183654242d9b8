from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.connection cimport Connection

cdef enum:
    BUDGET_EVENTS = 64           # events taken per drain
    BUDGET_EVENTS_PARKED = 24    # ... while requests wait at the engine
    BUDGET_NS = 500000           # time spent per drain
    BUDGET_NS_PARKED = 100000
    ACCEPTS_PER_EVENT = 64
    MAX_LISTENERS = 16
    MAX_NETWORKS = 256

cdef struct Network:
    unsigned char address[16]
    int family                   # 4 or 6
    int prefix

cdef struct SlotQueue:
    uint32_t* slots              # ring of `size` slots, a power of two; owned by the reactor, freed with it
    uint32_t mask, head, tail

cdef class Reactor:
    cdef object handler
    cdef int epfd, evfd
    cdef bint armed, draining, dispatching, accepting
    cdef int[MAX_LISTENERS] listeners
    cdef int listener_count
    cdef Connection** table      # `capacity` pointers; structs are allocated at first use and kept until dealloc
    cdef uint32_t* free_slots
    cdef uint32_t capacity, free_count, used_slots
    cdef SlotQueue run, requests, writable, readable, aborted
    cdef Network* networks
    cdef int network_count
    cdef Py_ssize_t head_limit
    cdef int64_t head_ns, idle_ns, stall_ns, linger_ns, linger_bytes
    cdef int64_t now
    cdef uint32_t parked_count
    cdef uint64_t accepted, refused, closed_total, sent_total, accept_errors, timed_out

    cdef Connection* find(self, uint64_t cid) noexcept nogil
    cdef void arm(self) noexcept nogil
    cdef void enqueue_run(self, Connection* c) noexcept nogil
    cdef void accept_all(self, int listener) noexcept nogil
    cdef bint admits(self, Connection* c) noexcept nogil
    cdef void set_accepting(self, bint on) noexcept nogil
    cdef void free_connection(self, Connection* c) noexcept nogil
    cdef void lose(self, Connection* c) noexcept nogil
    cdef void step(self, Connection* c) noexcept nogil
    cdef void read_head(self, Connection* c) noexcept nogil
    cdef void discard(self, Connection* c) noexcept nogil
    cdef void advance_output(self, Connection* c) noexcept nogil
    cdef void drain_events(self) noexcept nogil
    cdef void release_output(self, Connection* c)
    cdef void dispatch(self)
    cdef object _want_read(self, Connection* c)
    cdef int _start_output(self, Connection* c)
    cdef void _call(self, method, uint64_t cid, argument)
