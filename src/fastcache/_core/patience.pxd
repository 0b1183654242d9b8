from fastcache._core.connection cimport Connection
from fastcache._core.proving cimport ProvingTable

cdef class PatientTable(ProvingTable):
    cdef bint drained_meanwhile(self, Connection* c) noexcept nogil
    cdef bint is_too_slow(self, Connection* c) noexcept nogil
