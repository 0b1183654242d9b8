"""What a plain request says about its own signature (Signature Version 4), read strictly; nothing of it is proved yet."""
from libc.stdint cimport int64_t

from fastcache._core.conditions cimport FieldValue
from fastcache._core.recogniser cimport PlainRequest

cdef enum:
    TIMESTAMP_LENGTH = 16        # YYYYMMDDTHHMMSSZ
    SIGNATURE_LENGTH = 64
    DECODED_LIMIT = 1024         # octets of a decoded credential and of decoded names together
    QUERY_NAMES = 9              # that a presigned request may have

cdef struct Claim:
    # Texts lie in the request's head, or, for those of a presigned request that had to be decoded, in `decoded`.
    FieldValue access_key
    const char* date             # eight octets, the day of the scope
    FieldValue region            # 1 to REGION_LIMIT octets
    const char* timestamp        # TIMESTAMP_LENGTH octets, `signed_at` in seconds since the epoch
    int64_t signed_at
    int64_t expires              # seconds that a presigned request lives; -1 for one with an Authorization field
    FieldValue signed_names      # as they are listed
    FieldValue payload           # what is signed for the body's hash
    FieldValue token             # NULL without one, percent-encoded in a presigned request
    const char* signature        # SIGNATURE_LENGTH octets, which may be any
    FieldValue[QUERY_NAMES] parameters   # of a presigned request, raw, in canonical order; NULL: not there
    char[DECODED_LIMIT] decoded

# Whether the request carries one signature, in the one form that clients really send, of a body that is empty or not
# signed; `claim` says what is in it.
cdef bint read_claim(const PlainRequest* asked, Claim* claim) noexcept nogil

# The names of `Claim.parameters`.
cdef FieldValue parameter_name(int index) noexcept nogil

# The octet that `at[0]`, or the three octets there, stand for in a query (`+` is a space), and move on; -1 for a bad
# percent-encoding.
cdef int decode_octet(const char** at, const char* end) noexcept nogil
