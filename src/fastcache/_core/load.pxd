from libc.stdint cimport uint32_t

from fastcache._core.load_loop cimport LoadLoop, Part
from fastcache._core.load_peer cimport Peer
from fastcache._core.load_task cimport Task

cdef class Load(LoadLoop):
    cdef uint32_t count, capacity
    cdef list _crowds         # (opener, first peer, number of peers)
    cdef list _tasks          # of the run: what `parts` points into
    cdef bint running

    cdef int _connect(self, Peer* peer) except -1
    cdef int _begin(self, tasks) except -1
    cdef int _begin_part(self, Part* part, Task task) except -1
    cdef void _end(self) noexcept
