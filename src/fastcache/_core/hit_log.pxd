"""What the access log is told of hits: fixed-size records with the request's head behind each, taken in bulk."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef struct HitRecord:
    int64_t wall             # CLOCK_REALTIME ns at the end of the answer
    int64_t total            # ns from the complete head to the last byte handed over
    int64_t first_byte       # ns to the first byte, -1 when none was sent
    int64_t sent             # body bytes
    int64_t size             # of the object; -1 where the answer does not tell it
    uint64_t request_id
    uint32_t head_length     # octets of the request's head that follow
    uint16_t status
    uint16_t origin_status   # of the 304 that proved the answer; 0: nobody was asked
    uint8_t complete
    uint8_t family           # of the peer: 4, 6 or 0
    uint8_t peer[16]

cdef class HitLog:
    cdef char* buffer        # owned, `capacity` bytes of which `used` are records
    cdef Py_ssize_t capacity, used, reserved
    cdef int64_t reservations
    cdef readonly bint only_failures

    # Room for one record, kept until `add` or `cancel` with the same length; False when there is none.
    cdef bint reserve(self, Py_ssize_t head_length) noexcept nogil
    cdef void cancel(self, Py_ssize_t head_length) noexcept nogil
    cdef void add(self, const HitRecord* record, const char* head) noexcept nogil
