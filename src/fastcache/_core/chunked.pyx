"""Strict incremental decoder of the chunked transfer coding (RFC 9112 section 7.1), one for both directions.

A parser of whole messages cannot say where a message ends inside a buffer; this one can, and it never copies payload:
it only says where the payload is. Everything that two implementations are known to read differently is an error: bare
LF, white space around a size, a sign, an empty extension name, obs-fold, and framing fields in the trailer section.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove, strlen


cdef extern from "strings.h" nogil:
    int strncasecmp(const char *a, const char *b, size_t n)


cdef enum:
    SIZE_FIRST
    SIZE
    SIZE_LF
    EXT_BWS             # white space after the size: only ";" may follow
    EXT_NAME_FIRST
    EXT_NAME
    EXT_NAME_BWS        # white space after a name or value: ";" or, after a name, "="
    EXT_VALUE_FIRST
    EXT_VALUE
    EXT_VALUE_BWS
    EXT_QUOTED
    EXT_QUOTED_PAIR
    EXT_QUOTED_END
    DATA
    DATA_CR
    DATA_LF
    TRAILER_FIRST
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    END_LF
    FINISHED

cdef enum:
    BAD_SIZE = -1
    SIZE_OVERFLOW = -2
    LINE_TOO_LONG = -3
    BAD_EXTENSION = -4
    BAD_LINE_END = -5
    BAD_DATA_END = -6
    BAD_TRAILER_NAME = -7
    BAD_TRAILER_VALUE = -8
    TRAILER_TOO_LONG = -9
    FORBIDDEN_TRAILER = -10
    TOO_MUCH_FRAMING = -11
    NO_MEMORY = -12

cdef enum:
    # The most framing that may be outstanding. Each chunk earns 16 bytes and twice its size, so that honest chunks,
    # even of one byte, never reach it, and a stream of tiny chunks with long extensions soon does.
    MAX_EXCESS = 16384
    # The most that may be allowed for a line or the trailer section: twice as much still fits 32 bits.
    MAX_LIMIT = 0x3FFFFFFF

cdef uint64_t MAX_SIZE = 0x7FFFFFFFFFFFFFFF

# One byte of class bits per octet (RFC 9110 section 5.6): built once at import, constant afterwards.
cdef enum:
    IS_TOKEN = 1
    IS_TEXT = 2         # field-vchar, obs-text, SP, HTAB
cdef uint8_t OCTETS[256]

cdef void fill_octets() noexcept:
    cdef int octet
    for octet in range(256):
        OCTETS[octet] = IS_TEXT if octet == 9 or (octet >= 32 and octet != 127) else 0
    for octet in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        OCTETS[octet] |= IS_TOKEN

fill_octets()


cdef void chunked_init(chunked_t *core, uint32_t max_line, uint32_t max_trailer) noexcept nogil:
    """Ready for the first chunk. Frees nothing: an owner that starts over calls chunked_free() first."""
    core.remaining = 0
    core.excess = 0
    core.line = 0
    core.max_line = max_line
    core.max_trailer = max_trailer
    core.trailer_size = 0
    core.trailer_room = 0
    core.name_start = 0
    core.state = SIZE_FIRST
    core.trailer = NULL


cdef void chunked_free(chunked_t *core) noexcept nogil:
    free(core.trailer)
    core.trailer = NULL
    core.trailer_size = 0
    core.trailer_room = 0


cdef const char *chunked_error(int result) noexcept nogil:
    """The reason of a negative result; a constant, never anything the peer sent."""
    if result == BAD_SIZE:
        return "bad chunk size"
    if result == SIZE_OVERFLOW:
        return "chunk size of 2^63 or more"
    if result == LINE_TOO_LONG:
        return "chunk line too long"
    if result == BAD_EXTENSION:
        return "bad chunk extension"
    if result == BAD_LINE_END:
        return "line does not end in CRLF"
    if result == BAD_DATA_END:
        return "chunk data longer than its size"
    if result == BAD_TRAILER_NAME:
        return "bad trailer name"
    if result == BAD_TRAILER_VALUE:
        return "bad trailer value"
    if result == TRAILER_TOO_LONG:
        return "trailer section too long"
    if result == FORBIDDEN_TRAILER:
        return "framing field in the trailer section"
    if result == TOO_MUCH_FRAMING:
        return "more chunk framing than data"
    return "out of memory"


cdef inline int hex_digit(uint8_t octet) noexcept nogil:
    if 48 <= octet <= 57:
        return octet - 48
    octet |= 32
    if 97 <= octet <= 102:
        return octet - 87
    return -1


cdef inline int keep_trailer(chunked_t *core, char octet) noexcept nogil:
    cdef uint32_t room
    cdef char *grown
    if core.trailer_size >= core.max_trailer:
        return TRAILER_TOO_LONG
    if core.trailer_size == core.trailer_room:
        room = 256 if core.trailer_room == 0 else core.trailer_room * 2
        if room > core.max_trailer:
            room = core.max_trailer
        grown = <char *> realloc(core.trailer, room)
        if grown == NULL:
            return NO_MEMORY
        core.trailer = grown
        core.trailer_room = room
    core.trailer[core.trailer_size] = octet
    core.trailer_size += 1
    return 0


cdef inline bint is_name(const char *name, size_t size, const char *wanted) noexcept nogil:
    return size == strlen(wanted) and strncasecmp(name, wanted, size) == 0


cdef bint is_forbidden_trailer(const char *name, size_t size) noexcept nogil:
    """RFC 9110 section 6.5.1: what frames or routes a message must not come after it."""
    return (
        is_name(name, size, "content-length") or is_name(name, size, "transfer-encoding")
        or is_name(name, size, "host") or is_name(name, size, "trailer") or is_name(name, size, "connection")
        or is_name(name, size, "content-encoding") or is_name(name, size, "content-range")
        or is_name(name, size, "content-type")
    )


cdef inline int end_of_line(chunked_t *core) noexcept nogil:
    """A chunk-size line has been read to its LF."""
    cdef uint64_t earned
    core.excess += core.line
    if core.remaining == 0:
        core.state = TRAILER_FIRST
        return 0
    earned = MAX_SIZE if core.remaining > MAX_SIZE // 2 - 16 else 16 + 2 * core.remaining
    core.excess = core.excess - earned if core.excess > earned else 0
    if core.excess > MAX_EXCESS:
        return TOO_MUCH_FRAMING
    core.state = DATA
    return 0


cdef int size_octet(chunked_t *core, uint8_t octet) noexcept nogil:
    """One octet of a chunk-size line: chunk-size [ chunk-ext ] CRLF. Returns 0 or an error."""
    cdef int digit
    core.line += 1
    if core.line > core.max_line:
        return LINE_TOO_LONG
    if core.state == SIZE_FIRST or core.state == SIZE:
        digit = hex_digit(octet)
        if digit >= 0:
            if core.remaining > MAX_SIZE >> 4:
                return SIZE_OVERFLOW
            core.remaining = (core.remaining << 4) | <uint64_t> digit
            core.state = SIZE
            return 0
        if core.state == SIZE_FIRST:
            return BAD_SIZE
        if octet == c"\r":
            core.state = SIZE_LF
        elif octet == c";":
            core.state = EXT_NAME_FIRST
        elif octet == c" " or octet == c"\t":
            core.state = EXT_BWS
        elif octet == c"\n":
            return BAD_LINE_END
        else:
            return BAD_SIZE
        return 0
    if core.state == SIZE_LF:
        return end_of_line(core) if octet == c"\n" else BAD_LINE_END
    return extension_octet(core, octet)


cdef int extension_octet(chunked_t *core, uint8_t octet) noexcept nogil:
    """chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS value ] ); what it says is ignored, its form is not."""
    cdef bint blank = octet == c" " or octet == c"\t"
    cdef int state = core.state
    if state == EXT_QUOTED_PAIR:
        if not OCTETS[octet] & IS_TEXT:
            return BAD_EXTENSION
        core.state = EXT_QUOTED
        return 0
    if state == EXT_QUOTED:
        if octet == c'"':
            core.state = EXT_QUOTED_END
        elif octet == c"\\":
            core.state = EXT_QUOTED_PAIR
        elif not OCTETS[octet] & IS_TEXT:
            return BAD_EXTENSION
        return 0
    if state == EXT_NAME_FIRST or state == EXT_VALUE_FIRST:
        if OCTETS[octet] & IS_TOKEN:
            core.state = EXT_NAME if state == EXT_NAME_FIRST else EXT_VALUE
        elif state == EXT_VALUE_FIRST and octet == c'"':
            core.state = EXT_QUOTED
        elif not blank:
            return BAD_EXTENSION
        return 0
    if (state == EXT_NAME or state == EXT_VALUE) and OCTETS[octet] & IS_TOKEN:
        return 0
    if octet == c";":
        core.state = EXT_NAME_FIRST
    elif octet == c"=" and (state == EXT_NAME or state == EXT_NAME_BWS):
        core.state = EXT_VALUE_FIRST
    elif blank:
        if state == EXT_NAME:
            core.state = EXT_NAME_BWS
        elif state == EXT_VALUE or state == EXT_QUOTED_END:
            core.state = EXT_VALUE_BWS
    elif octet == c"\r" and (state == EXT_NAME or state == EXT_VALUE or state == EXT_QUOTED_END):
        core.state = SIZE_LF
    elif octet == c"\n":
        return BAD_LINE_END
    else:
        return BAD_EXTENSION
    return 0


cdef int trailer_octet(chunked_t *core, uint8_t octet) noexcept nogil:
    """One octet of the trailer section: *( field-line CRLF ) CRLF."""
    if core.state == TRAILER_FIRST:
        if octet == c"\r":
            core.state = END_LF
            return 0
        if not OCTETS[octet] & IS_TOKEN:
            return BAD_TRAILER_NAME
        core.name_start = core.trailer_size
        core.state = TRAILER_NAME
    elif core.state == TRAILER_NAME:
        if octet == c":":
            if is_forbidden_trailer(core.trailer + core.name_start, core.trailer_size - core.name_start):
                return FORBIDDEN_TRAILER
            core.state = TRAILER_VALUE
        elif not OCTETS[octet] & IS_TOKEN:
            return BAD_TRAILER_NAME
    elif core.state == TRAILER_VALUE:
        if octet == c"\r":
            core.state = TRAILER_LF
        elif octet == c"\n":
            return BAD_LINE_END
        elif not OCTETS[octet] & IS_TEXT:
            return BAD_TRAILER_VALUE
    else:
        if octet != c"\n":
            return BAD_LINE_END
        core.state = TRAILER_FIRST
    return keep_trailer(core, <char> octet)


cdef int chunked_step(
    chunked_t *core, const char *data, size_t size, size_t *position, size_t *offset, size_t *length
) noexcept nogil:
    """Go on at ``*position`` of ``data`` and stop at the next payload slice, the end, or the end of the buffer."""
    cdef size_t index = position[0]
    cdef size_t take
    cdef int result = 0
    cdef uint8_t octet
    while core.state != FINISHED and index < size:
        if core.state == DATA:
            take = size - index
            if core.remaining < take:
                take = <size_t> core.remaining
            core.remaining -= take
            if core.remaining == 0:
                core.state = DATA_CR
            offset[0] = index
            length[0] = take
            position[0] = index + take
            return CHUNKED_DATA
        octet = <uint8_t> data[index]
        index += 1
        if core.state < DATA:
            result = size_octet(core, octet)
        elif core.state == DATA_CR:
            if octet != c"\r":
                result = BAD_DATA_END
            core.state = DATA_LF
        elif core.state == DATA_LF:
            if octet != c"\n":
                result = BAD_DATA_END
            core.state = SIZE_FIRST
            core.line = 0
        elif core.state == END_LF:
            if octet != c"\n":
                result = BAD_LINE_END
            core.state = FINISHED
        else:
            result = trailer_octet(core, octet)
        if result < 0:
            position[0] = index
            return result
    position[0] = index
    return CHUNKED_DONE if core.state == FINISHED else CHUNKED_MORE


cdef class ChunkedDecoder:
    """One chunked body. A limit, a malformed byte: ValueError, and the decoder is of no further use.

    ``max_line`` bounds a chunk-size line with its extensions, ``max_trailer`` the trailer section, both in bytes.
    """

    def __cinit__(self, uint32_t max_line=4096, uint32_t max_trailer=16384):
        if max_line > MAX_LIMIT or max_trailer > MAX_LIMIT:
            raise ValueError(f"a limit is at most {MAX_LIMIT} bytes")
        chunked_init(&self.core, max_line, max_trailer)
        self.done = False
        self.error = 0
        self.fields = ()

    def __dealloc__(self):
        chunked_free(&self.core)

    @property
    def trailers(self):
        return self.fields

    cdef int step(self, const char *data, size_t size, size_t *position, size_t *offset, size_t *length) except? -100:
        cdef int result = self.error
        if result == 0:
            result = chunked_step(&self.core, data, size, position, offset, length)
        if result < 0:
            self.error = result
            raise ValueError(chunked_error(result).decode("ascii"))
        if result == CHUNKED_DONE and not self.done:
            self.done = True
            self.fields = self.parse_trailer()
        return result

    cdef tuple parse_trailer(self):
        if self.core.trailer_size == 0:
            return ()
        fields = []
        lines = (<bytes> self.core.trailer[:self.core.trailer_size]).split(b"\r\n")
        lines.pop()
        for line in lines:
            name, _, value = line.partition(b":")
            fields.append((name, value.strip(b" \t")))
        return tuple(fields)

    def feed(self, data):
        """``(slices, consumed)``: the (offset, length) of every payload slice in ``data``, and how far it was read.

        ``consumed`` is less than ``len(data)`` only when the body ended there (``done``).
        """
        cdef Py_buffer view
        cdef size_t position = 0, offset = 0, length = 0
        slices = []
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            while self.step(<const char *> view.buf, <size_t> view.len, &position, &offset, &length) == CHUNKED_DATA:
                slices.append((offset, length))
        finally:
            PyBuffer_Release(&view)
        return slices, position

    def compact(self, data):
        """``(offset, length, consumed)``: as ``feed``, with the payload moved together inside writable ``data``.

        The first slice stays where it is and later ones are moved down behind it, so that a body of small chunks
        becomes one piece and a chunk that spans the buffer costs no move at all.
        """
        cdef Py_buffer view
        cdef size_t position = 0, offset = 0, length = 0, first = 0, total = 0
        cdef char *base
        PyObject_GetBuffer(data, &view, PyBUF_WRITABLE)
        try:
            base = <char *> view.buf
            while self.step(base, <size_t> view.len, &position, &offset, &length) == CHUNKED_DATA:
                if total == 0:
                    first = offset
                elif first + total != offset:
                    memmove(base + first + total, base + offset, length)
                total += length
        finally:
            PyBuffer_Release(&view)
        return first, total, position
