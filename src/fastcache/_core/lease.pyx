"""What is done with one lease: its texts, its extents and its grants."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memmove


cdef ExtentData* lease_extent(const Lease* lease, int64_t offset) noexcept nogil:
    """Both starts and ends ascend, so it is the last one that begins at or before ``offset``, if it reaches it."""
    cdef uint32_t low = 0, high = lease.extent_count, middle
    cdef ExtentData* extent
    while low < high:
        middle = (low + high) >> 1
        if lease.extents[middle].start <= offset:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return NULL
    extent = lease.extents[low - 1]
    return extent if extent.end > offset else NULL


cdef void add_grant(Lease* lease, uint64_t generation, uint32_t slot) noexcept:
    if not lease.grant_room or is_granted(lease, generation, slot):
        return
    if lease.grants_of != generation:
        lease.grants_of = generation
        lease.granted = 0
    lease.grants[lease.granted % lease.grant_room] = slot
    lease.granted += 1


cdef int64_t nanoseconds(double seconds) noexcept:
    cdef double most = 4.4e9
    if not seconds > -most:
        seconds = -most
    elif seconds > most:
        seconds = most
    return <int64_t>(seconds * 1e9)


cdef FieldValue place_text(char** at, bytes text):
    """Copy ``text`` to ``at``, which moves on."""
    cdef FieldValue placed
    placed.text = at[0]
    placed.length = len(text)
    memcpy(at[0], <const char*>text, placed.length)
    at[0] += placed.length
    return placed


cdef bint reserve_extents(Lease* lease, Py_ssize_t more) noexcept:
    cdef ExtentData** grown
    cdef size_t needed = lease.extent_count + <size_t>more
    cdef size_t room = lease.extent_room
    if needed <= room:
        return True
    room = 2 * room if 2 * room > needed else needed
    grown = <ExtentData**>realloc(lease.extents, room * sizeof(ExtentData*))
    if grown == NULL:
        return False
    lease.extents = grown
    lease.extent_room = <uint32_t>room
    return True


cdef void insert_extent(Lease* lease, ExtentData* extent) noexcept:
    cdef uint32_t at = lease.extent_count
    while at > 0 and lease.extents[at - 1].start > extent.start:
        at -= 1
    memmove(lease.extents + at + 1, lease.extents + at, (lease.extent_count - at) * sizeof(ExtentData*))
    lease.extents[at] = extent
    lease.extent_count += 1
