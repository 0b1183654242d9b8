"""Names of leases, and the slots that the leases live in."""
from libc.stdint cimport uint32_t, uint64_t

from fastcache._core.conditions cimport FieldValue
from fastcache._core.lease cimport Lease

cdef struct Place:
    uint64_t hash
    uint32_t slot            # plus one; 0 is a free place

cdef class LeaseIndex:
    cdef Place* places       # open addressing, at most half full; `mask` + 1 of them
    cdef uint64_t mask
    cdef Lease** slots       # `capacity` of them
    cdef uint32_t* generations
    cdef uint32_t* free_slots
    cdef uint32_t capacity, free_count, hand
    cdef uint32_t* released  # slots whose leases nobody uses any more
    cdef uint32_t released_count
    cdef uint64_t[2] key
    cdef readonly uint64_t revoked

    cdef Lease* find(self, FieldValue host, FieldValue path) noexcept nogil
    cdef void let_go(self, Lease* lease) noexcept nogil
    cdef Lease* of_id(self, uint64_t lease_id) noexcept nogil
    cdef void unlink(self, Lease* lease) noexcept nogil
    cdef void _link(self, Lease* lease) noexcept nogil
    cdef Lease* _named(self, bytes host, bytes path) noexcept
