"""Counters and latency histograms that compiled code bumps without the GIL and Python reads.

Both are plain arrays of 64-bit words, in memory of their own or in a buffer of the caller's (shared memory), so that
another process that knows the layout can read them.
"""

from array import array

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT64_MAX, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free


HISTOGRAM_WORDS = WORDS
HISTOGRAM_BUCKETS = BUCKETS


cdef class Words:
    """An array of ``size`` unsigned 64-bit words, zero at first unless the given buffer already holds values."""

    def __cinit__(self, *args, **kwargs):
        self.words = NULL
        self.size = 0
        self.borrowed = False

    cdef int _take(self, Py_ssize_t size, object buffer) except -1:
        if size <= 0:
            raise ValueError("at least one word is needed")
        if buffer is None:
            self.words = <uint64_t *>calloc(size, sizeof(uint64_t))
            if self.words == NULL:
                raise MemoryError
            self.size = size
            return 0
        PyObject_GetBuffer(buffer, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.borrowed = True
        try:
            if self.view.len // <Py_ssize_t>sizeof(uint64_t) < size:
                raise ValueError(f"buffer of {self.view.len} bytes cannot hold {size} words")
            # An atomic add across a cache line's border is slow or traps.
            if <uintptr_t>self.view.buf % sizeof(uint64_t):
                raise ValueError("buffer is not aligned to 8 bytes")
        except ValueError:
            self.borrowed = False
            PyBuffer_Release(&self.view)
            raise
        self.words = <uint64_t *>self.view.buf
        self.size = size
        return 0

    cdef int _check(self) except -1:
        if self.words == NULL:
            raise RuntimeError("not initialised")
        return 0

    def __dealloc__(self):
        if self.borrowed:
            PyBuffer_Release(&self.view)
        else:
            free(self.words)

    def __len__(self):
        return self.size

    def snapshot(self):
        """All words as ``array('Q')``; each is read atomically, together they are of slightly different moments."""
        cdef Py_ssize_t i
        cdef uint64_t[::1] target
        result = array("Q", bytes(self.size * sizeof(uint64_t)))
        target = result
        for i in range(self.size):
            target[i] = fc_counter_get(self.words + i)
        return result


cdef class Counters(Words):
    """``slots`` counters. ``buffer``: writable, 8-byte aligned, ``8 * slots`` bytes or more, kept exported."""

    def __init__(self, Py_ssize_t slots, buffer=None):
        if self.words != NULL:
            raise RuntimeError("already initialised")
        self._take(slots, buffer)

    def add(self, Py_ssize_t slot, uint64_t n=1):
        """Add ``n`` to ``slot``; IndexError outside the array. Wraps at 2**64."""
        if slot < 0 or slot >= self.size:
            raise IndexError(slot)
        self.bump(slot, n)

    def get(self, Py_ssize_t slot):
        """The value of ``slot``; IndexError outside the array."""
        if slot < 0 or slot >= self.size:
            raise IndexError(slot)
        return fc_counter_get(self.words + slot)


cdef uint64_t _upper(Py_ssize_t bucket, int sub_bits=SUB_BITS) noexcept nogil:
    """Upper bound (inclusive) of a bucket in nanoseconds; UINT64_MAX of the last one."""
    cdef Py_ssize_t exponent, share = <Py_ssize_t>1 << sub_bits
    if bucket < share:
        return <uint64_t>bucket + 1
    if bucket >= (TOP_BITS - sub_bits + 1) << sub_bits:
        return UINT64_MAX
    exponent = (bucket >> sub_bits) - 1
    return ((<uint64_t>(bucket & (share - 1)) + share) + 1) << exponent


cdef class Histogram(Words):
    """Durations in nanoseconds, four buckets per power of two (an estimate is at most 25 % off) up to 2**40 ns.

    Layout: one word per bucket, then the sum of all values in nanoseconds. ``buffer`` as in ``Counters``,
    ``8 * HISTOGRAM_WORDS`` bytes.
    """

    def __init__(self, buffer=None):
        if self.words != NULL:
            raise RuntimeError("already initialised")
        self._take(WORDS, buffer)

    def record(self, double seconds):
        """Count one duration in seconds; a negative or not-a-number one counts as 0."""
        cdef double nanoseconds = seconds * 1e9
        self._check()
        if not nanoseconds > 0.0:
            self.record_ns(0)
        elif nanoseconds >= 9.2e18:
            self.record_ns(<uint64_t>9200000000000000000)
        else:
            self.record_ns(<uint64_t>nanoseconds)

    @property
    def count(self):
        """Durations recorded."""
        cdef Py_ssize_t i
        cdef uint64_t total = 0
        self._check()
        for i in range(BUCKETS):
            total += fc_counter_get(self.words + i)
        return total

    @property
    def sum(self):
        """Sum of the durations in seconds."""
        self._check()
        return fc_counter_get(self.words + SUM) / 1e9

    def quantile(self, double q):
        """Estimated ``q``-quantile in seconds, None when nothing was recorded; ValueError unless 0 <= q <= 1.

        Linear inside the bucket; in the open last bucket its lower bound.
        """
        return quantile(self.snapshot(), q)


def bucket_bounds():
    """Upper bounds (inclusive, nanoseconds) of all buckets but the last, whose bound is infinity."""
    cdef Py_ssize_t i
    return array("Q", [_upper(i) for i in range(BUCKETS - 1)])


def cumulative(words, bounds):
    """Counts of values ``<= bound`` for each of ``bounds`` (nanoseconds, ascending) and the total at the end.

    ``words`` is a histogram's snapshot or a sum of some. A bound must be a bucket's own (every power of two is):
    ValueError otherwise, because the answer would be a guess.
    """
    cdef Py_ssize_t position = 0
    cdef uint64_t total = 0
    if len(words) != WORDS:
        raise ValueError(f"a histogram has {WORDS} words, not {len(words)}")
    result = []
    for bound in bounds:
        while position < BUCKETS - 1 and _upper(position) <= bound:
            total += words[position]
            position += 1
        if position == 0 or _upper(position - 1) != bound:
            raise ValueError(f"{bound} ns is no bucket's bound, or out of order")
        result.append(total)
    while position < BUCKETS:
        total += words[position]
        position += 1
    result.append(total)
    return result


def quantile(words, double q, int sub_bits=SUB_BITS):
    """Estimated ``q``-quantile in seconds of a histogram's words; see ``Histogram.quantile``.

    ``sub_bits``: each power of two has ``2**sub_bits`` buckets.
    """
    cdef Py_ssize_t i, buckets
    cdef double rank, low, high
    cdef uint64_t seen = 0, total = 0, here
    if not 0.0 <= q <= 1.0:
        raise ValueError("a quantile is between 0 and 1")
    if not 0 <= sub_bits < TOP_BITS:
        raise ValueError("no such number of buckets")
    buckets = ((TOP_BITS - sub_bits + 1) << sub_bits) + 1
    if len(words) != buckets + 1:
        raise ValueError(f"a histogram has {buckets + 1} words, not {len(words)}")
    for i in range(buckets):
        total += words[i]
    if not total:
        return None
    rank = q * total
    for i in range(buckets):
        here = words[i]
        if here and seen + here >= rank:
            low = <double>_upper(i - 1, sub_bits) if i else 0.0
            if i == buckets - 1:
                return low / 1e9
            high = <double>_upper(i, sub_bits)
            return (low + (high - low) * max(0.0, rank - seen) / here) / 1e9
        seen += here
    raise AssertionError("the ranks of a histogram end at its total")
