# What workers have under way to the origin, told to the other workers of the host: FC_CLAIMS claims, a page each.
#
# A claim is a hint. Bytes are taken from files and believed for the reason that fences and generations give; a claim that
# is lost, late or nonsense costs one more transfer. Its state is one word:
#
#   bits 63..32  the incarnation of the process it belongs to
#   bits 31..4   its version, raised each time that it changes hands
#   bits 3..0    FREE -> WRITING -> ASKING -> FREE, or FREE -> WRITING -> FILLING -> ENDED
#
# Taking one over from nobody (FREE, ENDED) or from the dead is a compare-and-swap of that word; from then on only its
# owner writes to it, but for `reached` and `looked_at`. What belongs to a version is written before ASKING or FILLING is:
# who reads the state, the words, and the same state again has read one version. `part`, `part_start` and `part_offset`
# change while FILLING: `part` is 0 meanwhile, and is read before and after the two.
#
# An ENDED claim stays readable until somebody takes its place: who waited for the fill finds the proof of the head there.
#
# Two workers that ask at once: each publishes its claim (a sequentially consistent exchange), then looks for others'. At
# least one sees the other; the one with the later ticket gives way. Where a load overtakes the exchange, both ask.
#
# Killed between any two instructions: the state names an owner that the supervisor has declared dead, which lets anybody
# take the claim. Nobody waits for a word to change but by looking again after a while, so that no wake-up can be lost.
#
# Ownership: a Claim or Seen keeps the memory through its FillClaims; the words are never freed.
from libc.stdint cimport uint64_t

from fastcache._core.shared cimport SharedMemory

cdef extern from "fill_claims.h" nogil:
    enum:
        FC_CLAIMS
        FC_CLAIM_WORDS
        FC_CLAIM_FIXED
    ctypedef struct fc_claim:
        uint64_t state
        uint64_t ticket
        uint64_t *digest
        uint64_t start
        uint64_t end
        uint64_t sent
        uint64_t epoch
        uint64_t object_fence
        uint64_t bucket_fence
        uint64_t request
        uint64_t proved_at
        uint64_t watermark
        uint64_t part
        uint64_t part_start
        uint64_t part_offset
        uint64_t reached
        uint64_t looked_at
        uint64_t head_bytes
        uint64_t *head
    ctypedef struct fc_claims:
        uint64_t tickets
        uint64_t cursor
        uint64_t *keys
        fc_claim *claims


cdef class FillClaims:
    cdef SharedMemory memory     # keeps the words
    cdef fc_claims *shared
    cdef readonly uint64_t incarnation

    cdef bint is_alive(self, uint64_t incarnation) noexcept nogil
    cdef uint64_t acquire(self, uint64_t *at) noexcept nogil
    cdef uint64_t looked_for(self, fc_claim *words) noexcept nogil
    cdef read(self, fc_claim *words, bytes known)


cdef class Claim:
    cdef FillClaims claims
    cdef fc_claim *words
    cdef uint64_t state          # as we wrote it last; 0 when it is not ours any more
    cdef readonly uint64_t ticket

    cdef void become(self, uint64_t phase) noexcept


cdef class Seen:
    cdef FillClaims claims
    cdef fc_claim *words
    cdef uint64_t state          # as it was read
    cdef readonly uint64_t ticket
    cdef readonly uint64_t start
    cdef readonly uint64_t end
    cdef readonly object token   # (epoch, object fence, bucket fence)
    cdef readonly uint64_t request
    cdef readonly double proved_at
    cdef readonly bytes head

    cdef bint is_same(self) noexcept
