from libc.stdint cimport int64_t

# What a client of ours needs to know of a response head.
cdef struct AnswerHead:
    int status
    int64_t length            # Content-Length; -1: not told
    bint chunked              # a Transfer-Encoding: where the body ends is not known from the head
    bint closes               # Connection: close
    const char* result        # the value of X-Cache, inside the bytes that were read; NULL: none
    Py_ssize_t result_length


cdef Py_ssize_t read_answer(const char* data, Py_ssize_t size, AnswerHead* answer) noexcept nogil
