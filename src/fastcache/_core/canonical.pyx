"""The canonical request of Signature Version 4 (S3 API Reference, "Create a canonical request"), of a plain request.

The reading is that of ``protocol.sigv4_canonical``: the path is decoded once and encoded again, ``+`` in a query is a
space, values are trimmed and runs of spaces in them are one. What it reads in another way than as a plain request is left
to it, such as bad percent-encodings and fields that are repeated.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp

from fastcache._core.claims cimport QUERY_NAMES, decode_octet, parameter_name
from fastcache._core.conditions cimport FieldValue
from fastcache._core.recogniser cimport PlainField
from fastcache._core.sha256 cimport fc_sha256_put
from fastcache._core.texts cimport PAIRS


cdef extern from "recogniser.h" nogil:
    bint fc_same_name(const char* text, const char* lower, size_t length)


cdef enum:
    SIGNATURE = 7  # of the parameters: not in the canonical query


# 1 for the unreserved characters of RFC 3986, 2 for the slash, which stays as it is in a path.
cdef uint8_t[256] UNRESERVED
# 1 for the octets of a signed name: ``fc_same_name`` takes no other octet for one of these.
cdef uint8_t[256] OF_NAMES


def _fill_tables():
    for octet in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~":
        UNRESERVED[octet] = 1
    UNRESERVED[c"/"] = 2
    for octet in b"abcdefghijklmnopqrstuvwxyz0123456789-":
        OF_NAMES[octet] = 1


_fill_tables()


cdef inline void put_encoded(fc_sha256* hash, uint8_t octet) noexcept nogil:
    cdef char[3] encoded
    encoded[0] = c"%"
    encoded[1] = PAIRS[2 * octet]
    encoded[2] = PAIRS[2 * octet + 1]
    fc_sha256_put(hash, encoded, 3)


cdef bint put_reencoded(fc_sha256* hash, FieldValue raw, bint is_path) noexcept nogil:
    """A path or a query's value, decoded once and encoded once."""
    cdef const char* at = raw.text
    cdef const char* end = raw.text + raw.length
    cdef const char* begin
    cdef uint8_t most = 2 if is_path else 1
    cdef uint8_t plain
    cdef int octet
    while at < end:
        begin = at
        while at < end and 0 < UNRESERVED[<uint8_t>at[0]] <= most:
            at += 1
        fc_sha256_put(hash, begin, at - begin)
        if at == end:
            break
        if is_path and at[0] == c"+":
            octet = c"+"
            at += 1
        else:
            octet = decode_octet(&at, end)
        if octet < 0:
            return False
        plain = <uint8_t>octet
        if 0 < UNRESERVED[plain] <= most:
            fc_sha256_put(hash, &plain, 1)
        else:
            put_encoded(hash, plain)
    return True


cdef bint put_query(fc_sha256* hash, const Claim* claim) noexcept nogil:
    """The parameters without the signature; they are in order already."""
    cdef FieldValue name
    cdef bint first = True
    cdef int i
    for i in range(QUERY_NAMES):
        if claim.parameters[i].text == NULL or i == SIGNATURE:
            continue
        if not first:
            fc_sha256_put(hash, b"&", 1)
        first = False
        name = parameter_name(i)
        fc_sha256_put(hash, name.text, name.length)
        fc_sha256_put(hash, b"=", 1)
        if not put_reencoded(hash, claim.parameters[i], False):
            return False
    return True


cdef void put_folded(fc_sha256* hash, const char* text, Py_ssize_t length) noexcept nogil:
    """A value that is trimmed already: runs of spaces inside it become one."""
    cdef const char* end = text + length
    cdef const char* space
    while text < end:
        space = <const char*>memchr(text, c" ", end - text)
        if space == NULL:
            fc_sha256_put(hash, text, end - text)
            return
        fc_sha256_put(hash, text, space + 1 - text)
        text = space + 1
        while text[0] == c" ":  # ends at the latest with the value, whose last octet is no space
            text += 1


cdef bint is_ascending(FieldValue before, FieldValue name) noexcept nogil:
    cdef Py_ssize_t common = min(before.length, name.length)
    cdef int order = memcmp(before.text, name.text, common)
    return order < 0 or (order == 0 and before.length < name.length)


cdef int only_field(const PlainFields* fields, FieldValue name) noexcept nogil:
    """The index of the one field with this name, or -1."""
    cdef const PlainField* field
    cdef int i, found = -1
    for i in range(fields.count):
        field = &fields.items[i]
        if field.name_length == name.length and fc_same_name(field.name, name.text, name.length):
            if found >= 0:
                return -1
            found = i
    return found


cdef bint put_headers(fc_sha256* hash, const PlainFields* fields, const Claim* claim) noexcept nogil:
    """A line for each signed field."""
    cdef const char* at = claim.signed_names.text
    cdef const char* end = at + claim.signed_names.length
    cdef const PlainField* field
    cdef FieldValue name, before
    cdef uint64_t covered = 0  # a bit for each field
    cdef bint host = False
    cdef int i
    before.text = at
    before.length = 0
    while True:
        name.text = at
        while at < end and OF_NAMES[<uint8_t>at[0]]:
            at += 1
        name.length = at - name.text
        if (at < end and at[0] != c";") or not is_ascending(before, name):  # nor empty
            return False
        i = only_field(fields, name)
        if i < 0:
            return False
        covered |= <uint64_t>1 << i
        host = host or (name.length == 4 and memcmp(name.text, b"host", 4) == 0)
        fc_sha256_put(hash, name.text, name.length)
        fc_sha256_put(hash, b":", 1)
        put_folded(hash, fields.items[i].value, fields.items[i].value_length)
        fc_sha256_put(hash, b"\n", 1)
        if at == end:
            break
        before = name
        at += 1
    for i in range(fields.count):
        field = &fields.items[i]
        # S3's rule: every x-amz-* is signed, so that nothing can be added to somebody else's request.
        if field.name_length >= 6 and fc_same_name(field.name, b"x-amz-", 6) and not covered >> i & 1:
            return False
    return host


cdef bint put_canonical_request(
    fc_sha256* hash, const PlainRequest* asked, const PlainFields* fields, const Claim* claim
) noexcept nogil:
    if asked.is_head:
        fc_sha256_put(hash, b"HEAD\n", 5)
    else:
        fc_sha256_put(hash, b"GET\n", 4)
    if not put_reencoded(hash, asked.path, True):
        return False
    fc_sha256_put(hash, b"\n", 1)
    if not put_query(hash, claim):
        return False
    fc_sha256_put(hash, b"\n", 1)
    if not put_headers(hash, fields, claim):
        return False
    fc_sha256_put(hash, b"\n", 1)
    fc_sha256_put(hash, claim.signed_names.text, claim.signed_names.length)
    fc_sha256_put(hash, b"\n", 1)
    fc_sha256_put(hash, claim.payload.text, claim.payload.length)
    return True
