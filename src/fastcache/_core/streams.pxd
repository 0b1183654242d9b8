from libc.stdint cimport int64_t, uint64_t

from fastcache._core.connection cimport Connection
from fastcache._core.patience cimport PatientTable

cdef class ConnectionStreams(PatientTable):
    cdef Connection* with_engine(self, uint64_t cid) noexcept nogil
    cdef object _want_read(self, Connection* c)
    cdef int _start_output(self, Connection* c)
    cdef void wait_on(self, Connection* c) noexcept nogil
