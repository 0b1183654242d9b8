from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint64_t

# Bytes that an answer's body must have: those of a buffer as they are, or a table that repeats through the object with
# a stamp at the head of every block. The pointers are good as long as the Expected they are from.
cdef struct Content:
    const unsigned char* data
    int64_t size              # bytes of the buffer; of a table: after how many it repeats
    int64_t rotation          # where in the table the object begins
    uint64_t salt             # the stamp of block n is salt + n, little-endian
    int64_t block             # bytes between two stamps; 0: no table, the buffer is the object
    int64_t stamp             # bytes of a stamp


cdef int64_t first_difference(const Content* content, int64_t offset, const unsigned char* got, int64_t length) noexcept nogil


cdef class Expected:
    cdef Content content
    cdef Py_buffer view
    cdef bint held

    cdef int _hold(self, object data) except -1


cdef class ExpectedBytes(Expected):
    pass


cdef class ExpectedPattern(Expected):
    pass
