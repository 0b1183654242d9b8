"""A fine histogram of latencies, for measuring: 35 KB, less than 1 % off, written by one thread without the GIL."""

from libc.stdint cimport uint64_t

from fastcache._core.counters import quantile


cdef class Latencies(Words):
    """Durations of 1 ns to 2**40 ns, 128 buckets per power of two; all that is told is in seconds, None for nothing."""

    def __init__(self):
        if self.words != NULL:
            raise RuntimeError("already initialised")
        self._take(FINE_WORDS, None)

    def record(self, uint64_t nanoseconds):
        """Count one duration."""
        record_latency(self.words, nanoseconds)

    def absorb(self, Latencies other not None):
        """Count everything that ``other`` has counted."""
        cdef Py_ssize_t i
        for i in range(FINE_MOST):
            self.words[i] += other.words[i]
        self.words[FINE_MOST] = max(self.words[FINE_MOST], other.words[FINE_MOST])

    @property
    def count(self):
        """Durations recorded."""
        cdef Py_ssize_t i
        cdef uint64_t total = 0
        for i in range(FINE_BUCKETS):
            total += self.words[i]
        return total

    @property
    def mean(self):
        """Their arithmetic mean, exactly."""
        count = self.count
        return self.words[FINE_SUM] / count / 1e9 if count else None

    @property
    def most(self):
        """The longest, exactly."""
        return self.words[FINE_MOST] / 1e9 if self.count else None

    def quantile(self, double q):
        """Estimated ``q``-quantile, never more than the longest; ValueError unless 0 <= q <= 1."""
        estimate = quantile(self.snapshot()[:FINE_MOST], q, FINE_BITS)
        return None if estimate is None else min(estimate, self.words[FINE_MOST] / 1e9)
