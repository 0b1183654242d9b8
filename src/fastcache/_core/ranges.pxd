"""Byte ranges of RFC 9110 section 14, for the engine and for the compiled hit path alike.

Nothing here allocates or keeps a pointer: every buffer belongs to the caller and is read only during the call.
"""

from libc.stdint cimport int64_t


cdef enum:
    MAX_RANGES = 100

cdef struct ByteRange:
    # One range-spec. first >= 0: bytes from first to last inclusive, last is INT64_MAX when open or too large to write.
    # first == -1: the final `last` bytes (a suffix range).
    int64_t first
    int64_t last


# The number of ranges in the field value; 0 when it must be ignored (invalid, another unit, more than MAX_RANGES).
# The first `capacity` of them are written to `out`.
cdef int parse_ranges(const char *value, Py_ssize_t length, ByteRange *out, int capacity) noexcept nogil

# parse_ranges for the one range a hit can serve: 0 ignore, 1 a single range in `out`, more: a multi-range.
cdef int parse_range(const char *value, Py_ssize_t length, ByteRange *out) noexcept nogil

# 1 and the half-open interval of a representation of `size` bytes, or 0 when unsatisfiable (416).
cdef int resolve_range(const ByteRange *spec, int64_t size, int64_t *start, int64_t *end) noexcept nogil
