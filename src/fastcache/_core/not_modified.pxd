"""A 304 that plainly proves what is stored. It gives up on anything else."""
from libc.string cimport memcmp

from fastcache._core.conditions cimport FieldValue

cdef enum:
    PROOF_BYTES = 4096       # of a 304's fields that go on to the client
    PROOF_FIELDS = 100       # of a head; as protocol.responses has it

cdef struct Proof:
    # `fields` are in `room`: each with its CRLF, in the order in which they came.
    char[PROOF_BYTES] room
    const char* fields
    Py_ssize_t length
    bint names_vary          # the stored Vary gives way to one of these
    bint names_request_id    # ours is not needed

# Whether `length` octets are exactly the head of a 304 that says of the stored `etag`, to a request without a condition of
# the client's that could lead to a 304, that it is current, with everything that is stored of it.
# `last_modified` and `version` have NULL when nothing is stored under that name.
cdef bint proves_current(
    const char* head, Py_ssize_t length, FieldValue etag, FieldValue last_modified, FieldValue version, Proof* out
) noexcept nogil


cdef inline bint is_same(FieldValue left, FieldValue right) noexcept nogil:
    return left.text != NULL and right.text != NULL and left.length == right.length and (
        memcmp(left.text, right.text, left.length) == 0
    )
