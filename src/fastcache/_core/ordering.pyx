"""Which of two requests to the origin was sent later: numbers that the engine and the hit branch take from one row."""

from libc.stdint cimport int64_t

from fastcache._core.fences cimport fc_raise


cdef class Numbers:
    """Sequence numbers of origin requests, taken just before each is sent: of this process alone, or those that all who
    share ``shared`` draw from."""

    def __cinit__(self, Generations shared=None):
        self.shared = shared
        self.last = &self.own if shared is None else shared.sent

    def next(self) -> int:
        """The next one; later requests have greater ones."""
        return self.take()

    cdef int64_t take(self) noexcept nogil:
        return <int64_t>fc_raise(self.last) + 1


cdef class Latest:
    """The number of the latest request whose answer was taken for an object; the hit branch raises it without Python."""

    def __cinit__(self, int64_t number=0):
        self.number = number
