from libc.stdint cimport uint64_t


cdef extern from "residency.h" nogil:
    enum: FC_BY_CACHESTAT
    enum: FC_BY_READ
    int fc_resident(int fd, uint64_t offset, uint64_t length, int *ways)


# `resident` for compiled callers; an error is "not resident": whoever reads it next meets the error and reports it.
cdef bint is_resident(int fd, uint64_t offset, uint64_t length) noexcept nogil
