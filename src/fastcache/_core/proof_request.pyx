"""The client's request on its way to the origin, as ``protocol.requests`` renders it: every field anew, never copied as
it came (SEMANTICS 22), without what concerned the client's connection only, and with our If-None-Match behind."""

from libc.string cimport memchr

from fastcache._core.conditions cimport field_value
from fastcache._core.recogniser cimport PlainRequest, recognise
from fastcache._core.texts cimport put


cdef extern from "recogniser.h" nogil:
    const char* fc_token_end(const char* text)
    bint fc_same_name(const char* text, const char* lower, size_t length)


cdef Py_ssize_t write_proof_request(
    const char* head, Py_ssize_t length, FieldValue etag, char* out, Py_ssize_t room
) noexcept nogil:
    cdef const char* line = head
    cdef const char* stop = head + length - 2
    cdef const char* end
    cdef const char* value
    cdef Py_ssize_t name, size
    cdef char* at = out
    # A field grows by the blank behind its colon at most, and has four octets at least.
    if etag.length + 19 + length + length // 4 > room:
        return 0
    end = <const char*>memchr(line, c"\n", stop - line) + 1
    at = put(at, line, end - line)
    line = end
    while line < stop:
        end = <const char*>memchr(line, c"\n", stop - line) + 1
        name = fc_token_end(line) - line
        # Of all that concerns a connection alone, a plain request has nothing but this.
        if not (name == 10 and fc_same_name(line, b"connection", 10)):
            value = line + name + 1
            size = end - 2 - value
            while size > 0 and value[0] == c" ":
                value += 1
                size -= 1
            while size > 0 and value[size - 1] == c" ":
                size -= 1
            at = put(at, line, name)
            at = put(at, b": ", 2)
            at = put(at, value, size)
            at = put(at, b"\r\n", 2)
        line = end
    at = put(at, b"If-None-Match: ", 15)
    at = put(at, etag.text, etag.length)
    at = put(at, b"\r\n\r\n", 4)
    return at - out


# --- Python face -----------------------------------------------------------------------------------------------------


def proof_request(bytes head not None, bytes etag not None):
    """The request that proves ``etag`` for the client whose plain request is ``head``; None for any other head.

    For tests and tools; the hit branch calls ``write_proof_request``.
    """
    cdef PlainRequest plain
    cdef Py_ssize_t room = 2 * len(head) + len(etag) + 32, length
    if not head or recognise(head, len(head), 100, &plain, NULL) != len(head):
        return None
    out = bytearray(room)
    length = write_proof_request(head, len(head), field_value(etag), out, room)
    return bytes(out[:length])
