"""Entity tags and preconditions: the only place where they are compared."""

from libc.stdint cimport int64_t
from libc.string cimport memcmp

from fastcache._core.dates cimport NO_DATE, read_http_date

from fastcache._core.dates import http_date, parse_http_date


# --- entity tags -----------------------------------------------------------------------------------------------------

cdef struct EntityTag:
    # The opaque tag without quotes, inside the caller's buffer.
    const char *text
    Py_ssize_t length
    bint weak


cdef inline bint is_space(char character) noexcept nogil:
    return character == c" " or character == c"\t"


cdef Py_ssize_t read_etag(const char *text, Py_ssize_t length, EntityTag *out) noexcept nogil:
    """Read one entity tag from the start of ``text`` (no leading white space); the number of characters consumed.

    S3 clients send tags without quotes, so an unquoted tag ends at the next comma (SEMANTICS 23).
    """
    cdef Py_ssize_t position = 0
    cdef Py_ssize_t begin
    out.weak = length >= 2 and text[0] == c"W" and text[1] == c"/"
    if out.weak:
        position = 2
    if position < length and text[position] == c'"':
        position += 1
        begin = position
        while position < length and text[position] != c'"':
            position += 1
        out.text = text + begin
        out.length = position - begin
        return position + 1 if position < length else position
    begin = position
    while position < length and text[position] != c",":
        position += 1
    out.text = text + begin
    out.length = position - begin
    while out.length > 0 and is_space(text[begin + out.length - 1]):
        out.length -= 1
    return position


cdef bint same_tag(const EntityTag *left, const EntityTag *right, bint strong) noexcept nogil:
    """RFC 9110 section 8.8.3.2. An empty unquoted tag is no tag, but ``""`` is one and equals itself."""
    if strong and (left.weak or right.weak):
        return False
    return left.length == right.length and memcmp(left.text, right.text, <size_t>left.length) == 0


cdef bint read_whole_etag(FieldValue value, EntityTag *out) noexcept nogil:
    """Read a field value that is exactly one entity tag."""
    if value.text == NULL or value.length == 0:
        return False
    return read_etag(value.text, value.length, out) == value.length


cdef bint etag_listed(FieldValue listed, FieldValue current, bint strong) noexcept nogil:
    cdef EntityTag have
    cdef EntityTag asked
    cdef Py_ssize_t position = 0
    if listed.text == NULL or not read_whole_etag(current, &have):
        return False
    if listed.length == 1 and listed.text[0] == c"*":
        return True
    while position < listed.length:
        if is_space(listed.text[position]) or listed.text[position] == c",":
            position += 1
            continue
        position += read_etag(listed.text + position, listed.length - position, &asked)
        if same_tag(&asked, &have, strong):
            return True
    return False


# --- preconditions ---------------------------------------------------------------------------------------------------

cdef int64_t asked_date(FieldValue value) noexcept nogil:
    return NO_DATE if value.text == NULL else read_http_date(value.text, value.length, NO_DATE)


cdef int evaluate_preconditions(
    bint safe, FieldValue etag, int64_t last_modified, const Preconditions *asked
) noexcept nogil:
    cdef int64_t date
    # RFC 9110 section 13.2.2 steps 1 and 2: If-Match makes If-Unmodified-Since irrelevant; AWS documents the same
    # ("If-Match true and If-Unmodified-Since false: 200 OK", API reference of GetObject).
    if asked.if_match.text != NULL:
        if not etag_listed(asked.if_match, etag, True):
            return PRECONDITION_FAILED
    elif asked.if_unmodified_since.text != NULL and last_modified != NO_DATE:
        date = asked_date(asked.if_unmodified_since)
        if date != NO_DATE and last_modified > date:
            return PRECONDITION_FAILED
    # Steps 3 and 4: If-None-Match makes If-Modified-Since irrelevant ("If-None-Match false and If-Modified-Since true:
    # 304 Not Modified").
    if asked.if_none_match.text != NULL:
        if etag_listed(asked.if_none_match, etag, False):
            return NOT_MODIFIED if safe else PRECONDITION_FAILED
    elif safe and asked.if_modified_since.text != NULL and last_modified != NO_DATE:
        date = asked_date(asked.if_modified_since)
        if date != NO_DATE and last_modified <= date:
            return NOT_MODIFIED
    return PERFORM


cdef bint if_range_holds(FieldValue value, FieldValue etag, int64_t last_modified) noexcept nogil:
    cdef EntityTag asked
    cdef EntityTag have
    cdef int64_t date
    if value.text == NULL or value.length == 0:
        return False
    # No S3 tag has the form of a date, so what reads as one is one (RFC 9110 section 13.1.5).
    date = read_http_date(value.text, value.length, NO_DATE)
    if date != NO_DATE:
        return last_modified != NO_DATE and date == last_modified
    if not read_whole_etag(value, &asked) or not read_whole_etag(etag, &have):
        return False
    return same_tag(&asked, &have, True)


# --- Python face -----------------------------------------------------------------------------------------------------

cdef FieldValue field_value(bytes value):
    """Borrow the bytes of ``value``, which the caller keeps alive for as long as the result is used."""
    cdef FieldValue out
    if value is None:
        out.text = NULL
        out.length = 0
    else:
        out.text = <const char *>value
        out.length = len(value)
    return out


cdef int64_t epoch_of(bytes last_modified):
    return NO_DATE if last_modified is None else read_http_date(last_modified, len(last_modified), NO_DATE)


def strong_match(bytes left not None, bytes right not None):
    """Strong comparison of two single entity tags (RFC 9110 section 8.8.3.2), unquoted (SEMANTICS 23)."""
    return compare_tags(left, right, True)


def weak_match(bytes left not None, bytes right not None):
    """Weak comparison of two single entity tags (RFC 9110 section 8.8.3.2), unquoted (SEMANTICS 23)."""
    return compare_tags(left, right, False)


cdef bint compare_tags(bytes left, bytes right, bint strong):
    cdef EntityTag first
    cdef EntityTag second
    if not read_whole_etag(field_value(left), &first) or not read_whole_etag(field_value(right), &second):
        return False
    return same_tag(&first, &second, strong)


def is_strong_etag(bytes value not None):
    """Whether ``value`` is exactly one strong entity tag: what a generation may be named by (SEMANTICS 23)."""
    cdef EntityTag tag
    if not read_whole_etag(field_value(value), &tag) or tag.weak or tag.length == 0:
        return False
    # Both quotes or none: comparing may be lenient about a cut tag, naming stored bytes by one may not.
    return value.count(b'"') == (2 if value.startswith(b'"') else 0)


def matches_any(bytes listed not None, bytes etag, *, bint strong):
    """Whether an If-Match (``strong``) or If-None-Match value, a list or ``*``, names the current ``etag``.

    ``etag`` None means that there is no current representation: then nothing matches, ``*`` included.
    """
    return bool(etag_listed(field_value(listed), field_value(etag), strong))


def evaluate(
    bytes method not None,
    bytes etag,
    bytes last_modified,
    bytes if_match,
    bytes if_none_match,
    bytes if_modified_since,
    bytes if_unmodified_since,
):
    """0 (perform the method), 304 or 412, in the order of RFC 9110 section 13.2.2.

    All are field values as received, None when absent; several If-Match or If-None-Match lines are joined with commas.
    ``etag`` None means that there is no current representation. Unparsable dates are ignored (sections 13.1.3, 13.1.4).
    """
    cdef Preconditions asked
    asked.if_match = field_value(if_match)
    asked.if_none_match = field_value(if_none_match)
    asked.if_modified_since = field_value(if_modified_since)
    asked.if_unmodified_since = field_value(if_unmodified_since)
    return evaluate_preconditions(
        method == b"GET" or method == b"HEAD", field_value(etag), epoch_of(last_modified), &asked
    )


def if_range_matches(bytes value not None, bytes etag, bytes last_modified):
    """Whether an If-Range value still holds, so that Range applies (RFC 9110 section 13.1.5); False: send the full 200.

    A tag is compared strongly, a date must be the Last-Modified date itself.
    """
    return bool(if_range_holds(field_value(value), field_value(etag), epoch_of(last_modified)))
