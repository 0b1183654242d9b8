from libc.stdint cimport uint64_t
from posix.types cimport off_t

from fastcache._core.net cimport iovec
from fastcache._core.shared cimport SharedMemory


cdef extern from "placing.h" nogil:
    ctypedef struct fc_guard:
        int fd
        off_t at
        uint64_t *changes
    int fc_enter(const fc_guard *guard)
    void fc_leave(const fc_guard *guard)
    int fc_mark_void(
        int root, const fc_guard *guard, const char *object, const char *directory, const char *mark, int durable,
        int *there, uint64_t *changes,
    )
    int fc_write_whole(
        int root, const char *part, const iovec *header, const iovec *views, size_t count, off_t offset, uint64_t unit,
        int durable,
    )
    int fc_put_in_place(
        int root, const fc_guard *guard, const char *part, const char *target, int clear, uint64_t *before
    )


# The descriptor stays its maker's, and open as long as this is used.
cdef class Guards:
    cdef int fd
    cdef SharedMemory memory

    cdef int guard(self, bytes digest, fc_guard *made) except -1
