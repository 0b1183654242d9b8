from libc.stdint cimport int64_t, uint64_t

from fastcache._core.generations cimport Generations

cdef class Numbers:
    cdef readonly Generations shared  # keeps what `last` points to; None where that is `own`
    cdef uint64_t own
    cdef uint64_t *last

    cdef int64_t take(self) noexcept nogil

cdef class Latest:
    # Whoever keeps a pointer to `number` keeps the object.
    cdef public int64_t number
