"""The hit branch: from a complete request head to an answer under a lease, without the GIL and without an object."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.connection cimport Connection
from fastcache._core.counters cimport Counters, Histogram
from fastcache._core.hit_log cimport HitLog
from fastcache._core.lease cimport Lease
from fastcache._core.leases cimport Leases
from fastcache._core.recogniser cimport PlainFields, PlainRequest
from fastcache._core.sigv4 cimport Verifier

cdef enum:
    SCRATCH_BYTES = 16384    # a rendered head with its stored fields, or an error with its body
    HIT_STATUSES = 5

cdef struct ErrorText:
    # An error's XML around the three texts that differ: resource, request id, request id. Owned by Hits.
    char* text
    Py_ssize_t resource, first_id, second_id, length

cdef class Hits:
    cdef Leases leases
    cdef Counters counters
    cdef Histogram seconds, first_byte, failed_seconds, failed_first_byte
    cdef HitLog log          # None: no access log wants to know of hits
    cdef object parser       # None: the strict recogniser reads heads
    cdef object parsed       # what the parser said last: the PlainRequest made of it points into its texts
    cdef Py_ssize_t[2][5] done_slots    # [HEAD?][status]
    cdef Py_ssize_t[2][5] failed_slots
    cdef Py_ssize_t sent_slot
    cdef bint on             # hits are answered here
    cdef int max_fields
    cdef Verifier verifier   # None: whoever asks may be answered
    cdef PlainFields fields  # of the head looked at last, where signatures are checked
    cdef int64_t boot, wall  # CLOCK_BOOTTIME and CLOCK_REALTIME ns of the present turn
    cdef int64_t date_second
    cdef char[32] date       # of `date_second`, as Date shows it
    cdef uint64_t random     # state of the request ids
    cdef ErrorText[2] errors # 412, 416
    cdef char[SCRATCH_BYTES] scratch
    cdef readonly uint64_t served, unrecognised, unleased, unverified, unready, taken_over

    # Read the clocks that answers need; once per turn of the loop.
    cdef void begin_turn(self) noexcept nogil

    # Whether the request at the beginning of `available` octets at `head` is answered here. If so the connection holds a
    # lease and all that `send_answer` needs; its head text lies in `scratch` until the next call.
    cdef bint begin(self, Connection* c, const char* head, Py_ssize_t available, int64_t now) noexcept nogil

    # Account for an answer that is through (or broke off, `complete` False) and give the lease back.
    cdef void end(self, Connection* c, int64_t now, bint complete) noexcept nogil

    # Give the lease back without accounting: the engine takes the answer over, and will account for it.
    cdef void hand_over(self, Connection* c) noexcept nogil

    cdef void _give_back(self, Connection* c) noexcept nogil
    cdef void _record(self, Connection* c, uint64_t total, int64_t first, int64_t sent, bint complete) noexcept nogil
    cdef uint64_t _next_id(self) noexcept nogil
    cdef Py_ssize_t _ask_parser(self, bytes octets, PlainRequest* out)

    cdef Py_ssize_t _answer(self, Connection* c, Lease* lease, const PlainRequest* asked) noexcept nogil
    cdef Py_ssize_t _render(self, Connection* c, Lease* lease, bint checksums, bint ranged) noexcept nogil
    cdef Py_ssize_t _render_error(self, Connection* c, Lease* lease) noexcept nogil
    cdef char* _put_ids(self, char* at, uint64_t request_id) noexcept nogil
    cdef char* _put_date(self, char* at) noexcept nogil
    cdef Py_ssize_t _plain(self, const char* head, Py_ssize_t available, PlainRequest* out) noexcept nogil
