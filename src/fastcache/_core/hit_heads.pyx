"""Response heads of the hit branch, their fields in the order in which the engine writes them."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastcache._core.dates cimport HTTP_DATE_LENGTH, write_http_date
from fastcache._core.texts cimport put, put_id, put_number

import os

cdef inline char* put_status(char* at, int status) noexcept nogil:
    if status == 200:
        return put(at, b"HTTP/1.1 200 OK\r\n", 17)
    if status == 206:
        return put(at, b"HTTP/1.1 206 Partial Content\r\n", 30)
    return put(at, b"HTTP/1.1 304 Not Modified\r\n", 27)


cdef inline char* put_extent_of_body(char* at, const Connection* c, const Lease* lease) noexcept nogil:
    if c.ranged:
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
    return at


cdef class HitHeads:
    """What one reactor's answers are rendered with: clocks, ids, the texts of errors, and the room for one head."""

    def __cinit__(self, *args, **kwargs):
        seed = os.urandom(8)
        memcpy(&self.random, <const char*>seed, 8)
        self.date_second = -1
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

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef void begin_turn(self) noexcept nogil:
        self.boot = clock_ns(CLOCK_BOOTTIME)
        self.wall = clock_ns(CLOCK_REALTIME_COARSE)

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

    cdef Py_ssize_t render(self, Connection* c, Lease* lease) noexcept nogil:
        """A head of 200, 206 or 304 that nobody was asked about."""
        cdef char* at = put_status(self.scratch, c.status)
        cdef int64_t age = self.boot - lease.proved_at
        cdef int64_t left = (lease.head_ttl if c.is_head else lease.get_ttl) - age
        if c.status == 304:
            at = put(at, lease.not_modified.text, lease.not_modified.length)
        else:
            at = put(at, lease.headers.text, lease.headers.length)
            if c.checksums and c.status == 200:
                at = put(at, lease.checksums.text, lease.checksums.length)
        c.request_id = self._next_id()
        at = self._put_ids(at, c.request_id)
        at = put(at, b"Age: ", 5)
        at = put_number(at, <uint64_t>(age // NS) if age > 0 else 0)
        at = put(at, b"\r\n", 2)
        at = put_extent_of_body(at, c, lease)
        at = self._put_date(at)
        at = put(at, b"Cache-Status: fastcache; hit; ttl=", 34)
        at = put_number(at, <uint64_t>(left // NS) if left > 0 else 0)
        at = put(at, b"\r\nX-Cache: HIT\r\n\r\n", 18)
        return at - self.scratch

    cdef Py_ssize_t render_proved(self, Connection* c, Lease* lease, const Proof* proof) noexcept nogil:
        """A head of 200 or 206 after a 304 to this very request (SEMANTICS 14)."""
        cdef char* at = put_status(self.scratch, c.status)
        if proof.names_vary:
            at = put(at, lease.headers_without_vary.text, lease.headers_without_vary.length)
        else:
            at = put(at, lease.headers.text, lease.headers.length)
        if c.checksums and c.status == 200:
            at = put(at, lease.checksums.text, lease.checksums.length)
        at = put(at, proof.fields, proof.length)
        c.request_id = self._next_id()
        if not proof.names_request_id:
            at = self._put_ids(at, c.request_id)
        at = put(at, b"Age: 0\r\n", 8)
        at = put_extent_of_body(at, c, lease)
        at = self._put_date(at)
        at = put(at, b"Cache-Status: fastcache; fwd=stale; fwd-status=304\r\nX-Cache: REVALIDATED\r\n\r\n", 76)
        return at - self.scratch

    cdef Py_ssize_t render_error(self, Connection* c, Lease* lease) noexcept nogil:
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
