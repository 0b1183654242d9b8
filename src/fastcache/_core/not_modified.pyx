"""Reading a 304 in the one form that origins really send (``policy.revalidation.judge_304``, in part).

What is accepted here is a small part of what ``protocol.responses`` reads and ``policy.revalidation`` calls current; a
differential test holds them together. Whatever is not certain is not accepted, and the engine reads the head anew.
"""

from libc.string cimport memchr, memcmp

from fastcache._core.conditions cimport field_value
from fastcache._core.fields import split_fields
from fastcache._core.texts cimport put


cdef extern from "recogniser.h" nogil:
    size_t fc_count_controls(const char* text, size_t length)
    const char* fc_token_end(const char* text)
    bint fc_same_name(const char* text, const char* lower, size_t length)

cdef enum:
    MOST_DIGITS = 18


cdef inline bint is_name(const char* text, Py_ssize_t length, const char* lower, Py_ssize_t wanted) noexcept nogil:
    return length == wanted and fc_same_name(text, lower, wanted)


cdef inline FieldValue unquoted(FieldValue etag) noexcept nogil:
    """As ``model.unquoted_etag``: servers disagree about sending the quotes (SEMANTICS 23)."""
    if etag.length >= 2 and etag.text[0] == c'"' and etag.text[etag.length - 1] == c'"':
        etag.text += 1
        etag.length -= 2
    return etag


cdef bint is_number(FieldValue value) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(value.length):
        if not c"0" <= value.text[at] <= c"9":
            return False
    return 0 < value.length <= MOST_DIGITS


cdef bint take_over(const char* name, Py_ssize_t n, FieldValue value, Proof* out) noexcept nogil:
    """Keep a field for the client; False when there is no room for it."""
    cdef char* at = out.room + out.length
    if out.length + n + value.length + 4 > PROOF_BYTES:
        return False
    at = put(at, name, n)
    at = put(at, b": ", 2)
    at = put(at, value.text, value.length)
    put(at, b"\r\n", 2)
    out.length += n + value.length + 4
    return True


cdef bint take_field(
    const char* name, Py_ssize_t n, FieldValue value, FieldValue etag, FieldValue last_modified, FieldValue version,
    bint* has_length, Proof* out,
) noexcept nogil:
    """One field; False when the answer does not plainly prove anything because of it."""
    cdef char first = name[0] | 0x20
    if first == c"x":
        if is_name(name, n, b"x-amz-version-id", 16):
            return is_same(value, version)
        if is_name(name, n, b"x-amz-request-id", 16):
            out.names_request_id = True
            return take_over(name, n, value, out)
        if (is_name(name, n, b"x-amz-id-2", 10) or is_name(name, n, b"x-amz-request-charged", 21)
                or is_name(name, n, b"x-trans-id", 10) or is_name(name, n, b"x-openstack-request-id", 22)):
            return take_over(name, n, value, out)
    elif first == c"e":
        if is_name(name, n, b"etag", 4):
            return is_same(unquoted(value), unquoted(etag))
    elif first == c"l":
        if is_name(name, n, b"last-modified", 13):
            return is_same(value, last_modified)
    elif first == c"v":
        if is_name(name, n, b"vary", 4):
            out.names_vary = True
            return take_over(name, n, value, out)
    elif first == c"a":
        if n >= 15 and is_name(name, 15, b"access-control-", 15):
            return take_over(name, n, value, out)
    elif first == c"c":
        if is_name(name, n, b"connection", 10):
            return is_name(value.text, value.length, b"keep-alive", 10)
        if is_name(name, n, b"content-length", 14):
            if has_length[0]:
                return False
            has_length[0] = True
            return is_number(value)
    elif first == c"t":
        return not (
            is_name(name, n, b"transfer-encoding", 17) or is_name(name, n, b"te", 2) or is_name(name, n, b"trailer", 7)
        )
    elif first == c"u":
        return not is_name(name, n, b"upgrade", 7)
    elif first == c"p":
        return not (n >= 6 and is_name(name, 6, b"proxy-", 6))
    return True


cdef bint proves_current(
    const char* head, Py_ssize_t length, FieldValue etag, FieldValue last_modified, FieldValue version, Proof* out
) noexcept nogil:
    cdef const char* end
    cdef FieldValue value
    cdef Py_ssize_t position, line, name
    cdef Py_ssize_t lines = 2
    cdef bint has_length = False
    out.fields = out.room
    out.length = 0
    out.names_vary = out.names_request_id = False
    if length < 17 or memcmp(head, b"HTTP/1.1 304 ", 13) != 0 or memcmp(head + length - 4, b"\r\n\r\n", 4) != 0:
        return False
    end = <const char*>memchr(head, c"\n", length)
    if (end - 1)[0] != c"\r":
        return False
    position = end - head + 1
    while position < length - 2:
        end = <const char*>memchr(head + position, c"\n", length - position)
        line = end - head - position - 1  # without CRLF
        name = fc_token_end(head + position) - head - position  # ends at the CR or LF at the latest
        if line < 1 or (end - 1)[0] != c"\r" or lines - 1 > PROOF_FIELDS or name == 0 or head[position + name] != c":":
            return False
        value.text = head + position + name + 1
        value.length = line - name - 1
        while value.length > 0 and value.text[0] == c" ":
            value.text += 1
            value.length -= 1
        while value.length > 0 and value.text[value.length - 1] == c" ":
            value.length -= 1
        if not take_field(head + position, name, value, etag, last_modified, version, &has_length, out):
            return False
        lines += 1
        position = end - head + 1
    # Two controls to every line are its CRLF, so that no other stands anywhere, nor an octet outside ASCII.
    return fc_count_controls(head, <size_t>length) == <size_t>(2 * lines)


# --- Python face -----------------------------------------------------------------------------------------------------


def fields_of_proof(bytes head not None, bytes etag not None, bytes last_modified, bytes version):
    """The fields that go on to the client if ``head`` is a 304 which plainly proves what is stored, else None.

    For tests and tools; the hit branch calls ``proves_current``.
    """
    cdef Proof proof
    if not proves_current(
        head, len(head), field_value(etag), field_value(last_modified), field_value(version), &proof
    ):
        return None
    return split_fields(proof.room[:proof.length] + b"\r\n", 0)
