# What the hit branch needs to know of one extent, as a C struct inside the store's Extent object.
#
# Ownership. The struct lives as long as its Python object; a lease keeps references to the objects whose structs it
# points to. `fd` is the descriptor cache's: it is open as long as the extent is pinned, and -1 from the moment on in
# which it is given away to be closed. Everything here is read and changed on the loop's thread only.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    BLOCK_BITS = 18          # log2 of the block that has a checksum of its own; extent_codec asserts it
    RESIDENT_MS = 200        # how long pages that were seen in memory are taken to be there still

cdef struct ExtentData:
    int64_t start            # of the interval in the object
    int64_t end
    int64_t data_offset      # where byte `start` lies in the file; -1 until the file was opened
    int fd
    uint32_t blocks
    uint8_t frequency        # uses since the evictor last looked, at most 3
    uint64_t* verified       # a bit per block: this process has checked it
    uint32_t* resident_at    # per block: CLOCK_MONOTONIC ms at which it was seen in memory, 0 never; NULL until asked

cdef class ExtentState:
    cdef ExtentData data

    cdef bint watch_residency(self) noexcept

# A list of extents that nobody else changes; TypeError when anything else is in it.
cdef list extents_of(list extents)

# Whether bytes [start, end) of the object, all within the extent, can be sent now: checked, and in memory.
cdef bint extent_ready(ExtentData* extent, int64_t start, int64_t end, uint32_t now_ms) noexcept nogil


# Whether this process has checked all blocks of bytes [start, end), which lie within the extent; start < end.
cdef bint blocks_verified(const ExtentData* extent, int64_t start, int64_t end) noexcept nogil


cdef inline void extent_used(ExtentData* extent) noexcept nogil:
    if extent.frequency < 3:
        extent.frequency += 1
