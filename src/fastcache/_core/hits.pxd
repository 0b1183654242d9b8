"""The hit branch: from a complete request head to an answer under a lease, without the GIL and without an object."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.connection cimport Connection
from fastcache._core.counters cimport Counters, Histogram
from fastcache._core.hit_heads cimport HitHeads
from fastcache._core.hit_log cimport HitLog
from fastcache._core.lease cimport Lease
from fastcache._core.leases cimport Leases
from fastcache._core.origins cimport Origins
from fastcache._core.recogniser cimport PlainFields, PlainRequest
from fastcache._core.sigv4 cimport Verifier

cdef enum:
    HIT_STATUSES = 5
    CLIENT_GONE = 499        # before an answer began; as engine.dispatch has it

cdef enum BeginResult:
    BEGIN_NOT_HERE  # the engine answers
    BEGIN_ANSWER    # the connection holds a lease and all that `send_answer` needs
    BEGIN_ASKED     # the connection holds a lease, and a connection to the origin on which the question is out

cdef enum Consent:
    CONSENT_NONE    # nothing has come yet
    CONSENT_GIVEN   # as BEGIN_ANSWER
    CONSENT_OTHER   # the engine goes on, with the connection to the origin if there is one still

cdef class Hits(HitHeads):
    cdef Leases leases
    cdef Counters counters
    cdef Histogram seconds, first_byte, failed_seconds, failed_first_byte
    cdef HitLog log          # None: no access log wants to know of hits
    cdef object parser       # None: the strict recogniser reads heads
    cdef object parsed       # what the parser said last: the PlainRequest made of it points into its texts
    cdef Py_ssize_t[2][5] done_slots    # [HEAD?][status]
    cdef Py_ssize_t[2][5] failed_slots
    cdef Py_ssize_t sent_slot, asked_slot, consented_slot, gone_slot
    cdef Origins origins     # None: nothing is answered that has to be proved
    cdef bint on             # hits are answered here
    cdef int max_fields
    cdef Verifier verifier   # None: whoever asks may be answered
    cdef PlainFields fields  # of the head looked at last, where signatures are checked
    cdef readonly uint64_t served, unrecognised, unleased, unverified, unready, unasked, passed_on, taken_over

    # What becomes of the request at the beginning of `available` octets at `head`: a BeginResult. The text of an answer's
    # head lies in `scratch` until the next call.
    cdef int begin(self, Connection* c, const char* head, Py_ssize_t available, int64_t now) noexcept nogil

    # Look at what the origin has answered to the connection's request: a Consent.
    cdef int consent(self, Connection* c, int64_t now) noexcept nogil

    # Account for an answer that is through (or broke off, `complete` False) and give the lease back.
    cdef void end(self, Connection* c, int64_t now, bint complete) noexcept nogil

    # Give the lease back without accounting: the engine takes the answer over, or the exchange with the origin, and will
    # account for it.
    cdef void hand_over(self, Connection* c) noexcept nogil
    cdef void withdraw(self, Connection* c) noexcept nogil

    cdef void _hold(self, Connection* c, Lease* lease) noexcept nogil
    cdef void _give_back(self, Connection* c) noexcept nogil
    cdef void _record(self, Connection* c, uint64_t total, int64_t first, int64_t sent, bint complete) noexcept nogil
    cdef Py_ssize_t _ask_parser(self, bytes octets, PlainRequest* out)
    cdef bint _decide(self, Connection* c, Lease* lease, const PlainRequest* asked) noexcept nogil
    cdef bint _at_hand(self, const Connection* c, const Lease* lease, int64_t now) noexcept nogil
    cdef int _ask(self, Connection* c, Lease* lease, const PlainRequest* asked, const char* head, int64_t now) noexcept nogil
    cdef Py_ssize_t _plain(self, const char* head, Py_ssize_t available, PlainRequest* out) noexcept nogil
