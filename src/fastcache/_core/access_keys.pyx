"""The access keys whose signatures the hit branch can check.

A set of keys is loaded as a whole. Every load makes a new generation of slots, so that whatever was granted to a slot
before (``Leases.grant``) is void at once: a key that was disabled, or whose rules have changed, has to be allowed again
by the engine. What it takes to check a signature is kept ready: of the secret only the two states of HMAC-SHA-256 behind
it, and likewise of the signing keys of the last few days and regions (S3 API Reference, "Calculating a signature").

Looked up by the hit branch without the GIL, and changed with it, all on the loop's thread.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from fastcache._core.conditions cimport field_value
from fastcache._core.sha256 cimport (
    DIGEST_LENGTH, compress, fc_hmac_begin, fc_hmac_end, fc_hmac_take_key, fc_sha256, fc_sha256_put,
)

import os


cdef extern from "leases.h" nogil:
    uint64_t fc_name_hash(const char* text, size_t length, uint64_t state, const uint64_t* key)


cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* at, size_t length)


cdef enum:
    MOST_KEYS = 1 << 20


cdef void derive(fc_hmac_key* key, const char* text, Py_ssize_t length) noexcept nogil:
    """One step of the chain: ``key`` becomes the key that is its code of a text."""
    cdef fc_sha256 hash
    cdef uint8_t[DIGEST_LENGTH] digest
    fc_hmac_begin(&hash, key, compress)
    fc_sha256_put(&hash, text, length)
    fc_hmac_end(&hash, key, digest)
    fc_hmac_take_key(key, compress, digest, DIGEST_LENGTH)
    explicit_bzero(digest, DIGEST_LENGTH)


cdef class AccessKeys:
    """None to begin with."""

    def __cinit__(self):
        random = os.urandom(16)
        memcpy(self.random, <const char*>random, 16)

    def __dealloc__(self):
        self._forget()

    def __len__(self) -> int:
        return self.count

    def load(self, uint64_t serial, keys):
        """Know ``keys`` and no others: objects with ``access_key``, ``secret_key`` and ``session_token`` (None for a key
        without), none of which is disabled. ``serial`` names the set, so that a decision made under another one grants
        nothing. ValueError for an access key that is empty or there twice; nothing is known then.
        """
        cdef list wanted = [(key.access_key, key.secret_key, key.session_token) for key in keys]
        cdef bytes access_key, secret, token, texts
        cdef uint32_t slot = 0, size = 8
        cdef Py_ssize_t at = 0
        cdef FieldValue name, proof
        self._forget()
        self.generation += 1
        if not wanted:
            self.serial = serial
            return
        if len(wanted) > MOST_KEYS:
            raise ValueError("too many access keys")
        while size < 2 * <uint32_t>len(wanted):
            size *= 2
        texts = b"".join([access_key + (token or b"") for access_key, _, token in wanted])
        self.known = <KnownKey*>calloc(len(wanted), sizeof(KnownKey))
        self.places = <uint32_t*>calloc(size, sizeof(uint32_t))
        if self.known == NULL or self.places == NULL:
            self._forget()
            raise MemoryError
        self.mask = size - 1
        self.texts = texts
        for access_key, secret, token in wanted:
            name = field_value(texts)
            name.text += at
            name.length = len(access_key)
            at += name.length
            proof.text = NULL
            proof.length = 0
            if token is not None:
                proof.text = <const char*>texts + at
                proof.length = len(token)
                at += proof.length
            if name.length == 0 or self.find(name) >= 0:
                self._forget()
                raise ValueError("an access key is empty, or there twice")
            self._take(slot, name, secret, proof)
            slot += 1
        self.serial = serial

    def slot_of(self, bytes access_key not None, uint64_t serial) -> int:
        """The slot of a key of the set ``serial`` in the present generation, -1 when it is not there."""
        return self.find(field_value(access_key)) if serial == self.serial else -1

    cdef void _take(self, uint32_t slot, FieldValue access_key, bytes secret, FieldValue token):
        cdef KnownKey* known = &self.known[slot]
        cdef bytes prefixed = b"AWS4" + secret
        cdef uint32_t i
        known.access_key = access_key
        known.token = token
        known.hash = self._hash(access_key)
        fc_hmac_take_key(&known.secret, compress, <const char*>prefixed, len(prefixed))
        i = <uint32_t>known.hash & self.mask
        while self.places[i]:
            i = (i + 1) & self.mask
        self.places[i] = slot + 1
        self.count += 1

    cdef void _forget(self) noexcept:
        if self.known != NULL:
            explicit_bzero(self.known, self.count * sizeof(KnownKey))
        free(self.known)
        free(self.places)
        self.known = NULL
        self.places = NULL
        self.count = 0
        self.texts = None

    # ---- C side ---------------------------------------------------------------------------------------------------

    cdef uint64_t _hash(self, FieldValue access_key) noexcept nogil:
        return fc_name_hash(access_key.text, access_key.length, 0, self.random)

    cdef int find(self, FieldValue access_key) noexcept nogil:
        cdef uint64_t hash
        cdef uint32_t i
        cdef const KnownKey* known
        if self.count == 0:
            return -1
        hash = self._hash(access_key)
        i = <uint32_t>hash & self.mask
        while self.places[i]:
            known = &self.known[self.places[i] - 1]
            if (known.hash == hash and known.access_key.length == access_key.length
                    and memcmp(known.access_key.text, access_key.text, access_key.length) == 0):
                return <int>self.places[i] - 1
            i = (i + 1) & self.mask
        return -1

    cdef const fc_hmac_key* signing_key(self, int slot, const char* date, FieldValue region, SigningKey* room) noexcept nogil:
        cdef const KnownKey* known = &self.known[slot]
        cdef const SigningKey* kept
        cdef int i
        room.region_length = 0
        for i in range(KEPT_SIGNING_KEYS):
            kept = &known.kept[i]
            if (kept.region_length == region.length and memcmp(kept.date, date, DATE_LENGTH) == 0
                    and memcmp(kept.region, region.text, region.length) == 0):
                return &kept.key
        room.region_length = <uint8_t>region.length
        memcpy(room.date, date, DATE_LENGTH)
        memcpy(room.region, region.text, region.length)
        room.key = known.secret
        derive(&room.key, date, DATE_LENGTH)
        derive(&room.key, region.text, region.length)
        derive(&room.key, b"s3", 2)
        derive(&room.key, b"aws4_request", 12)
        return &room.key

    cdef void keep(self, int slot, const SigningKey* derived) noexcept nogil:
        cdef KnownKey* known = &self.known[slot]
        known.kept[known.next] = derived[0]
        known.next = (known.next + 1) % KEPT_SIGNING_KEYS
