"""A plain request in the canonical form that is signed, put into a hash piece by piece."""
from fastcache._core.claims cimport Claim
from fastcache._core.recogniser cimport PlainFields, PlainRequest
from fastcache._core.sha256 cimport fc_sha256

# Put the canonical request into `hash`. False when it has none here: the list of signed names is not in order, names a
# field that is not there or is there twice, or lacks Host or one of the x-amz-* that arrived; or an encoding is bad.
cdef bint put_canonical_request(
    fc_sha256* hash, const PlainRequest* asked, const PlainFields* fields, const Claim* claim
) noexcept nogil
