"""Header fields, octet by octet: split from a head, found by name, written into one (RFC 9110 section 5, RFC 9112 section 5).

What a head may hold, and what its fields mean, is decided in ``protocol``. Nothing is kept: every result is a new object.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem
from cpython.object cimport PyObject
from libc.string cimport memchr, memcpy


cdef extern from "recogniser.h" nogil:
    const char* fc_token_end(const char* text)


cpdef bint is_token(bytes text) except -1:
    """Whether ``text`` is one (RFC 9110 section 5.6.2)."""
    # The NUL behind every bytes object ends the run.
    cdef const char* start = PyBytes_AS_STRING(text)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(text)
    return length > 0 and fc_token_end(start) == start + length


cdef inline bint is_blank(char octet) noexcept nogil:
    return octet == c" " or octet == c"\t"


def split_fields(bytes head not None, Py_ssize_t start):
    """The fields of ``head`` from ``start`` to its empty line, values without surrounding white space; None when a line
    is not a field.

    ``head`` ends with an empty line, and CR and LF stand in it only as line ends.
    """
    cdef const char* at = PyBytes_AS_STRING(head)
    cdef const char* stop = at + PyBytes_GET_SIZE(head) - 2
    cdef const char* colon
    cdef const char* line_end
    cdef const char* value_end
    cdef list fields = []
    if not 0 <= start <= PyBytes_GET_SIZE(head) - 2:
        raise ValueError("fields begin inside the head")
    at += start
    while at < stop:
        line_end = <const char*>memchr(at, c"\r", stop - at)
        colon = fc_token_end(at)  # at the CR at the latest
        if line_end == NULL or colon == at or colon[0] != c":":
            return None
        name = PyBytes_FromStringAndSize(at, colon - at)
        colon += 1
        value_end = line_end
        while colon < value_end and is_blank(colon[0]):
            colon += 1
        while colon < value_end and is_blank((value_end - 1)[0]):
            value_end -= 1
        fields.append((name, PyBytes_FromStringAndSize(colon, value_end - colon)))
        at = line_end + 2
    return tuple(fields)


cdef bytes lower_case(bytes name):
    cdef Py_ssize_t at, length = PyBytes_GET_SIZE(name)
    cdef bytes lower = PyBytes_FromStringAndSize(NULL, length)
    cdef const char* source = PyBytes_AS_STRING(name)
    cdef char* out = PyBytes_AS_STRING(lower)
    for at in range(length):
        out[at] = source[at] + 32 if c"A" <= source[at] <= c"Z" else source[at]
    return lower


def values_by_name(tuple headers not None):
    """Lower-case name → the values of ``headers`` under it, in order."""
    cdef dict found = {}
    cdef PyObject* values
    cdef bytes lower
    for name, value in headers:
        lower = lower_case(name)
        values = PyDict_GetItem(found, lower)
        if values == NULL:
            found[lower] = [value]
        else:
            (<list>values).append(value)
    return found


cdef inline bint breaks_out(bytes value):
    """Whether a value could end its line early, for some reader."""
    cdef const char* text = PyBytes_AS_STRING(value)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(value)
    return length > 0 and (
        memchr(text, c"\r", length) != NULL or memchr(text, c"\n", length) != NULL or memchr(text, 0, length) != NULL
    )


cdef inline char* put(char* out, bytes text) noexcept:
    memcpy(out, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return out + PyBytes_GET_SIZE(text)


def render_fields(headers):
    """Header fields, each with its CRLF. ValueError for a name or value that could end a line early."""
    cdef tuple fields = tuple(headers)
    cdef Py_ssize_t size = 0
    cdef bytes name, value, rendered
    cdef char* out
    for name, value in fields:
        if name is None or not is_token(name):
            raise ValueError("a header name is not a token")
        if value is None or breaks_out(value):
            raise ValueError("a header field value contains CR, LF or NUL")
        size += PyBytes_GET_SIZE(name) + PyBytes_GET_SIZE(value) + 4
    rendered = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(rendered)
    for name, value in fields:
        out = put(out, name)
        out[0], out[1] = c":", c" "
        out = put(out + 2, value)
        out[0], out[1] = c"\r", c"\n"
        out += 2
    return rendered
