"""Entity tags, HTTP dates and preconditions (RFC 9110 sections 5.6.7, 8.8.3, 13).

Nothing here allocates or keeps a pointer: every buffer belongs to the caller and is read only during the call.
"""

from libc.stdint cimport int64_t


cdef enum:
    HTTP_DATE_LENGTH = 29

cdef enum:
    # What a request's preconditions ask for.
    PERFORM = 0
    NOT_MODIFIED = 304
    PRECONDITION_FAILED = 412

cdef struct FieldValue:
    # A header field's value in the caller's buffer; text is NULL when the request has no such field.
    const char *text
    Py_ssize_t length

cdef struct Preconditions:
    FieldValue if_match
    FieldValue if_none_match
    FieldValue if_modified_since
    FieldValue if_unmodified_since

# No date: the value of an unparsable one.
cdef int64_t NO_DATE

# Whether a comma-separated list (or `*`) names the current ETag. An absent current ETag (NULL) matches nothing.
cdef bint etag_listed(FieldValue listed, FieldValue current, bint strong) noexcept nogil

# Seconds since the epoch, or NO_DATE. `now` (or NO_DATE) resolves the two-digit year of an RFC 850 date.
cdef int64_t read_http_date(const char *text, Py_ssize_t length, int64_t now) noexcept nogil

# Write the 29 characters of an IMF-fixdate; `out` has room for them, no terminator is added.
# `epoch` lies in the years 0 to 9999.
cdef void write_http_date(int64_t epoch, char *out) noexcept nogil

# RFC 9110 section 13.2.2, steps 1 to 4. last_modified is NO_DATE when unknown.
cdef int evaluate_preconditions(
    bint safe, FieldValue etag, int64_t last_modified, const Preconditions *asked
) noexcept nogil

# RFC 9110 section 13.1.5: whether the Range of the request still applies.
cdef bint if_range_holds(FieldValue value, FieldValue etag, int64_t last_modified) noexcept nogil
