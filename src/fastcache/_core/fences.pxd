from libc.stdint cimport uint8_t, uint64_t


cdef extern from "atomics.h" nogil:
    uint64_t fc_load(const uint64_t *word)
    void fc_store(uint64_t *word, uint64_t value)
    uint64_t fc_raise(uint64_t *word)
    void fc_lower(uint64_t *word)
    bint fc_replace(uint64_t *word, uint64_t *seen, uint64_t value)
    uint64_t fc_settle(uint64_t *word, uint64_t value)


cdef extern from "fences.h" nogil:
    ctypedef struct fc_fences:
        uint64_t magic
        uint64_t epoch
        uint64_t *objects
        uint64_t *buckets
    uint64_t FC_FENCES_MAGIC
    unsigned fc_stripe(const uint8_t *digest)


# A digest whose first bytes may be read, whoever brought it; else ValueError.
cdef bytes checked(bytes digest)


cdef class Fences:
    # Owned by this object from __cinit__ to __dealloc__; whoever keeps the pointer keeps a reference to the object.
    cdef fc_fences *shared
    cdef readonly uint64_t epoch

    cdef bint holds(
        self, const uint8_t *digest, const uint8_t *bucket_digest, uint64_t epoch, uint64_t object_fence,
        uint64_t bucket_fence,
    ) noexcept nogil
