from libc.stdint cimport uint64_t


cdef extern from "residency.h" nogil:
    enum: FC_BY_CACHESTAT
    enum: FC_BY_READ
    int fc_resident(int fd, uint64_t offset, uint64_t length, int *ways)
