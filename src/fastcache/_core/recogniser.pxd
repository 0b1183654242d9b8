"""The plain form of a GET or HEAD: what the hit branch understands. It gives up on anything else."""

from libc.stdint cimport int32_t

from fastcache._core.conditions cimport FieldValue, Preconditions

cdef enum:
    MOST_SIGNED_FIELDS = 64      # of a request whose signature is to be checked

cdef struct PlainRequest:
    # Every text lies in the caller's buffer and is valid as long as that buffer is. A field that is not there has NULL.
    bint is_head
    bint checksum_mode           # x-amz-checksum-mode: enabled
    FieldValue host
    FieldValue path              # the target without its query
    FieldValue query             # NULL without one; it is neutral, or the caller wants to judge it
    FieldValue range
    FieldValue if_range
    Preconditions conditions
    FieldValue authorization, amz_date, payload, token  # what signing adds

cdef struct PlainField:
    const char* name             # not NULL, its case as it arrived
    const char* value            # without white space around it
    int32_t name_length, value_length

cdef struct PlainFields:
    # All fields of a head, in order; texts as in PlainRequest.
    int count
    PlainField[MOST_SIGNED_FIELDS] items

# The octets of the head at the beginning of `length` octets, its empty line included, and `out`, when it is there and is
# a plain request with at most `max_fields` fields. 0 says nothing about a request but that somebody else has to look at
# it; others may follow the head. Whoever gives room for the fields (else NULL) judges the query too, which may then be
# any; there are as many of them as there is room for at most.
cdef Py_ssize_t recognise(
    const char* head, Py_ssize_t length, int max_fields, PlainRequest* out, PlainFields* fields
) noexcept nogil
