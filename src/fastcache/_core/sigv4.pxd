"""Signatures of plain requests checked in C (Signature Version 4): yes, or somebody else has to look."""
from libc.stdint cimport int64_t

from fastcache._core.access_keys cimport AccessKeys
from fastcache._core.claims cimport Claim
from fastcache._core.lease cimport Lease
from fastcache._core.recogniser cimport PlainFields, PlainRequest

cdef class Verifier:
    cdef readonly AccessKeys keys

    # Whether the request, whose fields are `fields`, was signed by a key that may be answered under the lease; `wall` is
    # CLOCK_REALTIME ns.
    cdef bint admits(self, const PlainRequest* asked, const PlainFields* fields, const Lease* lease, int64_t wall) noexcept nogil

    # Whether the claim of the key in `slot` is true.
    cdef bint _proves(
        self, const PlainRequest* asked, const PlainFields* fields, const Claim* claim, int slot, int64_t wall
    ) noexcept nogil
