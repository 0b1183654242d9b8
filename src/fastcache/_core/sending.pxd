"""Sending an answer under a lease."""
from libc.stdint cimport int64_t, uint32_t

from fastcache._core.connection cimport Connection
from fastcache._core.lease cimport Lease

cdef enum:
    AHEAD_BYTES = 8388608    # what has to be checked of a body before its head goes out

# Hand head and body to the kernel: a PumpResult. PUMP_FILE: the bytes that come next are not at hand (cold, unchecked,
# or failing), the engine goes on from `body_at`.
cdef int send_answer(Connection* c, int64_t now) noexcept nogil

# Whether all of [start, end) is in open extents, its beginning checked, and its first window in memory.
cdef bint is_covered(const Lease* lease, int64_t start, int64_t end, uint32_t now_ms) noexcept nogil

# Tell the evictor that [start, end) was used.
cdef void count_uses(const Lease* lease, int64_t start, int64_t end) noexcept nogil
