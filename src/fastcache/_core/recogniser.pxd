"""The plain form of a GET or HEAD: what the hit branch understands. It gives up on anything else."""

from fastcache._core.conditions cimport FieldValue, Preconditions

cdef struct PlainRequest:
    # Every text lies in the caller's buffer and is valid as long as that buffer is. A field that is not there has NULL.
    bint is_head
    bint checksum_mode           # x-amz-checksum-mode: enabled
    FieldValue host
    FieldValue path              # the target without a neutral query
    FieldValue range
    FieldValue if_range
    Preconditions conditions

# The octets of the head at the beginning of `length` octets, its empty line included, and `out`, when it is there and is
# a plain request with at most `max_fields` fields. 0 says nothing about a request but that somebody else has to look at
# it; others may follow the head.
cdef Py_ssize_t recognise(const char* head, Py_ssize_t length, int max_fields, PlainRequest* out) noexcept nogil
