# Incremental chunked decoder for C callers (RFC 9112 section 7.1).
#
# Ownership: `chunked_t` is a plain struct that lives inside its owner (a connection, a ChunkedDecoder). Its only
# allocation is `trailer`: made on the first trailer byte, freed by chunked_free(), valid until then. It holds the
# trailer lines as they arrived, each ending in CRLF, without the empty line that closes the section. The caller's data
# is never kept: offsets are relative to the buffer of that one call.

from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    CHUNKED_MORE = 0        # the buffer is used up, the body goes on
    CHUNKED_DATA = 1        # payload at [offset, offset + length): call again for the rest of the buffer
    CHUNKED_DONE = 2        # the body has ended, *position is the first byte behind it
    CHUNKED_ERROR = -1      # from here down: not well-formed; chunked_error() has the text


cdef struct chunked_t:
    uint64_t remaining      # payload bytes left in this chunk; the size while its line is read
    uint64_t excess         # framing bytes beyond what the payload justifies
    uint32_t line           # bytes of the current chunk-size line
    uint32_t max_line
    uint32_t max_trailer
    uint32_t trailer_size
    uint32_t trailer_room
    uint32_t name_start     # offset in `trailer` of the current field's name
    int state
    char *trailer


cdef void chunked_init(chunked_t *core, uint32_t max_line, uint32_t max_trailer) noexcept nogil
cdef void chunked_free(chunked_t *core) noexcept nogil
cdef int chunked_step(
    chunked_t *core, const char *data, size_t size, size_t *position, size_t *offset, size_t *length
) noexcept nogil
cdef const char *chunked_error(int result) noexcept nogil


cdef class ChunkedDecoder:
    cdef chunked_t core
    cdef readonly bint done
    cdef int error
    cdef tuple fields

    cdef int step(self, const char *data, size_t size, size_t *position, size_t *offset, size_t *length) except? -100
    cdef tuple parse_trailer(self)
