from libc.stdint cimport uint64_t

from fastcache._core.counters cimport TOP_BITS, Words, log_linear

cdef enum:
    FINE_BITS = 7               # 128 buckets per power of two: an estimate is less than 1 % off
    FINE_BUCKETS = ((TOP_BITS - FINE_BITS + 1) << FINE_BITS) + 1
    FINE_SUM = FINE_BUCKETS     # the words after the buckets: the sum of all values, and the greatest
    FINE_MOST = FINE_BUCKETS + 1
    FINE_WORDS = FINE_BUCKETS + 2


cdef inline void record_latency(uint64_t* words, uint64_t nanoseconds) noexcept nogil:
    # One thread writes, so plain additions do.
    words[log_linear(nanoseconds, FINE_BITS)] += 1
    words[FINE_SUM] += nanoseconds
    if nanoseconds > words[FINE_MOST]:
        words[FINE_MOST] = nanoseconds


cdef class Latencies(Words):
    pass
