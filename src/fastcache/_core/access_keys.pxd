"""The access keys whose signatures the hit branch can check, in C: found by id, with what they sign with at hand."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastcache._core.conditions cimport FieldValue
from fastcache._core.sha256 cimport fc_hmac_key

cdef enum:
    DATE_LENGTH = 8
    REGION_LIMIT = 32        # a longer region is left to the engine
    KEPT_SIGNING_KEYS = 4    # days and regions of an access key: today's, and those of a few buckets elsewhere

cdef struct SigningKey:
    # What an access key signs with on one day in one region; `region_length` 0: none.
    uint8_t region_length
    char[DATE_LENGTH] date
    char[REGION_LIMIT] region
    fc_hmac_key key

cdef struct KnownKey:
    FieldValue access_key    # this and the token lie in AccessKeys.texts
    FieldValue token         # NULL without one
    uint64_t hash
    fc_hmac_key secret       # of "AWS4" and the secret key
    uint32_t next            # of `kept`: the one to be replaced
    SigningKey[KEPT_SIGNING_KEYS] kept

cdef class AccessKeys:
    cdef KnownKey* known
    cdef uint32_t count
    cdef uint32_t* places    # open addressing, at most half full: slot + 1, or 0; `mask` + 1 of them
    cdef uint32_t mask
    cdef bytes texts
    cdef uint64_t[2] random
    cdef readonly uint64_t generation  # of the slots: a slot means nothing in another one
    cdef readonly uint64_t serial      # of the set of keys that was loaded

    # The slot of an access key, -1 when it is not known.
    cdef int find(self, FieldValue access_key) noexcept nogil

    # What `slot` signs with on that day in that region, a text of 1 to REGION_LIMIT octets: taken from those that are
    # kept, or derived into `room`.
    cdef const fc_hmac_key* signing_key(self, int slot, const char* date, FieldValue region, SigningKey* room) noexcept nogil

    # Keep a signing key that was derived. Only after a signature made with it was right: anybody can name a day and a
    # region.
    cdef void keep(self, int slot, const SigningKey* derived) noexcept nogil

    cdef uint64_t _hash(self, FieldValue access_key) noexcept nogil
    cdef void _forget(self) noexcept
    cdef void _take(self, uint32_t slot, FieldValue access_key, bytes secret, FieldValue token)
