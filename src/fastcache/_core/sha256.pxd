"""SHA-256 and HMAC-SHA-256 for compiled code; sha256.h says how. Nothing here allocates or needs the GIL."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    DIGEST_LENGTH = 32

cdef extern from "sha256.h" nogil:
    ctypedef void (*fc_sha256_function)(uint32_t* state, const uint8_t* data, size_t blocks) noexcept nogil

    # A message on its way; plain data of the caller's, about 700 bytes.
    ctypedef struct fc_sha256:
        pass

    # A key's two pads; as secret as the key.
    ctypedef struct fc_hmac_key:
        pass

    fc_sha256_function fc_sha256_of_machine()
    void fc_sha256_portable(uint32_t* state, const uint8_t* data, size_t blocks)
    const char* fc_sha256_extension_name()
    void fc_sha256_begin(fc_sha256* hash, fc_sha256_function compress)
    void fc_sha256_put(fc_sha256* hash, const void* data, size_t length)
    void fc_sha256_end(fc_sha256* hash, uint8_t* digest)
    void fc_sha256_hex(const uint8_t* digest, char* text)
    void fc_hmac_take_key(fc_hmac_key* key, fc_sha256_function compress, const void* octets, size_t length)
    void fc_hmac_begin(fc_sha256* hash, const fc_hmac_key* key, fc_sha256_function compress)
    void fc_hmac_end(fc_sha256* hash, const fc_hmac_key* key, uint8_t* digest)

# The implementation in use, one for the process and every module.
cdef fc_sha256_function compress
