"""SHA-256 and HMAC-SHA-256 of this process: which implementation is used, and a Python face for tests and tools.

Python code that hashes takes ``hashlib``; this is for compiled code, which hashes short messages without the GIL.
"""

cdef fc_sha256_function of_machine = fc_sha256_of_machine()

IMPLEMENTATIONS = (
    *(() if of_machine == NULL else (fc_sha256_extension_name().decode("ascii"),)),
    "portable",
)
"""What this machine can run, the fastest first; the first one is used."""

compress = fc_sha256_portable if of_machine == NULL else of_machine


def implementation():
    """The name of the implementation in use."""
    return "portable" if compress == fc_sha256_portable else IMPLEMENTATIONS[0]


def use(str name not None):
    """Use another of IMPLEMENTATIONS in the whole process: for tests and comparison. ValueError for any other."""
    global compress
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"this machine has no SHA-256 by {name!r}")
    compress = fc_sha256_portable if name == "portable" else of_machine


def sha256(pieces):
    """The digest of ``pieces``, one after the other."""
    cdef fc_sha256 hash
    cdef uint8_t[DIGEST_LENGTH] digest
    cdef bytes piece
    fc_sha256_begin(&hash, compress)
    for piece in pieces:
        fc_sha256_put(&hash, <const char*>piece, <size_t>len(piece))
    fc_sha256_end(&hash, digest)
    return digest[:DIGEST_LENGTH]


def hmac_sha256(bytes key not None, pieces):
    """The authentication code of ``pieces`` under ``key``."""
    cdef fc_hmac_key pads
    cdef fc_sha256 hash
    cdef uint8_t[DIGEST_LENGTH] digest
    cdef bytes piece
    fc_hmac_take_key(&pads, compress, <const char*>key, <size_t>len(key))
    fc_hmac_begin(&hash, &pads, compress)
    for piece in pieces:
        fc_sha256_put(&hash, <const char*>piece, <size_t>len(piece))
    fc_hmac_end(&hash, &pads, digest)
    return digest[:DIGEST_LENGTH]
