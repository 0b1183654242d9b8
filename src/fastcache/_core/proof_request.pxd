"""A plain request as it goes on to the origin, with our validator."""

from fastcache._core.conditions cimport FieldValue

# Write the request whose head is the `length` octets at `head`, all of it recognised as plain, with `etag` as its
# If-None-Match, to `out`. The octets written, 0 when there is no room for them among `room`.
cdef Py_ssize_t write_proof_request(
    const char* head, Py_ssize_t length, FieldValue etag, char* out, Py_ssize_t room
) noexcept nogil
