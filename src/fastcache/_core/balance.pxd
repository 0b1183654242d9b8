# Which worker a new connection goes to. The kernel spreads connections over the workers' sockets by a hash, which is
# uneven while there are few of them; a worker that has more than its share hands a new one on.
#
# Ownership. Keeps the shared memory, and so the cells that it points to. All calls are made on the loop's thread.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.shared cimport SharedMemory


cdef class Balance:
    cdef SharedMemory memory
    cdef Py_ssize_t place
    cdef uint64_t listening      # the slot whose connections we accept, and 1
    cdef uint32_t published

    cdef void publish(self, uint32_t connections) noexcept nogil
    cdef void hand(self, Py_ssize_t place) noexcept nogil
    cdef Py_ssize_t better_place(self, uint32_t connections) noexcept nogil
    cdef int64_t underway(self, Py_ssize_t place) noexcept nogil
    cdef int64_t load_of(self, Py_ssize_t place) noexcept nogil
