"""A plain request's signature taken apart: from its Authorization field, or from the query of a presigned one.

Sources: S3 API Reference, "Authenticating Requests: Using the Authorization Header" and "... Using Query Parameters".
Everything here is narrower than ``protocol.sigv4_verify``, which reads whatever is not read here and knows the errors.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memrchr

from fastcache._core.access_keys cimport DATE_LENGTH, REGION_LIMIT
from fastcache._core.dates cimport NO_DATE, read_timestamp

cdef enum:
    ALGORITHM, CONTENT_SHA256, CREDENTIAL, DATE, EXPIRES, SECURITY_TOKEN, SIGNED_HEADERS, SIGNATURE, OPERATION
    WEEK = 604800

# Sorted, as the canonical query has them. In the spelling of the SDKs: the engine reads any.
cdef const char* NAMES[QUERY_NAMES]
NAMES[:] = [
    b"X-Amz-Algorithm",
    b"X-Amz-Content-Sha256",
    b"X-Amz-Credential",
    b"X-Amz-Date",
    b"X-Amz-Expires",
    b"X-Amz-Security-Token",
    b"X-Amz-SignedHeaders",
    b"X-Amz-Signature",
    b"x-id",
]
cdef Py_ssize_t LENGTHS[QUERY_NAMES]
LENGTHS[:] = [15, 20, 16, 10, 13, 20, 19, 15, 4]


cdef FieldValue parameter_name(int index) noexcept nogil:
    return text_at(NAMES[index], LENGTHS[index])


cdef inline FieldValue text_at(const char* text, Py_ssize_t length) noexcept nogil:
    cdef FieldValue value
    value.text = text
    value.length = length
    return value


cdef inline bint is_text(FieldValue value, const char* text, Py_ssize_t length) noexcept nogil:
    return value.length == length and memcmp(value.text, text, length) == 0


cdef inline int hex_digit(char digit) noexcept nogil:
    if c"0" <= digit <= c"9":
        return digit - c"0"
    if c"a" <= (digit | 0x20) <= c"f":
        return (digit | 0x20) - c"a" + 10
    return -1


cdef int decode_octet(const char** at, const char* end) noexcept nogil:
    cdef char octet = at[0][0]
    cdef int high, low
    at[0] += 1
    if octet == c"+":
        return c" "
    if octet != c"%":
        return <uint8_t>octet
    if end - at[0] < 2:
        return -1
    high = hex_digit(at[0][0])
    low = hex_digit(at[0][1])
    at[0] += 2
    return -1 if high < 0 or low < 0 else high << 4 | low


cdef bint decode(FieldValue raw, Claim* claim, Py_ssize_t* used, FieldValue* into) noexcept nogil:
    """``raw``, decoded into the claim's own room, of which ``used`` octets are in use."""
    cdef const char* at = raw.text
    cdef const char* end = raw.text + raw.length
    cdef int octet
    into.text = claim.decoded + used[0]
    while at < end:
        octet = decode_octet(&at, end)
        if octet < 0 or used[0] == DECODED_LIMIT:
            return False
        claim.decoded[used[0]] = <char>octet
        used[0] += 1
    into.length = claim.decoded + used[0] - into.text
    return True


cdef bint read_credential(FieldValue credential, Claim* claim) noexcept nogil:
    """``<access key>/YYYYMMDD/REGION/s3/aws4_request``; from the right, because an access key may itself hold slashes."""
    cdef Py_ssize_t length = credential.length - 16
    cdef const char* slash
    if length < 0 or memcmp(credential.text + length, b"/s3/aws4_request", 16) != 0:
        return False
    slash = <const char*>memrchr(credential.text, c"/", length)
    if slash == NULL:
        return False
    claim.region = text_at(slash + 1, credential.text + length - slash - 1)
    if not 1 <= claim.region.length <= REGION_LIMIT:
        return False
    length = slash - credential.text - DATE_LENGTH
    if length < 2 or credential.text[length - 1] != c"/":
        return False
    claim.date = credential.text + length
    claim.access_key = text_at(credential.text, length - 1)
    return True


cdef bint read_timestamp_of(FieldValue value, Claim* claim) noexcept nogil:
    """The request's time, whose day must be the scope's."""
    claim.timestamp = value.text
    claim.signed_at = read_timestamp(value.text, value.length)
    return claim.signed_at != NO_DATE and memcmp(claim.date, claim.timestamp, DATE_LENGTH) == 0


cdef bint is_bodiless(FieldValue payload) noexcept nogil:
    """Whether a request without a body may say so of it: nothing about it, or that it is empty."""
    return is_text(payload, b"UNSIGNED-PAYLOAD", 16) or is_text(
        payload, b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 64
    )


cdef inline bint skip(const char** at, const char* end, const char* text, Py_ssize_t length) noexcept nogil:
    if end - at[0] < length or memcmp(at[0], text, length) != 0:
        return False
    at[0] += length
    return True


cdef bint read_part(const char** at, const char* end, FieldValue* part) noexcept nogil:
    """Up to a comma, which is passed with the spaces behind it."""
    cdef const char* comma = <const char*>memchr(at[0], c",", end - at[0])
    if comma == NULL:
        return False
    part[0] = text_at(at[0], comma - at[0])
    at[0] = comma + 1
    while at[0] < end and at[0][0] == c" ":
        at[0] += 1
    return True


cdef bint read_authorization(const PlainRequest* asked, Claim* claim) noexcept nogil:
    cdef const char* at = asked.authorization.text
    cdef const char* end = at + asked.authorization.length
    cdef FieldValue credential
    if asked.query.text != NULL and (asked.is_head or not is_text(asked.query, b"x-id=GetObject", 14)):
        return False
    if not skip(&at, end, b"AWS4-HMAC-SHA256 Credential=", 28) or not read_part(&at, end, &credential):
        return False
    if not skip(&at, end, b"SignedHeaders=", 14) or not read_part(&at, end, &claim.signed_names):
        return False
    if not skip(&at, end, b"Signature=", 10) or end - at != SIGNATURE_LENGTH:
        return False
    claim.signature = at
    claim.parameters[OPERATION] = asked.query
    if asked.query.text != NULL:
        claim.parameters[OPERATION] = text_at(asked.query.text + 5, 9)
    claim.expires = -1
    claim.token = asked.token
    claim.payload = asked.payload
    return is_bodiless(asked.payload) and read_credential(credential, claim) and read_timestamp_of(asked.amz_date, claim)


cdef bint read_expires(FieldValue value, Claim* claim) noexcept nogil:
    cdef Py_ssize_t i
    if not 1 <= value.length <= 6:
        return False
    claim.expires = 0
    for i in range(value.length):
        if not c"0" <= value.text[i] <= c"9":
            return False
        claim.expires = claim.expires * 10 + (value.text[i] - c"0")
    return claim.expires <= WEEK


cdef bint split_query(FieldValue query, Claim* claim) noexcept nogil:
    """Every parameter to its place; False for one that is not known here, or there twice."""
    cdef const char* at = query.text
    cdef const char* end = query.text + query.length
    cdef const char* next
    cdef const char* equals
    cdef int i
    while True:
        next = <const char*>memchr(at, c"&", end - at)
        if next == NULL:
            next = end
        equals = <const char*>memchr(at, c"=", next - at)
        if equals == NULL:
            return False
        for i in range(QUERY_NAMES):
            if equals - at == LENGTHS[i] and memcmp(at, NAMES[i], LENGTHS[i]) == 0:
                break
        else:
            return False
        if claim.parameters[i].text != NULL:
            return False
        claim.parameters[i] = text_at(equals + 1, next - equals - 1)
        if next == end:
            return True
        at = next + 1


cdef bint read_query(const PlainRequest* asked, Claim* claim) noexcept nogil:
    cdef FieldValue* found = claim.parameters
    cdef FieldValue credential
    cdef Py_ssize_t used = 0
    # Beside a signature in the query these fields would have to be read together with it.
    if asked.amz_date.text != NULL or asked.payload.text != NULL or asked.token.text != NULL:
        return False
    if asked.query.text == NULL or not split_query(asked.query, claim):
        return False
    if found[OPERATION].text != NULL and (asked.is_head or not is_text(found[OPERATION], b"GetObject", 9)):
        return False
    if not is_text(found[ALGORITHM], b"AWS4-HMAC-SHA256", 16) or not read_expires(found[EXPIRES], claim):
        return False
    claim.payload = found[CONTENT_SHA256]
    if claim.payload.text == NULL:
        claim.payload = text_at(b"UNSIGNED-PAYLOAD", 16)
    claim.token = found[SECURITY_TOKEN]
    claim.signature = found[SIGNATURE].text
    return (
        is_bodiless(claim.payload)
        and found[SIGNATURE].length == SIGNATURE_LENGTH
        and decode(found[CREDENTIAL], claim, &used, &credential)
        and decode(found[SIGNED_HEADERS], claim, &used, &claim.signed_names)
        and read_credential(credential, claim)
        and read_timestamp_of(found[DATE], claim)
    )


cdef bint read_claim(const PlainRequest* asked, Claim* claim) noexcept nogil:
    cdef int i
    for i in range(QUERY_NAMES):
        claim.parameters[i] = text_at(NULL, 0)
    return read_query(asked, claim) if asked.authorization.text == NULL else read_authorization(asked, claim)
