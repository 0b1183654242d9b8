"""Signatures of plain requests checked for the hit branch (Signature Version 4, in a header or presigned).

A success here is one for ``protocol.sigv4_verify`` too; anything else says nothing, and the engine verifies again, knows
what is wrong, and says so. Nothing is allocated and no object touched. What is compared with a secret, the signature and
the session token, is compared in constant time; how long the rest takes depends on what anybody may know.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from fastcache._core.access_keys cimport DATE_LENGTH, KnownKey, SigningKey
from fastcache._core.claims cimport SIGNATURE_LENGTH, TIMESTAMP_LENGTH, decode_octet, read_claim
from fastcache._core.conditions cimport FieldValue
from fastcache._core.lease cimport is_granted, nanoseconds
from fastcache._core.recogniser cimport recognise
from fastcache._core.sha256 cimport (
    DIGEST_LENGTH, compress, fc_hmac_begin, fc_hmac_end, fc_hmac_key, fc_sha256, fc_sha256_begin, fc_sha256_end,
    fc_sha256_hex, fc_sha256_put,
)
from fastcache._core.canonical cimport put_canonical_request

cdef enum:
    NS = 1000000000
    MOST_SKEW = 900          # seconds that a request's time may be from ours


cdef bint is_timely(const Claim* claim, int64_t wall) noexcept nogil:
    """Rounded against the claim: a timestamp is whole seconds, and may be of any year."""
    cdef int64_t most = MOST_SKEW if claim.expires < 0 else claim.expires
    return wall // NS >= claim.signed_at - MOST_SKEW and (wall + NS - 1) // NS <= claim.signed_at + most


cdef bint is_token(FieldValue claimed, FieldValue token, bint encoded) noexcept nogil:
    """Whether a request's session token is that of the key, or neither has one. Takes as long as the claimed one is."""
    cdef const char* at = claimed.text
    cdef const char* end = claimed.text + claimed.length
    cdef Py_ssize_t length = 0
    cdef int octet, differs = 0
    if claimed.text == NULL or token.text == NULL:
        return claimed.text == NULL and token.text == NULL
    while at < end:
        if encoded:
            octet = decode_octet(&at, end)
        else:
            octet = <uint8_t>at[0]
            at += 1
        if octet < 0:
            return False
        if length < token.length:
            differs |= octet ^ <uint8_t>token.text[length]
        length += 1
    return differs == 0 and length == token.length


cdef bint is_signature(const char* text, const char* claimed) noexcept nogil:
    """Whether two texts of SIGNATURE_LENGTH octets are the same; takes as long for one that differs early."""
    cdef int i, differs = 0
    for i in range(SIGNATURE_LENGTH):
        differs |= text[i] ^ claimed[i]
    return differs == 0


cdef class Verifier:
    """Checks signatures made with ``keys``."""

    def __cinit__(self, AccessKeys keys not None):
        self.keys = keys

    def verified(self, bytes head not None, double now):
        """The access key that signed the plain request ``head``, when that is certain at ``now`` (seconds since the
        epoch); else None. For tests and tools."""
        cdef PlainRequest asked
        cdef PlainFields fields
        cdef Claim claim
        cdef int slot
        if not head or recognise(head, len(head), 100, &asked, &fields) != len(head) or not read_claim(&asked, &claim):
            return None
        slot = self.keys.find(claim.access_key)
        if slot < 0 or not self._proves(&asked, &fields, &claim, slot, nanoseconds(now)):
            return None
        return claim.access_key.text[:claim.access_key.length]

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef bint admits(self, const PlainRequest* asked, const PlainFields* fields, const Lease* lease, int64_t wall) noexcept nogil:
        cdef Claim claim
        cdef int slot
        if not read_claim(asked, &claim):
            return False
        slot = self.keys.find(claim.access_key)
        # The grant first: it costs least.
        return (
            slot >= 0
            and is_granted(lease, self.keys.generation, <uint32_t>slot)
            and self._proves(asked, fields, &claim, slot, wall)
        )

    cdef bint _proves(
        self, const PlainRequest* asked, const PlainFields* fields, const Claim* claim, int slot, int64_t wall
    ) noexcept nogil:
        cdef const KnownKey* known = &self.keys.known[slot]
        cdef const fc_hmac_key* key
        cdef SigningKey room
        cdef fc_sha256 hash
        cdef uint8_t[DIGEST_LENGTH] digest
        cdef char[SIGNATURE_LENGTH] text
        if not is_timely(claim, wall):
            return False
        fc_sha256_begin(&hash, compress)
        if not put_canonical_request(&hash, asked, fields, claim):
            return False
        fc_sha256_end(&hash, digest)
        fc_sha256_hex(digest, text)
        key = self.keys.signing_key(slot, claim.date, claim.region, &room)
        fc_hmac_begin(&hash, key, compress)
        fc_sha256_put(&hash, b"AWS4-HMAC-SHA256\n", 17)
        fc_sha256_put(&hash, claim.timestamp, TIMESTAMP_LENGTH)
        fc_sha256_put(&hash, b"\n", 1)
        fc_sha256_put(&hash, claim.date, DATE_LENGTH)
        fc_sha256_put(&hash, b"/", 1)
        fc_sha256_put(&hash, claim.region.text, claim.region.length)
        fc_sha256_put(&hash, b"/s3/aws4_request\n", 17)
        fc_sha256_put(&hash, text, SIGNATURE_LENGTH)
        fc_hmac_end(&hash, key, digest)
        fc_sha256_hex(digest, text)
        if not is_signature(text, claim.signature) or not is_token(claim.token, known.token, claim.expires >= 0):
            return False
        if room.region_length:
            self.keys.keep(slot, &room)
        return True
