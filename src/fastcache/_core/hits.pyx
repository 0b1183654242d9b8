"""The hit branch: GET and HEAD answered from leases. DESIGN section 5.

It recognises the head, finds a lease by Host and path, asks whether its time and its fences hold, evaluates conditions
and range with the same code as the engine, and renders the head from blocks that were made when the lease was. What it
cannot do it leaves to the engine before a byte was sent: that is never an error and costs the look only. The one thing
that can happen later is that bytes in the middle of a large body have left memory: the engine then goes on with the body
(``PUMP_FILE``).

Where each answer has to be proved, the client's own request goes to the origin first, with our If-None-Match, and only a
304 that plainly proves what the lease says is answered here. Any other answer, or none, is the engine's from then on.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_REALTIME

from fastcache._core.conditions cimport NOT_MODIFIED, PRECONDITION_FAILED, evaluate_preconditions, field_value, if_range_holds
from fastcache._core.connection cimport release_kept_head
from fastcache._core.generations cimport learn_again
from fastcache._core.hit_heads cimport clock_ns
from fastcache._core.hit_log cimport HitRecord
from fastcache._core.lease cimport lease_holds
from fastcache._core.not_modified cimport Proof, is_same, proves_current
from fastcache._core.origin cimport Origin
from fastcache._core.origins cimport REQUEST_BYTES
from fastcache._core.proof_request cimport write_proof_request
from fastcache._core.ranges cimport ByteRange, parse_range, resolve_range
from fastcache._core.recogniser cimport recognise
from fastcache._core.sending cimport count_uses, is_covered
from fastcache._core.sigv4 cimport Verifier

STATUSES = (200, 206, 304, 412, 416)
"""The statuses of the hit branch, in the order of the counters' slots."""


cdef inline int status_index(int status) noexcept nogil:
    return 0 if status == 200 else 1 if status == 206 else 2 if status == 304 else 3 if status == 412 else 4


cdef class Hits(HitHeads):
    """Answers of one reactor.

    ``counters`` and the four histograms (of hits, then of answers that broke off: seconds and seconds to the first byte)
    are the metrics' own; ``done_slots`` and ``failed_slots`` hold a slot for GET and for HEAD with each of STATUSES,
    ``sent_slot`` that of sent body bytes. ``errors`` are for 412 and 416: XML with the resource, the request id and
    again the request id cut out (four pieces). ``origins`` are asked under leases that want it; ``origin_slots`` then count
    a request to the origin, its 304, and a client that left before. ``parser`` replaces the recogniser: a callable that gets
    a head and returns None or the tuple of ``protocol.plain``; it needs the GIL and is for tests and comparison. With a
    ``verifier`` a lease is for those only whose signature it has checked, on this very request, and who have a grant.
    """

    def __cinit__(
        self, Leases leases not None, Counters counters not None, histograms, done_slots, failed_slots,
        Py_ssize_t sent_slot, errors, *, Origins origins=None, origin_slots=(0, 0, 0), HitLog log=None, parser=None,
        int max_fields=100, Verifier verifier=None,
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
        self.origins = origins
        self.asked_slot, self.consented_slot, self.gone_slot = origin_slots
        for slot in (sent_slot, *origin_slots):
            if not 0 <= slot < counters.size:
                raise IndexError("a slot outside the counters")
        for i in range(2):
            self._take_error(i, errors[i])
        self.on = True

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
            "not_asked": self.unasked,
            "passed_on": self.passed_on,
            "taken_over": self.taken_over,
        }

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef int begin(self, Connection* c, const char* head, Py_ssize_t available, int64_t now) noexcept nogil:
        cdef PlainRequest asked
        cdef Lease* lease
        cdef Py_ssize_t rendered
        if not self.on or not c.allowed or c.surplus:
            return BEGIN_NOT_HERE
        c.asked = self._plain(head, available, &asked)
        if not c.asked:
            self.unrecognised += 1
            return BEGIN_NOT_HERE
        lease = self.leases.find(asked.host, asked.path)
        if lease == NULL or not lease_holds(lease, self.boot) or not (
            lease.must_prove or self.boot - lease.proved_at < (lease.head_ttl if asked.is_head else lease.get_ttl)
        ):
            self.unleased += 1
            return BEGIN_NOT_HERE
        if self.verifier is not None and not self.verifier.admits(&asked, &self.fields, lease, self.wall):
            self.unverified += 1
            return BEGIN_NOT_HERE
        c.began = now
        c.proved = 0
        if not self._decide(c, lease, &asked):
            self.unready += 1
            return BEGIN_NOT_HERE
        if lease.must_prove:
            return self._ask(c, lease, &asked, head, now)
        rendered = self.render(c, lease) if c.status < 412 else self.render_error(c, lease)
        if not rendered:
            self.unready += 1
            return BEGIN_NOT_HERE
        if self.log is not None and not self.log.reserve(c.asked):
            return BEGIN_NOT_HERE
        self._hold(c, lease)
        c.head_at = self.scratch
        c.head_left = rendered
        return BEGIN_ANSWER

    cdef void _hold(self, Connection* c, Lease* lease) noexcept nogil:
        lease.refs += 1
        lease.used = 1
        c.lease = lease
        c.first_byte = 0

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

    cdef bint _decide(self, Connection* c, Lease* lease, const PlainRequest* asked) noexcept nogil:
        """Decide status and interval as ``policy.local_answer`` does; False: the engine has to answer."""
        cdef ByteRange spec
        cdef int64_t start = 0, end = lease.size
        cdef int verdict, ranges
        c.is_head = asked.is_head
        c.checksums = asked.checksum_mode
        c.ranged = 0
        c.status = 200
        if asked.is_head and (asked.range.text != NULL or (asked.checksum_mode and not lease.checksums_known)):
            return False
        verdict = evaluate_preconditions(True, lease.etag, lease.last_modified, &asked.conditions)
        if verdict == NOT_MODIFIED or verdict == PRECONDITION_FAILED:
            c.status = <uint32_t>verdict
            end = 0
        elif asked.range.text != NULL and (
            asked.if_range.text == NULL or if_range_holds(asked.if_range, lease.etag, lease.last_modified)
        ):
            ranges = parse_range(asked.range.text, asked.range.length, &spec)
            if ranges > 1:
                return False
            if ranges == 1:
                c.ranged = 1
                c.status = 206
                if not resolve_range(&spec, lease.size, &start, &end):
                    c.status = 416
                    start = end = 0
        c.body_start = c.body_at = start
        c.body_end = start if asked.is_head else end
        c.head_body = 0
        if not self._at_hand(c, lease, c.began):
            return False
        if not asked.is_head:
            count_uses(lease, start, end)
        return True

    cdef bint _at_hand(self, const Connection* c, const Lease* lease, int64_t now) noexcept nogil:
        return c.body_start == c.body_end or lease.memo != NULL or (
            is_covered(lease, c.body_start, c.body_end, <uint32_t>(now // 1000000))
        )

    # ---- with the origin's consent ---------------------------------------------------------------------------------

    cdef int _ask(self, Connection* c, Lease* lease, const PlainRequest* asked, const char* head, int64_t now) noexcept nogil:
        """Ask the origin on the client's behalf whether the answer that `_decide` found may be given."""
        cdef Origin* origin
        cdef Py_ssize_t length
        # The rest of the client's conditions would be the origin's to judge, or ours after its 304: the engine's.
        if (self.origins is None or c.status > 206 or asked.is_head or asked.conditions.if_none_match.text != NULL
                or asked.conditions.if_modified_since.text != NULL or asked.conditions.if_unmodified_since.text != NULL
                or asked.if_range.text != NULL
                or (asked.conditions.if_match.text != NULL and not is_same(asked.conditions.if_match, lease.etag))):
            return BEGIN_NOT_HERE
        length = write_proof_request(head, c.asked, lease.etag, self.origins.request, REQUEST_BYTES)
        if not length:
            return BEGIN_NOT_HERE
        if self.log is not None and not self.log.reserve(c.asked):
            return BEGIN_NOT_HERE
        origin = self.origins.ask(c.slot, length, now, self.boot)
        if origin == NULL:
            self.unasked += 1
            if self.log is not None:
                self.log.cancel(c.asked)
            return BEGIN_NOT_HERE
        self.counters.bump(self.asked_slot, 1)
        c.origin = origin
        self._hold(c, lease)
        return BEGIN_ASKED

    cdef int consent(self, Connection* c, int64_t now) noexcept nogil:
        cdef Proof proof
        cdef Lease* lease = c.lease
        cdef Origin* origin = c.origin
        cdef Py_ssize_t got, rendered
        if origin.kept_length:
            return CONSENT_OTHER
        got = self.origins.receive(origin)
        if got == 0:
            return CONSENT_NONE
        # Whatever happened to the object since we asked ended the lease, or raised its fence.
        if (got < 0 or not self.on or not lease.published or not lease_holds(lease, self.boot)
                or not proves_current(self.origins.answer, got, lease.etag, lease.last_modified_text, lease.version, &proof)
                or not self._at_hand(c, lease, now)
                or (lease.word != NULL and not learn_again(lease.word, lease.hashed, <uint64_t>origin.number))):
            if got > 0 and not self.origins.keep(origin, self.origins.answer, got, False):
                self.origins.give_up(origin)
                c.origin = NULL
            return CONSENT_OTHER
        if origin.number > lease.latest[0]:
            lease.latest[0] = origin.number
        c.origin = NULL
        self.origins.release(origin, now)
        self.counters.bump(self.consented_slot, 1)
        c.proved = 1
        rendered = self.render_proved(c, lease, &proof)
        c.head_at = self.scratch
        c.head_left = rendered
        return CONSENT_GIVEN

    cdef void withdraw(self, Connection* c) noexcept nogil:
        if self.log is not None:
            self.log.cancel(c.asked)
        self.passed_on += 1
        self._give_back(c)

    # ---- accounting ------------------------------------------------------------------------------------------------

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
            if c.lease.must_prove and not c.proved:
                c.status = CLIENT_GONE
                self.counters.bump(self.gone_slot, 1)
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
        record.size = -1 if c.status == CLIENT_GONE else c.lease.size
        record.request_id = c.request_id
        record.head_length = <uint32_t>c.asked
        record.status = c.status
        record.complete = complete
        record.origin_status = 304 if c.proved else 0
        record.family = c.peer_family
        memcpy(record.peer, c.peer, 16)
        self.log.add(&record, c.rbuf + c.rpos)

    cdef void hand_over(self, Connection* c) noexcept nogil:
        if self.log is not None:
            self.log.cancel(c.asked)
        self.taken_over += 1
        self._give_back(c)

    cdef void _give_back(self, Connection* c) noexcept nogil:
        if c.origin != NULL:
            self.origins.give_up(c.origin)
            c.origin = NULL
        release_kept_head(c)
        c.head_left = 0
        self.leases.let_go(c.lease)
        c.lease = NULL
