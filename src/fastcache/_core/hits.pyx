"""The hit branch: GET and HEAD answered from leases. DESIGN section 5.

It recognises the head, finds a lease by Host and path, asks whether its time and its fences hold, evaluates conditions
and range with the same code as the engine, and renders the head from blocks that were made when the lease was. What it
cannot do it leaves to the engine before a byte was sent: that is never an error and costs the look only. The one thing
that can happen later is that bytes in the middle of a large body have left memory: the engine then goes on with the body
(``PUMP_FILE``).
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from fastcache._core.conditions cimport NOT_MODIFIED, PRECONDITION_FAILED, evaluate_preconditions, field_value, if_range_holds
from fastcache._core.connection cimport release_kept_head
from fastcache._core.dates cimport HTTP_DATE_LENGTH, write_http_date
from fastcache._core.hit_log cimport HitRecord
from fastcache._core.lease cimport lease_holds
from fastcache._core.ranges cimport ByteRange, parse_range, resolve_range
from fastcache._core.recogniser cimport recognise
from fastcache._core.sending cimport count_uses, is_covered
from fastcache._core.sigv4 cimport Verifier
from fastcache._core.texts cimport put, put_id, put_number

import os

cdef extern from "<time.h>" nogil:
    enum: CLOCK_BOOTTIME
    enum: CLOCK_REALTIME_COARSE

cdef enum:
    NS = 1000000000

STATUSES = (200, 206, 304, 412, 416)
"""The statuses of the hit branch, in the order of the counters' slots."""


cdef inline int status_index(int status) noexcept nogil:
    return 0 if status == 200 else 1 if status == 206 else 2 if status == 304 else 3 if status == 412 else 4


cdef inline int64_t clock_ns(int clock) noexcept nogil:
    cdef timespec t
    clock_gettime(<int>clock, &t)
    return <int64_t>t.tv_sec * NS + t.tv_nsec


cdef class Hits:
    """Answers of one reactor.

    ``counters`` and the four histograms (of hits, then of answers that broke off: seconds and seconds to the first byte)
    are the metrics' own; ``done_slots`` and ``failed_slots`` hold a slot for GET and for HEAD with each of STATUSES,
    ``sent_slot`` that of sent body bytes. ``errors`` are for 412 and 416: XML with the resource, the request id and
    again the request id cut out (four pieces). ``parser`` replaces the recogniser: a callable that gets a head and
    returns None or the tuple of ``protocol.plain``; it needs the GIL and is for tests and comparison. With a ``verifier``
    a lease is for those only whose signature it has checked, on this very request, and who have a grant.
    """

    def __cinit__(
        self, Leases leases not None, Counters counters not None, histograms, done_slots, failed_slots,
        Py_ssize_t sent_slot, errors, *, HitLog log=None, parser=None, int max_fields=100, Verifier verifier=None,
    ):
        cdef int i, j
        self.leases = leases
        self.counters = counters
        self.seconds, self.first_byte, self.failed_seconds, self.failed_first_byte = histograms
        if self.seconds is None or self.first_byte is None or self.failed_seconds is None or self.failed_first_byte is None:
            raise TypeError("a histogram is missing")
        self.log = log
        self.parser = parser
        self.verifier = verifier
        self.max_fields = max_fields
        self.sent_slot = sent_slot
        for i in range(2):
            for j in range(HIT_STATUSES):
                self.done_slots[i][j] = done_slots[i][j]
                self.failed_slots[i][j] = failed_slots[i][j]
                if not 0 <= self.done_slots[i][j] < counters.size or not 0 <= self.failed_slots[i][j] < counters.size:
                    raise IndexError("a slot outside the counters")
        if not 0 <= sent_slot < counters.size:
            raise IndexError("a slot outside the counters")
        for i in range(2):
            self._take_error(i, errors[i])
        seed = os.urandom(8)
        memcpy(&self.random, <const char*>seed, 8)
        self.date_second = -1
        self.on = True
        self.begin_turn()

    def __dealloc__(self):
        free(self.errors[0].text)
        free(self.errors[1].text)

    def _take_error(self, int which, pieces):
        cdef bytes text = b"".join(pieces)
        cdef ErrorText* error = &self.errors[which]
        before, between, after, end = pieces
        if len(text) > SCRATCH_BYTES // 2:
            raise ValueError("an error's text is too long")
        error.text = <char*>malloc(len(text) + 1)
        if error.text == NULL:
            raise MemoryError
        memcpy(error.text, <const char*>text, len(text))
        error.resource = len(before)
        error.first_id = error.resource + len(between)
        error.second_id = error.first_id + len(after)
        error.length = len(text)

    def switch(self, bint on):
        """Switch the branch on or off; what is under way goes on. Off, every request is the engine's."""
        self.on = on

    def outcomes(self):
        """How many requests fared how, by words for metrics."""
        return {
            "answered": self.served,
            "not_recognised": self.unrecognised,
            "not_leased": self.unleased,
            "not_verified": self.unverified,
            "not_ready": self.unready,
            "taken_over": self.taken_over,
        }

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef void begin_turn(self) noexcept nogil:
        self.boot = clock_ns(CLOCK_BOOTTIME)
        self.wall = clock_ns(CLOCK_REALTIME_COARSE)

    cdef bint begin(self, Connection* c, const char* head, Py_ssize_t available, int64_t now) noexcept nogil:
        cdef PlainRequest asked
        cdef Lease* lease
        cdef Py_ssize_t length, rendered
        if not self.on or not c.allowed or c.surplus:
            return False
        length = self._plain(head, available, &asked)
        if not length:
            self.unrecognised += 1
            return False
        lease = self.leases.find(asked.host, asked.path)
        if lease == NULL or not lease_holds(lease, self.boot):
            self.unleased += 1
            return False
        if self.boot - lease.proved_at >= (lease.head_ttl if asked.is_head else lease.get_ttl):
            self.unleased += 1
            return False
        if self.verifier is not None and not self.verifier.admits(&asked, &self.fields, lease, self.wall):
            self.unverified += 1
            return False
        c.began = now
        rendered = self._answer(c, lease, &asked)
        if not rendered:
            self.unready += 1
            return False
        if self.log is not None and not self.log.reserve(length):
            return False
        lease.refs += 1
        lease.used = 1
        c.lease = lease
        c.asked = length
        c.head_at = self.scratch
        c.head_left = rendered
        c.first_byte = 0
        return True

    cdef Py_ssize_t _plain(self, const char* head, Py_ssize_t available, PlainRequest* out) noexcept nogil:
        cdef Py_ssize_t length
        if self.parser is None or self.verifier is not None:
            length = recognise(head, available, self.max_fields, out, NULL if self.verifier is None else &self.fields)
            if self.parser is None or not length:
                return length
        with gil:
            try:
                return self._ask_parser(head[:available], out)
            except Exception:  # as if it had not been recognised: the engine reads the head, and reports
                return 0

    cdef Py_ssize_t _ask_parser(self, bytes octets, PlainRequest* out):
        """What ``parser`` says of the first head in ``octets``. Its texts are kept until the next one is asked for."""
        head, end, _ = octets.partition(b"\r\n\r\n")
        self.parsed = self.parser(head + end) if end else None
        if self.parsed is None:
            return 0
        (
            is_head, host, path, range_, if_range, if_match, if_none_match, if_modified_since, if_unmodified_since, mode
        ) = self.parsed
        out.is_head = is_head
        out.host = field_value(host)
        out.path = field_value(path)
        out.range = field_value(range_)
        out.if_range = field_value(if_range)
        out.conditions.if_match = field_value(if_match)
        out.conditions.if_none_match = field_value(if_none_match)
        out.conditions.if_modified_since = field_value(if_modified_since)
        out.conditions.if_unmodified_since = field_value(if_unmodified_since)
        out.checksum_mode = mode
        return len(head) + len(end)

    cdef Py_ssize_t _answer(self, Connection* c, Lease* lease, const PlainRequest* asked) noexcept nogil:
        """Decide status and interval as ``policy.local_answer`` does, and render; 0: the engine has to answer."""
        cdef ByteRange spec
        cdef int64_t start = 0, end = lease.size
        cdef int verdict, ranges
        cdef bint ranged = False
        c.is_head = asked.is_head
        c.status = 200
        if asked.is_head and (asked.range.text != NULL or (asked.checksum_mode and not lease.checksums_known)):
            return 0
        verdict = evaluate_preconditions(True, lease.etag, lease.last_modified, &asked.conditions)
        if verdict == NOT_MODIFIED or verdict == PRECONDITION_FAILED:
            c.status = <uint32_t>verdict
            end = 0
        elif asked.range.text != NULL and (
            asked.if_range.text == NULL or if_range_holds(asked.if_range, lease.etag, lease.last_modified)
        ):
            ranges = parse_range(asked.range.text, asked.range.length, &spec)
            if ranges > 1:
                return 0
            if ranges == 1:
                ranged = True
                c.status = 206
                if not resolve_range(&spec, lease.size, &start, &end):
                    c.status = 416
                    start = end = 0
        c.body_start = c.body_at = start
        c.body_end = start if asked.is_head else end
        c.head_body = 0
        if c.body_at < c.body_end and lease.memo == NULL:
            if not is_covered(lease, start, end, <uint32_t>(c.began // 1000000)):
                return 0
        if not asked.is_head:
            count_uses(lease, start, end)
        if c.status == 412 or c.status == 416:
            return self._render_error(c, lease)
        return self._render(c, lease, asked.checksum_mode, ranged)

    cdef char* _put_ids(self, char* at, uint64_t request_id) noexcept nogil:
        at = put(at, b"x-amz-request-id: ", 18)
        at = put_id(at, request_id)
        at = put(at, b"\r\nx-amz-id-2: fastcache/", 24)
        at = put(at, at - 40, 16)  # the id once more
        return put(at, b"\r\n", 2)

    cdef char* _put_date(self, char* at) noexcept nogil:
        cdef int64_t second = self.wall // NS
        if second != self.date_second:
            write_http_date(second, self.date)
            self.date_second = second
        at = put(at, b"Date: ", 6)
        at = put(at, self.date, HTTP_DATE_LENGTH)
        return put(at, b"\r\n", 2)

    cdef uint64_t _next_id(self) noexcept nogil:
        """Steele, Lea and Flood's SplitMix64: an id names a request in logs and is no secret."""
        cdef uint64_t mixed
        self.random += <uint64_t>0x9E3779B97F4A7C15
        mixed = self.random
        mixed = (mixed ^ (mixed >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
        mixed = (mixed ^ (mixed >> 27)) * <uint64_t>0x94D049BB133111EB
        return mixed ^ (mixed >> 31)

    cdef Py_ssize_t _render(self, Connection* c, Lease* lease, bint checksums, bint ranged) noexcept nogil:
        """A head of 200, 206 or 304, its fields in the order in which the engine writes them."""
        cdef char* at = self.scratch
        cdef int64_t age = self.boot - lease.proved_at
        cdef int64_t left = (lease.head_ttl if c.is_head else lease.get_ttl) - age
        if c.status == 200:
            at = put(at, b"HTTP/1.1 200 OK\r\n", 17)
        elif c.status == 206:
            at = put(at, b"HTTP/1.1 206 Partial Content\r\n", 30)
        else:
            at = put(at, b"HTTP/1.1 304 Not Modified\r\n", 27)
        if c.status == 304:
            at = put(at, lease.not_modified.text, lease.not_modified.length)
        else:
            at = put(at, lease.headers.text, lease.headers.length)
            if checksums and c.status == 200:
                at = put(at, lease.checksums.text, lease.checksums.length)
        c.request_id = self._next_id()
        at = self._put_ids(at, c.request_id)
        at = put(at, b"Age: ", 5)
        at = put_number(at, <uint64_t>(age // NS) if age > 0 else 0)
        at = put(at, b"\r\n", 2)
        if ranged:
            at = put(at, b"Content-Range: bytes ", 21)
            at = put_number(at, <uint64_t>c.body_start)
            at = put(at, b"-", 1)
            at = put_number(at, <uint64_t>(c.body_end - 1))
            at = put(at, b"/", 1)
            at = put_number(at, <uint64_t>lease.size)
            at = put(at, b"\r\n", 2)
        if c.status != 304:
            at = put(at, b"Content-Length: ", 16)
            at = put_number(at, <uint64_t>(c.body_end - c.body_start if not c.is_head else lease.size))
            at = put(at, b"\r\n", 2)
        at = self._put_date(at)
        at = put(at, b"Cache-Status: fastcache; hit; ttl=", 34)
        at = put_number(at, <uint64_t>(left // NS) if left > 0 else 0)
        at = put(at, b"\r\nX-Cache: HIT\r\n\r\n", 18)
        return at - self.scratch

    cdef Py_ssize_t _render_error(self, Connection* c, Lease* lease) noexcept nogil:
        """412 or 416 with its XML, in one text."""
        cdef ErrorText* error = &self.errors[0 if c.status == 412 else 1]
        cdef char* at = self.scratch
        cdef Py_ssize_t length
        if lease.resource.length < 0:
            return 0
        length = error.length + lease.resource.length + 32
        if c.status == 412:
            at = put(at, b"HTTP/1.1 412 Precondition Failed\r\n", 34)
        else:
            at = put(at, b"HTTP/1.1 416 Range Not Satisfiable\r\n", 36)
        at = put(at, b"Content-Type: application/xml\r\nContent-Length: ", 47)
        at = put_number(at, <uint64_t>length)
        at = put(at, b"\r\n", 2)
        c.request_id = self._next_id()
        at = self._put_ids(at, c.request_id)
        at = self._put_date(at)
        if c.status == 416:
            at = put(at, b"Content-Range: bytes */", 23)
            at = put_number(at, <uint64_t>lease.size)
            at = put(at, b"\r\n", 2)
        at = put(at, b"Cache-Status: fastcache; hit\r\nX-Cache: HIT\r\n\r\n", 46)
        if c.is_head:
            return at - self.scratch
        at = put(at, error.text, error.resource)
        at = put(at, lease.resource.text, lease.resource.length)
        at = put(at, error.text + error.resource, error.first_id - error.resource)
        at = put_id(at, c.request_id)
        at = put(at, error.text + error.first_id, error.second_id - error.first_id)
        at = put_id(at, c.request_id)
        at = put(at, error.text + error.second_id, error.length - error.second_id)
        c.head_body = length
        return at - self.scratch

    cdef void end(self, Connection* c, int64_t now, bint complete) noexcept nogil:
        cdef int which = status_index(c.status)
        cdef uint64_t total = <uint64_t>(now - c.began)
        cdef uint64_t first = <uint64_t>(c.first_byte - c.began) if c.first_byte else total
        cdef int64_t sent = c.body_at - c.body_start + (c.head_body if not c.head_left else 0)
        cdef bint anything = complete or c.first_byte != 0
        if complete:
            self.served += 1
            self.counters.bump(self.done_slots[c.is_head][which], 1)
            self.seconds.record_ns(total)
            self.first_byte.record_ns(first)
        else:
            self.counters.bump(self.failed_slots[c.is_head][which], 1)
            self.failed_seconds.record_ns(total)
            if anything:
                self.failed_first_byte.record_ns(first)
        if sent:
            self.counters.bump(self.sent_slot, sent)
        if self.log is not None:
            if self.log.only_failures and complete and c.status < 400:
                self.log.cancel(c.asked)
            else:
                self._record(c, total, <int64_t>first if anything else -1, sent, complete)
        self._give_back(c)

    cdef void _record(self, Connection* c, uint64_t total, int64_t first, int64_t sent, bint complete) noexcept nogil:
        cdef HitRecord record
        memset(&record, 0, sizeof(record))
        record.wall = clock_ns(CLOCK_REALTIME)
        record.total = <int64_t>total
        record.first_byte = first
        record.sent = sent
        record.size = c.lease.size
        record.request_id = c.request_id
        record.head_length = <uint32_t>c.asked
        record.status = c.status
        record.complete = complete
        record.family = c.peer_family
        memcpy(record.peer, c.peer, 16)
        self.log.add(&record, c.rbuf + c.rpos)

    cdef void hand_over(self, Connection* c) noexcept nogil:
        if self.log is not None:
            self.log.cancel(c.asked)
        self.taken_over += 1
        self._give_back(c)

    cdef void _give_back(self, Connection* c) noexcept nogil:
        release_kept_head(c)
        c.head_left = 0
        self.leases.let_go(c.lease)
        c.lease = NULL
