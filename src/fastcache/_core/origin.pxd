# One connection to the origin that is lent to the hit branch, as a C struct.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum OriginState:
    ORIGIN_FREE    # the slot is on the free list
    ORIGIN_IDLE    # lent, nothing is under way
    ORIGIN_ASKED   # a request of `client` is out, or as much of it as could be sent
    ORIGIN_ENDED   # the pool will get it back; out of the epoll

cdef struct Origin:
    # Ownership. The socket stays the pool's; as long as it is lent nobody else reads, writes or closes it. `kept` is
    # malloc'ed, and lives until the engine has taken the exchange over.
    int fd                   # -1 once it is out of the epoll
    uint32_t slot
    uint32_t client          # slot of the connection whose request is under way
    uint8_t state
    uint8_t unsent           # `kept` is the end of the request, not the beginning of the answer
    int64_t since            # CLOCK_MONOTONIC ns: idle, or asked, since then
    int64_t boot             # CLOCK_BOOTTIME ns before the request was sent
    int64_t number           # of the request, see ordering.pyx
    char* kept
    Py_ssize_t kept_length
