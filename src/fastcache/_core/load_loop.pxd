from libc.stdint cimport int64_t, uint32_t

from fastcache._core.load_peer cimport Peer, Turn
from fastcache._core.load_task cimport TaskState

cdef enum Outcome:
    DONE      # every answer that was asked for is there
    BROKEN    # connections ended and are wanted again
    PAUSE     # time to look at signals
    STALLED   # no byte came for too long
    POLLING   # epoll failed; errno says why

# One task of a run, and the connections that do it: peers [first, first + size).
cdef struct Part:
    TaskState* task
    uint32_t first, size
    uint32_t cursor           # where the search for a free connection goes on

cdef class LoadLoop:
    # All memory is the Load's, which makes and frees it.
    cdef int epfd
    cdef Peer* peers
    cdef uint32_t* queue      # peers to be served; room for all
    cdef uint32_t queue_count
    cdef uint32_t* broken     # peers of this run whose connection ended; room for all
    cdef uint32_t broken_count
    cdef Turn turn
    cdef Part* parts
    cdef uint32_t part_count
    cdef bint spinning, paced, idled
    cdef int64_t deadline, stall, idle

    cdef Outcome loop(self) noexcept nogil
    cdef void enqueue(self, Peer* peer) noexcept nogil
    cdef bint _is_due(self) noexcept nogil
    cdef bint _is_over(self) noexcept nogil
    cdef int _poll(self) noexcept nogil
    cdef int _timeout(self) noexcept nogil
    cdef int64_t _until_due(self) noexcept nogil
    cdef void _note(self, uint32_t slot, uint32_t flags) noexcept nogil
    cdef void _serve(self, Peer* peer) noexcept nogil
    cdef void _break(self, Peer* peer) noexcept nogil
    cdef void _keep_pace(self) noexcept nogil
    cdef Peer* _free_peer(self, Part* part) noexcept nogil
