from libc.stdint cimport uint64_t

from fastcache._core.answering cimport AnsweringTable
from fastcache._core.connection cimport Connection

cdef class ProvingTable(AnsweringTable):
    # Something happened on a connection to the origin: the client it belongs to has its turn.
    cdef void origin_event(self, uint64_t mark) noexcept nogil

    # Look at what the origin has answered, and answer if it consents; returns as `answer` does.
    cdef bint advance_proof(self, Connection* c) noexcept nogil

    # The engine goes on with the exchange, whatever has come of it.
    cdef void pass_on(self, Connection* c) noexcept nogil
    cdef object take_question(self, Connection* c)
