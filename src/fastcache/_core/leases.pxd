"""Leases: the planner's permission, good until a time and a fence, to answer for an object without asking again.

The index is read by the hit branch without the GIL and changed with it, all on the loop's thread, so that nothing in it
is locked and a reader never sees half a change.
"""
from libc.stdint cimport uint32_t, uint64_t

from fastcache._core.extents cimport ExtentState
from fastcache._core.fences cimport Fences
from fastcache._core.lease cimport Lease
from fastcache._core.lease_index cimport LeaseIndex

cdef class Leases(LeaseIndex):
    cdef Fences fences
    cdef uint32_t grant_room # of each lease
    cdef Py_ssize_t memo_limit, memo_used, extent_limit, extents_used
    cdef list kept           # per slot: the Python objects whose structs a lease points to
    cdef list given_back     # ids reclaimed already of which Python was not told yet
    cdef readonly uint64_t published

    cdef void _keep_extent(self, Lease* lease, ExtentState extent)
    cdef void _reclaim(self)
    cdef bint _find_room(self, Py_ssize_t memo, Py_ssize_t extents)
