from libc.stdint cimport uint64_t

# Readers of a histogram's layout (shared memory included) rely on these; see counters.pyx.
cdef enum:
    SUB_BITS = 2                # 2**SUB_BITS buckets per power of two
    TOP_BITS = 40               # values of 2**TOP_BITS ns (18 minutes) and more share the last bucket
    BUCKETS = ((TOP_BITS - SUB_BITS + 1) << SUB_BITS) + 1
    SUM = BUCKETS               # the word after the buckets holds the sum of all values
    WORDS = BUCKETS + 1

cdef extern from *:
    """
    /* Relaxed atomics: a counter orders nothing, it only must not lose an increment when a thread that holds the GIL
       and one that does not count at once. One lock-prefixed add costs about 5 ns. */
    static inline void fc_counter_add(uint64_t *word, uint64_t n) { __atomic_fetch_add(word, n, __ATOMIC_RELAXED); }
    static inline uint64_t fc_counter_get(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
    static inline int fc_counter_log2(uint64_t value) { return 63 - __builtin_clzll(value); }
    """
    void fc_counter_add(uint64_t *word, uint64_t n) noexcept nogil
    uint64_t fc_counter_get(const uint64_t *word) noexcept nogil
    int fc_counter_log2(uint64_t value) noexcept nogil


cdef class Words:
    # ``words`` lives as long as this object: in memory of its own (``view.obj`` is NULL, freed in __dealloc__), or in
    # the caller's buffer, which ``view`` keeps exported (so it cannot be resized or unmapped) until __dealloc__.
    cdef uint64_t *words
    cdef readonly Py_ssize_t size
    cdef Py_buffer view
    cdef bint borrowed

    cdef int _take(self, Py_ssize_t size, object buffer) except -1
    cdef int _check(self) except -1


cdef class Counters(Words):
    # ``slot`` must be in [0, size): compiled callers use slots they were given, and only a debug build checks.
    cdef inline void bump(self, Py_ssize_t slot, uint64_t n) noexcept nogil:
        fc_counter_add(self.words + slot, n)


cdef inline Py_ssize_t log_linear(uint64_t nanoseconds, int sub_bits) noexcept nogil:
    # The bucket of a value where each power of two has 2**sub_bits of them. They are (low, high], as Prometheus' ``le``
    # has them, hence the value less one.
    cdef uint64_t value = nanoseconds - 1 if nanoseconds else 0
    cdef int exponent
    if value < (<uint64_t>1 << sub_bits):
        return <Py_ssize_t>value
    if value >> TOP_BITS:
        return (TOP_BITS - sub_bits + 1) << sub_bits
    exponent = fc_counter_log2(value) - sub_bits
    return (<Py_ssize_t>(exponent + 1) << sub_bits) + <Py_ssize_t>((value >> exponent) & ((1 << sub_bits) - 1))


cdef inline Py_ssize_t bucket_of(uint64_t nanoseconds) noexcept nogil:
    return log_linear(nanoseconds, SUB_BITS)


cdef class Histogram(Words):
    cdef inline void record_ns(self, uint64_t nanoseconds) noexcept nogil:
        fc_counter_add(self.words + bucket_of(nanoseconds), 1)
        fc_counter_add(self.words + SUM, nanoseconds)
