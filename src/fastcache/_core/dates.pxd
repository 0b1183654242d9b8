"""HTTP dates (RFC 9110 section 5.6.7) and the timestamps of signatures.

Nothing here allocates or keeps a pointer: every buffer belongs to the caller and is used only during the call.
"""

from libc.stdint cimport int64_t


cdef extern from *:
    """
    #include <stdint.h>
    #define FASTCACHE_NO_DATE INT64_MIN
    """
    # What an absent or unparsable date is read as.
    const int64_t NO_DATE "FASTCACHE_NO_DATE"

cdef enum:
    HTTP_DATE_LENGTH = 29

# Seconds since the epoch, or NO_DATE. `now` (in the years 0 to 9999, or NO_DATE) resolves the two-digit year of an RFC
# 850 date.
cdef int64_t read_http_date(const char *text, Py_ssize_t length, int64_t now) noexcept nogil

# Write the 29 characters of an IMF-fixdate; `out` has room for them, no terminator is added.
# `epoch` lies in the years 0 to 9999.
cdef void write_http_date(int64_t epoch, char *out) noexcept nogil

# Seconds since the epoch of ``YYYYMMDDTHHMMSSZ``, or NO_DATE.
cdef int64_t read_timestamp(const char *text, Py_ssize_t length) noexcept nogil
