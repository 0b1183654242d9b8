"""Response heads as a measuring client reads them: one pass, the few fields that framing and counting need.

This is no parser to rely on beyond that: responses of origins go through httptools and ``protocol``.
"""

from libc.stdint cimport int64_t
from libc.string cimport memchr

from typing import NamedTuple

cdef extern from "<strings.h>" nogil:
    int strncasecmp(const char*, const char*, size_t)

cdef enum:
    MOST_DIGITS = 18  # of a Content-Length: fits 63 bits whatever they are


class Answer(NamedTuple):
    """What was read; ``size`` are the bytes of the head with its empty line."""

    size: int
    status: int
    length: int | None
    chunked: bool
    closes: bool
    result: bytes | None


cdef inline bint _named(const char* line, Py_ssize_t size, const char* name, Py_ssize_t length) noexcept nogil:
    return size >= length and strncasecmp(line, name, length) == 0


cdef inline Py_ssize_t _trim(const char** value, Py_ssize_t size) noexcept nogil:
    """Without blanks around it; the length left."""
    while size and (value[0][0] == c" " or value[0][0] == c"\t"):
        value[0] += 1
        size -= 1
    while size and (value[0][size - 1] == c" " or value[0][size - 1] == c"\t"):
        size -= 1
    return size


cdef int64_t _number(const char* text, Py_ssize_t size) noexcept nogil:
    """Decimal digits and nothing else; -1 for any other text."""
    cdef int64_t value = 0
    cdef Py_ssize_t i
    if not 0 < size <= MOST_DIGITS:
        return -1
    for i in range(size):
        if not c"0" <= text[i] <= c"9":
            return -1
        value = value * 10 + (text[i] - c"0")
    return value


cdef bint _field(const char* line, Py_ssize_t size, AnswerHead* answer) noexcept nogil:
    """Take note of a field; False if it makes the answer unreadable."""
    cdef const char* value
    cdef char first = line[0] | 0x20
    if first == c"c":
        if _named(line, size, "content-length:", 15):
            value = line + 15
            size = _trim(&value, size - 15)
            answer.length = _number(value, size)
            return answer.length >= 0
        if _named(line, size, "connection:", 11):
            value = line + 11
            size = _trim(&value, size - 11)
            answer.closes = size == 5 and strncasecmp(value, "close", 5) == 0
    elif first == c"x" and _named(line, size, "x-cache:", 8):
        value = line + 8
        answer.result_length = _trim(&value, size - 8)
        answer.result = value
    elif first == c"t" and _named(line, size, "transfer-encoding:", 18):
        answer.chunked = True
    return True


cdef Py_ssize_t read_answer(const char* data, Py_ssize_t size, AnswerHead* answer) noexcept nogil:
    """Read a response head; its bytes, 0 when its end is not there yet, -1 when it is none of HTTP/1.1."""
    cdef const char* line
    cdef const char* end = data + size
    cdef const char* stop
    cdef Py_ssize_t length
    answer.length = -1
    answer.chunked = answer.closes = False
    answer.result = NULL
    answer.result_length = 0
    if strncasecmp(data, "HTTP/1.1 ", min(size, 9)) != 0:
        return -1
    stop = <const char*>memchr(data, c"\n", size)
    if stop == NULL:
        return 0
    if stop - data < 12:
        return -1
    answer.status = <int>_number(data + 9, 3)
    if answer.status < 100:
        return -1
    while True:
        line = stop + 1
        stop = <const char*>memchr(line, c"\n", end - line)
        if stop == NULL:
            return 0
        length = stop - line
        if length and line[length - 1] == c"\r":
            length -= 1
        if length == 0:
            return stop + 1 - data
        if not _field(line, length, answer):
            return -1


def parse_answer(bytes data not None):
    """The head at the beginning of ``data``; None when its end is not there. Raises ValueError when it is no head."""
    cdef AnswerHead answer
    cdef Py_ssize_t size = read_answer(data, len(data), &answer)
    if size < 0:
        raise ValueError("not the head of an answer")
    if size == 0:
        return None
    return Answer(
        size,
        answer.status,
        None if answer.length < 0 else answer.length,
        answer.chunked,
        answer.closes,
        None if answer.result == NULL else answer.result[:answer.result_length],
    )
