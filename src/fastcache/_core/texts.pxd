# Writing text into a buffer that the caller knows to be large enough: each returns where the next text goes.
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #define FC_ROW(d) #d "0" #d "1" #d "2" #d "3" #d "4" #d "5" #d "6" #d "7" #d "8" #d "9" #d "A" #d "B" #d "C" #d "D" #d "E" #d "F"
    static const char fc_hex_pairs[] = FC_ROW(0) FC_ROW(1) FC_ROW(2) FC_ROW(3) FC_ROW(4) FC_ROW(5) FC_ROW(6) FC_ROW(7)
        FC_ROW(8) FC_ROW(9) FC_ROW(A) FC_ROW(B) FC_ROW(C) FC_ROW(D) FC_ROW(E) FC_ROW(F);
    """
    const char* PAIRS "fc_hex_pairs"

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
    cdef int octet
    for octet in range(8):
        memcpy(at + 2 * octet, PAIRS + 2 * ((value >> (56 - 8 * octet)) & 0xFF), 2)
    return at + 16
