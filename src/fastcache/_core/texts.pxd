# Writing text into a buffer that the caller knows to be large enough: each returns where the next text goes.
from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef inline char* put(char* at, const char* text, Py_ssize_t length) noexcept nogil:
    memcpy(at, text, length)
    return at + length


cdef inline char* put_number(char* at, uint64_t value) noexcept nogil:
    cdef char[20] digits
    cdef int count = 0
    while True:
        digits[count] = <char>(c"0" + value % 10)
        value //= 10
        count += 1
        if not value:
            break
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    return at


cdef inline char* put_id(char* at, uint64_t value) noexcept nogil:
    """16 upper-case hexadecimal digits, as the engine writes request ids."""
    cdef int shift
    for shift in range(60, -4, -4):
        at[0] = (<char*>b"0123456789ABCDEF")[(value >> shift) & 15]
        at += 1
    return at
