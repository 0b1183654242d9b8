# One word for each of 2^20 classes of object digests: what was last learnt of such an object, by any process.
#
#   bits 63..24   number of the origin request whose answer was taken, host-wide; 0 only in an empty word
#   bits 23..0    a keyed hash of the object and its generation
#
# Changed by compare-and-swap alone, from older to newer requests. The key is the fences' epoch, so that nobody can make
# contents whose hashes are equal; one change in 16 million is missed all the same, and is then noticed by the other
# processes when their TTL ends. Objects that share a word cost each other a proof.
from libc.stdint cimport uint8_t, uint64_t

from fastcache._core.fences cimport fc_load, fc_replace
from fastcache._core.shared cimport SharedMemory


cdef enum:
    HASH_BITS = 24


cdef class Generations:
    cdef SharedMemory memory     # keeps the words
    cdef uint64_t *sent
    cdef uint64_t *words
    cdef uint64_t key

    cdef uint64_t hash_of(self, bytes digest, bytes tag)
    cdef uint64_t *word_at(self, bytes digest)

cdef class Knowledge:
    # What is known of one generation of an object. Whoever keeps `word` keeps this.
    cdef Generations generations
    cdef uint64_t *word
    cdef uint64_t hashed


cdef inline bint learn_again(uint64_t *word, uint64_t hashed, uint64_t sent) noexcept nogil:
    """Whether what the answer to request `sent` says is what all have learnt, from now on (`Lesson.KNOWN`)."""
    cdef uint64_t seen = fc_load(word)
    if sent >> (64 - HASH_BITS):
        return False
    while seen and seen & ((1 << HASH_BITS) - 1) == hashed:
        if seen >> HASH_BITS >= sent or fc_replace(word, &seen, sent << HASH_BITS | hashed):
            return True
    return False
