"""Entity tags and preconditions (RFC 9110 sections 8.8.3 and 13).

Nothing here allocates or keeps a pointer: every buffer belongs to the caller and is read only during the call.
"""

from libc.stdint cimport int64_t


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

# Whether a comma-separated list (or `*`) names the current ETag. An absent current ETag (NULL) matches nothing.
cdef bint etag_listed(FieldValue listed, FieldValue current, bint strong) noexcept nogil

# RFC 9110 section 13.2.2, steps 1 to 4. last_modified is NO_DATE when unknown.
cdef int evaluate_preconditions(
    bint safe, FieldValue etag, int64_t last_modified, const Preconditions *asked
) noexcept nogil

# RFC 9110 section 13.1.5: whether the Range of the request still applies.
cdef bint if_range_holds(FieldValue value, FieldValue etag, int64_t last_modified) noexcept nogil

# Borrow the bytes of `value` (None: an absent field), which the caller keeps alive for as long as the result is used.
cdef FieldValue field_value(bytes value)
