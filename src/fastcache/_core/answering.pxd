from fastcache._core.connection cimport Connection
from fastcache._core.accepting cimport Accepting

cdef enum:
    PATIENCE_NS = 1000000000     # an origin that takes longer to answer is waited for by the engine
    CORKED_FROM = 262144         # bytes of a body that takes several calls
    ANSWERS_PER_TURN = 16        # pipelined requests of one connection answered before others have their turn

cdef class AnsweringTable(Accepting):
    # True when the request at `rpos` was answered by the hit branch and the connection is free for its next one. Else its
    # state says who goes on: ANSWERING, PROVING (the origin was asked), PARKED (the engine), FREE, or still HEAD when the
    # hit branch does not answer what there is.
    cdef bint answer(self, Connection* c) noexcept nogil

    # Send what can be sent of an answer under way; returns as `answer` does.
    cdef bint advance_answer(self, Connection* c) noexcept nogil

    cdef void begin_sending(self, Connection* c) noexcept nogil

    # Make the request at `rpos` the engine's, `end` being the index after its head (0: the head is over the limit).
    cdef void park(self, Connection* c, Py_ssize_t end) noexcept nogil
    cdef bint _keep_head(self, Connection* c) noexcept nogil
    cdef void reset(self, Connection* c) noexcept nogil
