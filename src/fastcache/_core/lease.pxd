"""One lease as a C struct: the planner's permission, good until a time and a fence, to answer for an object."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastcache._core.conditions cimport FieldValue
from fastcache._core.extents cimport ExtentData
from fastcache._core.fences cimport fc_load

cdef enum:
    MEMO_BYTES = 16384       # bodies up to this size are answered from memory, head and body in one call
    HEADERS_LIMIT = 6144     # bytes of stored header fields that a lease takes
    RESOURCE_LIMIT = 2048    # bytes of the path as XML text, for errors; a longer one leaves errors to the engine

cdef struct Lease:
    # Ownership. One allocation with its texts and memo behind it, made by Leases.publish. `refs` counts the index (while
    # `published`) and every connection that is being answered from it; the last one to let go puts `slot` on the list
    # of the released, and the memory is freed, and the extents may be let go, when Python takes that list.
    uint64_t hash
    uint32_t slot
    uint32_t generation      # of the slot; an id is generation << 32 | slot
    uint32_t refs
    uint8_t published
    uint8_t used             # since the clock hand passed: one more round
    uint8_t checksums_known  # whether a HEAD that asks for checksums can be answered
    uint8_t must_prove       # not one answer without a 304 to the very request
    # what it rests on
    const uint64_t* object_fence
    const uint64_t* bucket_fence
    uint64_t object_value
    uint64_t bucket_value
    int64_t proved_at        # CLOCK_BOOTTIME ns
    int64_t get_ttl, head_ttl  # ns from then
    int64_t until            # CLOCK_BOOTTIME ns: not good for anything from then on
    # what it says
    int64_t size
    int64_t last_modified    # seconds, or NO_DATE
    FieldValue host, path    # the spelling that it answers
    FieldValue etag
    FieldValue headers       # as replayed, each with its CRLF
    FieldValue headers_without_vary  # `headers`, unless there is one among them
    FieldValue checksums     # likewise, for whole objects and those who asked
    FieldValue not_modified  # the headers of a 304
    FieldValue resource      # the path as XML text; length -1: errors are the engine's
    # what a 304 is judged by; NULL where nothing is stored
    FieldValue last_modified_text, version
    int64_t* latest          # number of the latest request whose answer was taken for the object; NULL unless must_prove
    uint64_t* word           # what all workers know of the object (generations.pxd); NULL for one that is alone
    uint64_t hashed          # ... and how this generation is written there
    char* memo               # the whole body, or NULL
    # who may be answered, where signatures are checked: slots of AccessKeys in one generation
    uint64_t grants_of       # the generation
    uint32_t granted         # grants given in it; the last `grant_room` of them count
    uint32_t grant_room
    uint32_t* grants
    # where the bytes are: extents of which none lies within another, ascending; their objects are kept by the index
    uint32_t extent_count, extent_room
    ExtentData** extents     # owned

cdef inline uint64_t lease_id(const Lease* lease) noexcept nogil:
    return (<uint64_t>lease.generation << 32) | lease.slot


cdef inline bint lease_holds(const Lease* lease, int64_t now) noexcept nogil:
    # A raised fence ends it at once, in every process.
    return (
        now < lease.until
        and fc_load(lease.object_fence) == lease.object_value
        and fc_load(lease.bucket_fence) == lease.bucket_value
    )


cdef inline bint is_granted(const Lease* lease, uint64_t generation, uint32_t slot) noexcept nogil:
    cdef uint32_t i
    if lease.grants_of != generation:
        return False
    for i in range(min(lease.granted, lease.grant_room)):
        if lease.grants[i] == slot:
            return True
    return False

# Answer requests of the key in `slot` of `generation`, whose grants are the only ones that count from then on; when there
# is no room, the oldest of them goes.
cdef void add_grant(Lease* lease, uint64_t generation, uint32_t slot) noexcept

# The extent that holds byte `offset` and reaches farthest, or NULL.
cdef ExtentData* lease_extent(const Lease* lease, int64_t offset) noexcept nogil

# Room for `more` extents behind those that are there; False when there is no memory.
cdef bint reserve_extents(Lease* lease, Py_ssize_t more) noexcept

# Put an extent in its place among the others; room for it was reserved.
cdef void insert_extent(Lease* lease, ExtentData* extent) noexcept

# Of times and spans alike. More than 140 years, either way, are 140 years, so that sums and differences of two fit; what
# is no number is long ago.
cdef int64_t nanoseconds(double seconds) noexcept

# Copy `text` to `at`, which moves on.
cdef FieldValue place_text(char** at, bytes text)
