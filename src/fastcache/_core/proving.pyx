"""Connections for which the hit branch has asked the origin: the state between a lease found and the right to use it."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t

from fastcache._core.connection cimport ANSWERING, Connection, monotonic_ns
from fastcache._core.hits cimport CONSENT_GIVEN, CONSENT_NONE
from fastcache._core.origin cimport ORIGIN_ASKED, ORIGIN_IDLE, Origin
from fastcache._core.slots cimport queue_push

from typing import NamedTuple


class Question(NamedTuple):
    """What the engine needs to go on with a request that is with the origin already.

    ``origin`` is the number under which the connection was lent. ``kept`` are octets that have come of the answer or,
    where ``unsent``, the end of the request, which is still to be sent. ``etag`` is our If-None-Match. ``token``
    (epoch and fences), ``number`` and ``at`` (CLOCK_BOOTTIME seconds) were taken before the request was sent;
    ``seconds`` ago its head was complete.
    """

    origin: int
    kept: bytes
    unsent: bool
    etag: bytes
    token: tuple[int, int, int]
    number: int
    at: float
    seconds: float


cdef class ProvingTable(AnsweringTable):
    """What the reactor does with a request that a lease answers once the origin has said that it may."""

    def __cinit__(self, *args, **kwargs):
        if self.hits is not None and self.hits.origins is not None:
            self.hits.origins.attach(self.epfd)

    cdef void origin_event(self, uint64_t mark) noexcept nogil:
        cdef Origin* origin = self.hits.origins.at(mark)
        if origin == NULL:
            return
        if origin.state == ORIGIN_ASKED:
            queue_push(&self.run, self.table[origin.client])
        elif origin.state == ORIGIN_IDLE:
            self.hits.origins.give_up(origin)  # its end, or bytes that nobody asked for

    cdef bint advance_proof(self, Connection* c) noexcept nogil:
        cdef int consent = self.hits.consent(c, self.now)
        if consent == CONSENT_NONE:
            return False
        if consent == CONSENT_GIVEN:
            c.state = ANSWERING
            self.begin_sending(c)
            return self.advance_answer(c)
        self.pass_on(c)
        return False

    cdef void pass_on(self, Connection* c) noexcept nogil:
        self.answering_count -= 1
        self.park(c, c.rpos + c.asked)
        if not c.eof:
            return
        # The edge that tells of a client which sends no more is gone by.
        if self.half_closed_ns:
            c.deadline = self.now + self.half_closed_ns
        else:
            self.lose(c)

    cdef object take_question(self, Connection* c):
        """What the engine needs to go on; the lease and the connection to the origin are given back. None: nothing is
        under way."""
        cdef Origin* origin = c.origin
        question = None
        if origin != NULL:
            question = Question(
                origin.slot,
                PyBytes_FromStringAndSize(origin.kept, origin.kept_length),
                bool(origin.unsent),
                PyBytes_FromStringAndSize(c.lease.etag.text, c.lease.etag.length),
                (self.hits.leases.fences.epoch, c.lease.object_value, c.lease.bucket_value),
                origin.number,
                origin.boot / 1e9,
                (monotonic_ns() - c.began) / 1e9,
            )
            self.hits.origins.hand_over(origin)
            c.origin = NULL
        self.hits.withdraw(c)
        return question
