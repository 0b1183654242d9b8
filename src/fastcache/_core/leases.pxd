"""Leases: the planner's permission, good until a time and a fence, to answer for an object without asking again.

The index is read by the hit branch without the GIL and changed with it, all on the loop's thread, so that nothing in it
is locked and a reader never sees half a change.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastcache._core.conditions cimport FieldValue
from fastcache._core.extents cimport ExtentState
from fastcache._core.fences cimport Fences
from fastcache._core.lease cimport Lease

cdef struct Place:
    uint64_t hash
    uint32_t slot            # plus one; 0 is a free place

cdef class Leases:
    cdef Fences fences
    cdef Place* places       # open addressing, at most half full; `mask` + 1 of them
    cdef uint64_t mask
    cdef Lease** slots       # `capacity` of them
    cdef uint32_t* generations
    cdef uint32_t* free_slots
    cdef uint32_t capacity, free_count, hand
    cdef uint32_t grant_room # of each lease
    cdef uint32_t* released  # slots whose leases nobody uses any more
    cdef uint32_t released_count
    cdef uint64_t[2] key
    cdef Py_ssize_t memo_limit, memo_used, extent_limit, extents_used
    cdef list kept           # per slot: the Python objects whose structs a lease points to
    cdef list given_back     # ids reclaimed already of which Python was not told yet
    cdef readonly uint64_t published, revoked

    cdef Lease* find(self, FieldValue host, FieldValue path) noexcept nogil
    cdef void let_go(self, Lease* lease) noexcept nogil
    cdef Lease* of_id(self, uint64_t lease_id) noexcept nogil
    cdef void unlink(self, Lease* lease) noexcept nogil
    cdef void _link(self, Lease* lease) noexcept nogil
    cdef Lease* _named(self, bytes host, bytes path) noexcept
    cdef void _keep_extent(self, Lease* lease, ExtentState extent)
    cdef void _reclaim(self)
    cdef bint _find_room(self, Py_ssize_t memo, Py_ssize_t extents)
