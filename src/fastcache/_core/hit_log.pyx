"""Records of hits for the access log: written without the GIL, read by whoever writes lines.

A record is never dropped here: where there is no room for one, the hit branch leaves the request to the engine, which
is as slow as its log.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

from fastcache._core.handles cimport held

from typing import NamedTuple


class LoggedHit(NamedTuple):
    """One record; times in seconds, ``wall`` at the end of the answer. ``first_byte`` and ``size`` may be None."""

    wall: float
    total: float
    first_byte: float | None
    sent: int
    size: int | None
    request_id: int
    status: int
    complete: bool
    origin_status: int | None
    peer: bytes
    head: bytes


cdef class HitLog:
    """Room for ``capacity`` bytes of records. ``only_failures``: whole answers with a status
    below 400 are not recorded."""

    def __cinit__(self, Py_ssize_t capacity=4 << 20, bint only_failures=False):
        if capacity < <Py_ssize_t>sizeof(HitRecord):
            raise ValueError("no room for a record")
        self.capacity = capacity
        self.only_failures = only_failures
        self.buffer = <char*>malloc(capacity)
        if self.buffer == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.buffer)
        held.hit_records -= self.reservations

    def __len__(self) -> int:
        """Bytes of records that wait."""
        return self.used

    def take(self) -> bytes:
        """All records so far, for ``records``; the buffer is empty then."""
        taken = PyBytes_FromStringAndSize(self.buffer, self.used)
        self.used = 0
        return taken

    cdef bint reserve(self, Py_ssize_t head_length) noexcept nogil:
        cdef Py_ssize_t wanted = <Py_ssize_t>sizeof(HitRecord) + head_length
        if self.capacity - self.used - self.reserved < wanted:
            return False
        self.reserved += wanted
        self.reservations += 1
        held.hit_records += 1
        return True

    cdef void cancel(self, Py_ssize_t head_length) noexcept nogil:
        self.reserved -= <Py_ssize_t>sizeof(HitRecord) + head_length
        self.reservations -= 1
        held.hit_records -= 1

    cdef void add(self, const HitRecord* record, const char* head) noexcept nogil:
        self.cancel(record.head_length)
        memcpy(self.buffer + self.used, record, sizeof(HitRecord))
        memcpy(self.buffer + self.used + sizeof(HitRecord), head, record.head_length)
        self.used += sizeof(HitRecord) + record.head_length


def records(bytes taken not None):
    """The records in what ``take`` gave, in order, as LoggedHit. Raises ValueError when it is anything else."""
    cdef const char* data = taken
    cdef Py_ssize_t at = 0, length = len(taken)
    cdef HitRecord record
    while at < length:
        if length - at < <Py_ssize_t>sizeof(HitRecord):
            raise ValueError("a record is cut short")
        memcpy(&record, data + at, sizeof(HitRecord))
        at += sizeof(HitRecord)
        if length - at < record.head_length:
            raise ValueError("a record's head is cut short")
        yield LoggedHit(
            record.wall / 1e9,
            record.total / 1e9,
            None if record.first_byte < 0 else record.first_byte / 1e9,
            record.sent,
            None if record.size < 0 else record.size,
            record.request_id,
            record.status,
            bool(record.complete),
            record.origin_status or None,
            (<char*>record.peer)[: 4 if record.family == 4 else 16 if record.family == 6 else 0],
            taken[at : at + record.head_length],
        )
        at += record.head_length
