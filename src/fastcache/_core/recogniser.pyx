"""A strict recogniser in front of the hit branch: GET or HEAD of a path in the one form that clients really send.

Theory of operation. httptools stays the authority on framing: what is recognised here is a small part of what it (and
``protocol.requests``) accepts, and is read by all three alike, which a differential test holds. Whatever is not certain
(another method, form, version or line end; a body; a field that is repeated, or that is not on the list and might change
the answer) is not recognised, and the engine reads the head anew. There is no error here.

The target and Host are not judged: the hit branch looks them up, octet by octet, among those that the engine has read
and answered before.
"""

from libc.string cimport memchr, memcmp, memset


cdef extern from "recogniser.h" nogil:
    size_t fc_count_controls(const char* text, size_t length)
    const char* fc_token_end(const char* text)
    bint fc_same_name(const char* text, const char* lower, size_t length)


cdef inline bint is_name(const char* text, Py_ssize_t length, const char* lower, Py_ssize_t wanted) noexcept nogil:
    """Whether a field name (or a value of letters and hyphens) is ``lower``, without regard to case."""
    return length == wanted and fc_same_name(text, lower, wanted)


cdef inline bint take(FieldValue* slot, const char* text, Py_ssize_t length) noexcept nogil:
    """Keep a field's value; False when the field was there before."""
    if slot.text != NULL:
        return False
    slot.text = text
    slot.length = length
    return True


cdef struct Seen:
    # Fields whose value is nothing to the cache, but of which two would be one too many.
    bint connection, length, checksum_mode


cdef inline bint once(bint* seen) noexcept nogil:
    if seen[0]:
        return False
    seen[0] = True
    return True


cdef bint take_amz_field(
    const char* name, Py_ssize_t n, const char* value, Py_ssize_t length, PlainRequest* out, Seen* seen
) noexcept nogil:
    """The ``x-amz-*`` fields that a lease covers (SEMANTICS 20); any other may change the answer."""
    if is_name(name, n, b"x-amz-date", 10):
        return take(&out.amz_date, value, length)
    if is_name(name, n, b"x-amz-content-sha256", 20):
        return take(&out.payload, value, length)
    if is_name(name, n, b"x-amz-checksum-mode", 19):
        out.checksum_mode = is_name(value, length, b"enabled", 7)
        return once(&seen.checksum_mode)
    if is_name(name, n, b"x-amz-security-token", 20):
        return take(&out.token, value, length)
    return is_name(name, n, b"x-amz-user-agent", 16) or is_name(name, n, b"x-amz-api-version", 17)


cdef bint take_field(
    const char* name, Py_ssize_t n, const char* value, Py_ssize_t length, PlainRequest* out, Seen* seen
) noexcept nogil:
    """One field; False when the request is not plain because of it."""
    cdef char first = name[0] | 0x20
    if first == c"x":
        if n >= 6 and is_name(name, 6, b"x-amz-", 6):
            return take_amz_field(name, n, value, length, out, seen)
    elif first == c"h":
        if is_name(name, n, b"host", 4):
            return take(&out.host, value, length)
        return not is_name(name, n, b"http2-settings", 14)
    elif first == c"a":
        if is_name(name, n, b"authorization", 13):
            return take(&out.authorization, value, length)
    elif first == c"r":
        if is_name(name, n, b"range", 5):
            return take(&out.range, value, length)
    elif first == c"i":
        if is_name(name, n, b"if-match", 8):
            return take(&out.conditions.if_match, value, length)
        if is_name(name, n, b"if-none-match", 13):
            return take(&out.conditions.if_none_match, value, length)
        if is_name(name, n, b"if-modified-since", 17):
            return take(&out.conditions.if_modified_since, value, length)
        if is_name(name, n, b"if-unmodified-since", 19):
            return take(&out.conditions.if_unmodified_since, value, length)
        if is_name(name, n, b"if-range", 8):
            return take(&out.if_range, value, length)
    elif first == c"c":
        if is_name(name, n, b"connection", 10):
            return is_name(value, length, b"keep-alive", 10) and once(&seen.connection)
        if is_name(name, n, b"content-length", 14):
            return length == 1 and value[0] == c"0" and once(&seen.length)
        return not (is_name(name, n, b"cache-control", 13) or is_name(name, n, b"cookie", 6))
    elif first == c"t":
        return not (
            is_name(name, n, b"transfer-encoding", 17) or is_name(name, n, b"te", 2) or is_name(name, n, b"trailer", 7)
        )
    elif first == c"e":
        return not is_name(name, n, b"expect", 6)
    elif first == c"u":
        return not is_name(name, n, b"upgrade", 7)
    elif first == c"o":
        return not is_name(name, n, b"origin", 6)
    elif first == c"p":
        return not (is_name(name, n, b"pragma", 6) or (n >= 6 and is_name(name, 6, b"proxy-", 6)))
    elif first == c"k":
        return not is_name(name, n, b"keep-alive", 10)
    return True


cdef bint take_request_line(const char* head, Py_ssize_t length, PlainRequest* out, bint any_query) noexcept nogil:
    """``length`` octets without their CRLF: GET or HEAD, one space, an origin-form target, one space, HTTP/1.1."""
    cdef Py_ssize_t method = 4
    cdef const char* mark
    if length < 14 or memcmp(head + length - 9, b" HTTP/1.1", 9) != 0:
        return False
    if memcmp(head, b"GET ", 4) != 0:
        if memcmp(head, b"HEAD ", 5) != 0:
            return False
        method = 5
        out.is_head = True
    out.path.text = head + method
    out.path.length = length - 9 - method
    if out.path.length < 1 or out.path.text[0] != c"/" or memchr(out.path.text, c" ", out.path.length) != NULL:
        return False
    mark = <const char*>memchr(out.path.text, c"?", out.path.length)
    if mark == NULL:
        return True
    out.query.text = mark + 1
    out.query.length = out.path.text + out.path.length - mark - 1
    out.path.length = mark - out.path.text
    return any_query or is_neutral(out)


cdef inline void keep(
    PlainField* field, const char* name, Py_ssize_t name_length, const char* value, Py_ssize_t value_length
) noexcept nogil:
    field.name = name
    field.value = value
    field.name_length = <int32_t>name_length
    field.value_length = <int32_t>value_length


cdef bint is_neutral(const PlainRequest* asked) noexcept nogil:
    """Some SDKs repeat the operation's name (SEMANTICS, "key noise")."""
    return not asked.is_head and asked.query.length == 14 and memcmp(asked.query.text, b"x-id=GetObject", 14) == 0


cdef Py_ssize_t recognise(
    const char* head, Py_ssize_t length, int max_fields, PlainRequest* out, PlainFields* fields
) noexcept nogil:
    cdef const char* end
    cdef const char* value
    cdef Py_ssize_t position, line, name
    cdef Py_ssize_t lines = 2
    cdef Seen seen
    memset(out, 0, sizeof(PlainRequest))
    memset(&seen, 0, sizeof(Seen))
    if fields != NULL:
        fields.count = 0
        max_fields = min(max_fields, MOST_SIGNED_FIELDS)
    if length < 18:
        return 0
    end = <const char*>memchr(head, c"\n", length)
    if end == NULL or end == head or (end - 1)[0] != c"\r":
        return 0
    if not take_request_line(head, end - head - 1, out, fields != NULL):
        return 0
    position = end - head + 1
    while True:
        end = <const char*>memchr(head + position, c"\n", length - position)
        if end == NULL:
            return 0
        line = end - head - position - 1  # without CRLF
        if line < 0 or (end - 1)[0] != c"\r":
            return 0
        if line == 0:
            break
        if lines - 1 > max_fields:
            return 0
        name = fc_token_end(head + position) - head - position  # ends at the CR at the latest
        if name == 0 or head[position + name] != c":":
            return 0
        value = head + position + name + 1
        line -= name + 1
        while line > 0 and value[0] == c" ":
            value += 1
            line -= 1
        while line > 0 and value[line - 1] == c" ":
            line -= 1
        if not take_field(head + position, name, value, line, out, &seen):
            return 0
        if fields != NULL:
            keep(&fields.items[fields.count], head + position, name, value, line)
            fields.count += 1
        lines += 1
        position = end - head + 1
    position = end - head + 1
    # Two controls to every line are its CRLF, so that no other stands anywhere.
    if out.host.length == 0 or fc_count_controls(head, <size_t>position) != <size_t>(2 * lines):
        return 0
    return position


# --- Python face -----------------------------------------------------------------------------------------------------

cdef object text_of(FieldValue value):
    return None if value.text == NULL else value.text[:value.length]


def recognised(bytes head not None, int max_fields=100, *, bint any_query=False):
    """What is recognised in ``head``, all of it one head: None, or a dict of method, path, query, host, range,
    checksum_mode and conditions. With ``any_query`` as where signatures are checked.

    For tests and tools; the hit branch calls ``recognise``.
    """
    cdef PlainRequest plain
    cdef PlainFields fields
    if not head or recognise(head, len(head), max_fields, &plain, &fields if any_query else NULL) != len(head):
        return None
    return {
        "method": b"HEAD" if plain.is_head else b"GET",
        "host": text_of(plain.host),
        "path": text_of(plain.path),
        "query": text_of(plain.query),
        "range": text_of(plain.range),
        "if-range": text_of(plain.if_range),
        "if-match": text_of(plain.conditions.if_match),
        "if-none-match": text_of(plain.conditions.if_none_match),
        "if-modified-since": text_of(plain.conditions.if_modified_since),
        "if-unmodified-since": text_of(plain.conditions.if_unmodified_since),
        "checksum-mode": bool(plain.checksum_mode),
    }
