# Whole steps of writing a cache file, each one call without the GIL: between the system calls of one step an I/O thread
# would wait for the loop's thread, and the loop's thread for it, several times in the place of once.
#
# Ownership. A Views holds the buffers of the objects that it was made from, from __cinit__ to __dealloc__; they must not
# change meanwhile. `pieces` points into them and belongs to it. No function here keeps a pointer beyond its return.
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t

from fastcache._core.net cimport iovec


cdef class Views:
    cdef Py_buffer *buffers
    cdef iovec *pieces
    cdef Py_ssize_t count
    cdef int64_t length
